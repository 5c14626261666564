"""Refreshes the catalog from PyPI and the PyTorch index: completely or not at all, and only if it is plausible."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from torchdev.catalog import facts
from torchdev.catalog.builds import PROJECTS, PYPI, PYTORCH, Build, Catalog, Source, Wheel
from torchdev.catalog.versions import order, python_order
from torchdev.catalog.wheel_name import ARCHITECTURES
from torchdev.util import process
from torchdev.util.commands import build_py
from torchdev.util.errors import BuildError, Step
from torchdev.util.texts import shown
from torchdev.wheels import pytorch
from torchdev.wheels.host import Host
from torchdev.wheels.index import Inside, Listed, list_wheels, pin, read_wheel
from torchdev.wheels.remote import Refused, Silent, Untrue

FIRST = {"torch": "1.10", "torchvision": "0.11", "torchaudio": "0.10"}
"""The oldest release of each project that the catalog holds."""
CUDNN = ("nvidia-cudnn-cu11", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13")
AT_ONCE = 12
"""How many wheels are read at once."""

Say = Callable[[str], None]


def refresh(old: Catalog, host: Host, flavours: "Iterable[str]", say: Say, *, accept_removed: bool = False) -> Catalog:
    """The catalog as the indexes have it now; wheels that are listed unchanged are not read again.

    `flavours` are those to look for on the PyTorch index. If that index does not answer at all, its part stays as it
    is. BuildError, and no change, if an index stops halfway or is not plausible.
    """
    try:
        builds = [*_of_pypi(old, host, say), *_of_pytorch(old, host, flavours, say)]
        cudnn = {name: _cudnn_versions(host, name) for name in CUDNN}
    except Silent as error:
        raise _refused(f"an index does not answer: {error}", REACH) from None
    except Refused as error:
        raise _refused(f"an index refuses: {error}", REACH) from None
    except Untrue as error:
        raise _refused(str(error), "find out who runs that index (pip config list); then again") from None
    new = Catalog(tuple(sorted(builds, key=lambda build: build.key)), cudnn, _sources(old, builds))
    doubts = implausible(old, new, accept_removed=accept_removed)
    if doubts:
        raise _refused("what the indexes list is not plausible:\n" + "\n".join(f"  {doubt}" for doubt in doubts))
    return new


WITHDRAWN = ("look at the index; if wheels were really withdrawn, ", build_py("catalog", "refresh", "--accept-removed"))
REACH = ("check the network, proxies (HTTPS_PROXY) and index (pip config list); then ", build_py("catalog", "refresh"))


def _refused(why: str, step: Step = WITHDRAWN) -> BuildError:
    return BuildError(f"the catalog is left as it was: {why}", next_step=step)


def implausible(old: Catalog, new: Catalog, *, accept_removed: bool = False) -> "list[str]":
    """Why a new catalog is refused: wheels or cuDNN versions are gone, or others have replaced known ones."""
    known = {(b.origin, b.flavour if b.origin == PYTORCH else "", w.file): w for b in old.builds for w in b.wheels}
    found = {(b.origin, b.flavour if b.origin == PYTORCH else "", w.file): w for b in new.builds for w in b.wheels}
    doubts = list(_contradictions(old, new))
    if not accept_removed:
        gone = sorted(key[2] for key in known.keys() - found.keys())
        doubts += (
            [f"{len(gone)} wheels are gone: {', '.join(gone[:3])}{' ...' if len(gone) > 3 else ''}"] if gone else []
        )
        for name, versions in old.cudnn.items():
            lost = sorted(set(versions) - set(new.cudnn.get(name, ())), key=order)
            doubts += [f"{name} has lost {', '.join(lost)}"] if lost else []
    return doubts


def _contradictions(old: Catalog, new: Catalog) -> "Iterator[str]":
    """The listed wheels that have replaced known ones, by whatever name."""
    known: dict[tuple[str, ...], dict[str, str]] = {}
    for build in old.builds:
        hashes = {wheel.file: wheel.sha256 for wheel in build.wheels if wheel.sha256}
        known.setdefault(_release(build), {}).update(hashes)
    for build in new.builds:
        for wheel in build.wheels:
            for file, sha256 in pytorch.contradicted(wheel.file, wheel.sha256, known.get(_release(build), {})).items():
                has = f"has {wheel.sha256 or 'none'} now" if file == wheel.file else f"{wheel.file} is in its place now"
                yield f"{file} had sha256 {sha256}, and {has}"


def _release(build: Build) -> tuple[str, ...]:
    """The key that wheels of an index have in common if they stand for each other."""
    return build.origin, build.flavour if build.origin == PYTORCH else "", build.project, build.version


def changes(old: Catalog, new: Catalog) -> "list[str]":
    """The changes of a refresh, a line for each build."""
    before = {build.key: build for build in old.builds}
    lines = []
    for build in new.builds:
        known = before.pop(build.key, None)
        if known != build:
            what = f"{build.project} {build.version} {build.flavour} {build.arch} ({build.origin})"
            lines.append(f"{'~' if known else '+'} {what}: Python {', '.join(build.pythons)}")
    lines += [f"- {b.project} {b.version} {b.flavour} {b.arch} ({b.origin})" for b in before.values()]
    for name, versions in new.cudnn.items():
        added = [version for version in versions if version not in old.cudnn.get(name, ())]
        lines += [f"+ {name}: {', '.join(added)}"] if added else []
    return lines


def gaps(new: Catalog) -> "list[str]":
    """What a person must add to data/facts.yaml: CUDA variants and companions of releases, which no wheel tells."""
    lines = []
    for torch in dict.fromkeys(build.version for build in new.of("torch")):
        if not facts.flavours(torch, "amd64"):
            lines.append(f"facts.yaml does not say in which CUDA variants PyTorch {torch} was published")
    return lines


def _of_pypi(old: Catalog, host: Host, say: Say) -> "list[Build]":
    groups: dict[tuple[str, ...], list[Listed]] = {}
    for project in PROJECTS:
        listed = list_wheels(host, None, project)
        if listed is None:
            raise Untrue(f"the index says that there is no {project}")
        for entry in listed:
            if order(entry.version) >= order(FIRST[project]):
                groups.setdefault((project, entry.version, entry.wheel.arch), []).append(entry)
    known: dict[tuple[str, ...], Build] = {(b.project, b.version, b.arch): b for b in old.builds if b.origin == PYPI}
    return _builds(groups, known, PYPI, "pypi", host, say)


def _of_pytorch(old: Catalog, host: Host, flavours: "Iterable[str]", say: Say) -> "list[Build]":
    kept = [build for build in old.builds if build.origin == PYTORCH]
    pages: dict[tuple[str, str], list[Listed]] = {}
    for flavour in flavours:
        for project in PROJECTS:
            try:
                listed = list_wheels(host, f"{host.pytorch_index}/{flavour}", project)
            except (Silent, Refused) as error:
                if pages:
                    raise
                does = "does not answer" if isinstance(error, Silent) else "refuses"
                stays = "what is known of the PyTorch index stays as it was read"
                say(f"{host.pytorch_index} {does}; {stays}: {shown(error)}")
                return kept
            pages[flavour, project] = listed or []
    groups: dict[tuple[str, ...], list[Listed]] = {}
    for (flavour, project), listed in pages.items():
        for entry in listed:
            version = order(entry.version)
            if version.local in (None, flavour) and version >= order(FIRST[project]):
                groups.setdefault((project, version.public, entry.wheel.arch, flavour), []).append(entry)
    known: dict[tuple[str, ...], Build] = {(b.project, b.version, b.arch, b.flavour): b for b in kept}
    return _builds(groups, known, PYTORCH, "index", host, say)


def _builds(
    groups: "dict[tuple[str, ...], list[Listed]]",
    known: "dict[tuple[str, ...], Build]",
    origin: str,
    source: str,
    host: Host,
    say: Say,
) -> "list[Build]":
    """A build for each group of listed wheels; a build whose wheels were all read before is kept."""
    kept = [known[key] for key, listed in groups.items() if key in known and _read_before(known[key], listed, source)]
    new = [listed for key, listed in groups.items() if not (key in known and _read_before(known[key], listed, source))]
    say(f"{origin}: {len(groups)} builds listed, {len(new)} to be read")
    wanted = [(entry, entry is listed[0]) for listed in new for entry in _to_read(listed)]

    def one(wheel: "tuple[Listed, bool]") -> Inside:
        return read_wheel(host, wheel[0], library=wheel[1] and wheel[0].project == "torch")

    read = process.at_once(AT_ONCE, one, wanted)
    inside = {entry.wheel.file: found for (entry, _), found in zip(wanted, read, strict=True)}
    return kept + [_build(listed, inside, origin, source) for listed in new]


def _read_before(build: Build, listed: "list[Listed]", source: str) -> bool:
    now = {(entry.wheel.file, entry.wheel.sha256) for entry in listed}
    return build.source == source and now == {(wheel.file, wheel.sha256) for wheel in build.wheels}


def _to_read(listed: "list[Listed]") -> "list[Listed]":
    """The wheels of a build to read: all of torch, whose requirements differ by Python; else one."""
    return listed if listed[0].project == "torch" else listed[:1]


def _build(listed: "list[Listed]", inside: "dict[str, Inside]", origin: str, source: str) -> Build:
    """One build from what its wheels declare; they must agree on the CUDA variant."""
    first = listed[0]
    found = {entry.wheel.python: inside[entry.wheel.file] for entry in _to_read(listed)}
    flavours = {one.flavour for one in found.values()}
    if len(flavours) > 1:
        raise Untrue(f"the wheels of {first.project} {first.version} are of several CUDA variants: {sorted(flavours)}")
    common = tuple(r for r in inside[first.wheel.file].requires if all(r in one.requires for one in found.values()))
    also = {python: tuple(r for r in one.requires if r not in common) for python, one in found.items()}
    machine = next(machine for machine, arch in ARCHITECTURES.items() if arch == first.wheel.arch)
    return Build(
        project=first.project,
        version=order(first.version).public,
        flavour=flavours.pop(),
        arch=first.wheel.arch,
        origin=origin,
        source=source,
        read=_today(),
        wheels=tuple(_sorted(entry.wheel for entry in listed)),
        requires=common,
        also={python: extra for python, extra in also.items() if extra} or None,
        cudnn=pin(common, "nvidia-cudnn-", machine),
        nccl=pin(common, "nvidia-nccl-", machine),
        glibc=inside[first.wheel.file].glibc,
        architectures=inside[first.wheel.file].architectures,
    )


def _sorted(wheels: "Iterable[Wheel]") -> "list[Wheel]":
    return sorted(wheels, key=lambda wheel: (python_order(wheel.python), wheel.file))


def _cudnn_versions(host: Host, name: str) -> tuple[str, ...]:
    """The releases of a cuDNN project on PyPI, oldest first, without prereleases such as .dev."""
    listed = list_wheels(host, None, name)
    if not listed:
        raise Untrue(f"the index says that there is no {name}")
    plain = {entry.version for entry in listed if not order(entry.version).is_prerelease}
    return tuple(sorted(plain, key=order))


def _sources(old: Catalog, builds: "list[Build]") -> dict[str, Source]:
    """The sources of all builds, with today's date for those of this run."""
    today = _today()
    ours = {
        "pypi": Source("wheels on PyPI", "PyPI", today),
        "index": Source("wheels on the PyTorch index", "https://download.pytorch.org", today),
    }
    used = {build.source for build in builds}
    return {key: ours.get(key) or old.sources[key] for key in sorted(used)}


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
