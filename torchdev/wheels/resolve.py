"""Resolves cells to locks: uv resolves for the cell's Python and platform against the host's index.

uv never sees the PyTorch index, which also has other projects under well-known names. For a CUDA variant that only that
index has, uv gets a stub of torch with the true requirements, and the wheels are added afterwards.
"""

import dataclasses
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torchdev.catalog import releases, support
from torchdev.catalog.bases import TOOL_PYTHON
from torchdev.catalog.wheel_name import parsed
from torchdev.matrix.load import Cell
from torchdev.util import process
from torchdev.util.commands import build_py
from torchdev.util.errors import BuildError, InputError, Step
from torchdev.util.texts import NotOfKind, shown
from torchdev.wheels import neighbours, pytorch, remote, wheel
from torchdev.wheels.host import PYTORCH_VARIABLE, Host, local_wheels, sha256_of
from torchdev.wheels.index import Listed
from torchdev.wheels.lock import FLAVOURED, PYTORCH, UV, Lock, Package, inputs_digest, requirements, runtime_cuda
from torchdev.wheels.pylock import Resolved
from torchdev.wheels.remote import Refused, Silent, Untrue
from torchdev.wheels.uv import REACH, Wanted, compile_cell


def resolve(
    cell: Cell, host: Host, known: "dict[str, int] | None" = None, asked: "pytorch.Asked | None" = None
) -> Lock:
    """Resolve a cell by uv against the host's index; `known` maps sha256 to installed bytes read before.

    `asked` has the answers of the PyTorch index in this run.
    """
    with host.hidden(), _reading(cell, host):
        return _resolve(cell, host, known or {}, pytorch.Index(host, cell.flavour, asked))


@contextmanager
def _reading(cell: Cell, host: Host) -> Iterator[None]:
    """Convert errors of an index or its wheels to an error that names the cell."""
    try:
        yield
    except (Silent, Untrue, NotOfKind) as error:
        what = f"a wheel can't be read off the index: {shown(host.clean(str(error)), 1000)}"
        raise BuildError(what, where=cell.id, next_step=_step(error)) from None
    except BuildError as error:
        error.where = error.where or cell.id
        raise


def _step(error: Exception) -> Step:
    """What to do about a wheel that can't be read; it may be on pip's indexes or on PyTorch's."""
    if isinstance(error, Silent):
        return REACH
    if "range requests" in str(error):
        return "have that server, or a proxy before it, answer range requests (HTTP status 206), as PyPI does"
    return f"find out who runs that server: pip config list; {PYTORCH_VARIABLE} names another PyTorch index"


def _resolve(cell: Cell, host: Host, known: dict[str, int], index: pytorch.Index) -> Lock:
    if releases.is_on_pypi(cell.torch, cell.flavour, cell.arch):
        found = compile_cell(cell, host, _wanted(cell))
        neighbours.check(cell, host, _wanted(cell), found)
        packages = _pinned(found, cell, host, known)
        bundled = None if runtime_cuda(packages) else _bundled_cuda(found, cell, host)
    else:
        packages = _resolve_elsewhere(cell, host, known, index)
        bundled = cell.cuda if any(p.version == f"{cell.torch}+{cell.flavour}" for p in packages) else None
    tool = _pinned(compile_cell(cell, host, Wanted((f"uv=={UV}",)), TOOL_PYTHON), cell, host, known)
    _check_flavour(cell, packages, bundled)
    if cell.cudnn:
        _check_cudnn(cell, host)
    packages = tuple(sorted(packages, key=lambda package: package.name))
    return Lock(
        cell=cell.id,
        python=cell.python,
        platform=cell.platform,
        inputs=inputs_digest(cell),
        uv=tool[0],
        packages=packages,
    )


def complete(lock: Lock, cell: Cell, host: Host, asked: "pytorch.Asked | None" = None) -> Lock:
    """Fill in what is unresolved from the PyTorch index; BuildError if it can't be asked, or contradicts the lock."""
    with host.hidden():
        return _completed(lock, cell, host, pytorch.Index(host, cell.flavour, asked))


def _completed(lock: Lock, cell: Cell, host: Host, index: pytorch.Index) -> Lock:
    with _reading(cell, host):
        pages = {p.name: index.wheels(p.name) for p in lock.packages if p.origin == PYTORCH}
    refusal = next((index.refusals[p.name] for p in lock.unresolved if p.name in index.refusals), "")
    if index.silence or refusal:
        names = ", ".join(p.file for p in lock.unresolved)
        why = f"does not answer, and no hash is known of {names}: {index.silence}"
        why = why if index.silence else f"refuses, and no hash is known of {names}: {refusal}"
        step = f"build where it answers, or set {PYTORCH_VARIABLE} to a mirror of it"
        raise BuildError(f"{host.pytorch_index} {why}", where=cell.id, next_step=step)
    told = {p.name for p in lock.packages if p.origin == PYTORCH and p.name not in index.refusals}
    with host.hidden(), _reading(cell, host):
        filled = [_filled(p, pages[p.name], cell, index) if p.name in told else p for p in lock.packages]
    return dataclasses.replace(lock, packages=tuple(filled))


def _wanted(cell: Cell) -> Wanted:
    cuda = cell.flavour[2:4]
    overrides = (f"nvidia-cudnn-cu{cuda}=={cell.cudnn}",) if cell.cudnn else ()
    return Wanted(requirements(cell), cell.constraints, overrides)


def _resolve_elsewhere(cell: Cell, host: Host, known: dict[str, int], index: pytorch.Index) -> tuple[Package, ...]:
    """Resolve a cell whose CUDA variant is not on PyPI, from folders of this machine or the PyTorch index."""
    version = f"{cell.torch}+{cell.flavour}"
    names = [name for name in FLAVOURED if any(r.startswith(f"{name}==") for r in cell.requirements)]
    own = {name: _offered(name, cell, index) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        wheel.write_stub(Path(folder), "torch", version, _torch_requirements(own["torch"], version, cell, index))
        asked = _wanted(cell)
        exact = tuple(f"torch=={version}" if r.startswith("torch==") else r for r in asked.requirements)
        wanted = dataclasses.replace(asked, requirements=exact, folders=(Path(folder),))
        found = compile_cell(cell, host, wanted)
        neighbours.check(cell, host, wanted, found)
    rest = _pinned([release for release in found if release.name not in own], cell, host, known)
    flavoured = (_package(own[r.name], r.name, r.version, cell, index) for r in found if r.name in own)
    return tuple(sorted((*rest, *flavoured), key=lambda package: package.name))


@dataclass(frozen=True)
class Offer:
    """A wheel of a CUDA variant: its file name, its hash if known, and its location, if any."""

    file: str
    sha256: "str | None"
    location: "str | Path | None"


def _offered(name: str, cell: Cell, index: pytorch.Index) -> "Offer | None":
    """A cell's wheel of a project with CUDA variants: from a local folder, the PyTorch index, or known facts."""
    required = next(r for r in cell.requirements if r.startswith(f"{name}=="))
    version = f"{required.partition('==')[2]}+{cell.flavour}"
    known = pytorch.known_files(cell.flavour)
    local = {path.name: path for path in local_wheels(index.host, name)}
    file = wheel.best((f for f in local if _version(f) == version), cell.python, cell.arch)
    if file:
        return _agreed(Offer(file, sha256_of(local[file]), local[file]), known, cell)
    links = {listed.wheel.file: listed for listed in index.wheels(name)}
    file = wheel.best((f for f in links if _version(f) == version), cell.python, cell.arch)
    if file:
        return _agreed(Offer(file, links[file].wheel.sha256, links[file].url), known, cell)
    file = wheel.best((f for f in known if f.startswith(f"{name}-") and _version(f) == version), cell.python, cell.arch)
    return Offer(file, known[file], None) if file else None


def _agreed(offer: Offer, known: dict[str, str], cell: Cell) -> Offer:
    """The offer, with the known hash if its index gives none; BuildError if it contradicts the known hash."""
    offer = dataclasses.replace(offer, sha256=offer.sha256 or known.get(offer.file))
    others = pytorch.contradicted(offer.file, offer.sha256, known)
    if others:
        same = f"{offer.file} has another sha256 than the known one"
        what = (
            same if offer.file in others else f"{offer.file} is offered in the place of a wheel whose sha256 is known"
        )
        lines = [f"known: {sha256} ({file})" for file, sha256 in sorted(others.items())]
        what = "\n  ".join([what, *lines, f"found: {offer.sha256 or 'none'}"])
        raise BuildError(
            what, where=cell.id, next_step=f"do not use that file; find out who changed it: {offer.location}"
        )
    return offer


def _torch_requirements(offer: "Offer | None", version: str, cell: Cell, index: pytorch.Index) -> "list[str]":
    known = pytorch.known_requirements(cell.torch, cell.flavour, cell.python, cell.arch)
    if offer and offer.location:
        try:
            return remote.read_wheel(index.host, offer.location, wheel.requirements)
        except (Silent, Refused) as error:
            if known is None or not _is_known(offer, cell):
                raise
            index.unread(error)
    if known is None:
        raise _not_to_be_had(version, cell, index)
    return known


def _not_to_be_had(version: str, cell: Cell, index: pytorch.Index) -> BuildError:
    """Why there is no torch of a CUDA variant: its index does not answer, or does not list it."""
    if index.silence:
        why = f"which does not answer at {index.host.pytorch_index}: {index.silence}"
        step = f"lock where it answers, set {PYTORCH_VARIABLE} to a mirror"
    elif "torch" in index.refusals:
        why = f"which refuses: {index.refusals['torch']}"
        step = f"find out why, set {PYTORCH_VARIABLE} to a mirror"
    else:
        why = f"which does not list it for Python {cell.python} on {cell.platform}"
        step = f"see {index.address}/torch/, set {PYTORCH_VARIABLE} to another"
    step += ", or put the wheel into a find-links folder"
    return BuildError(f"torch {version} is only on the PyTorch index, {why}", where=cell.id, next_step=step)


def _is_known(offer: Offer, cell: Cell) -> bool:
    """Whether the catalog has the offered hash, so that the wheel can be trusted unread."""
    return bool(offer.sha256) and pytorch.known_files(cell.flavour).get(offer.file) == offer.sha256


def _package(offer: "Offer | None", name: str, version: str, cell: Cell, index: pytorch.Index) -> Package:
    """A locked wheel of a CUDA variant; without an offer it is unresolved, and has the expected name."""
    version = f"{version.partition('+')[0]}+{cell.flavour}"
    tag = f"cp{cell.python.replace('.', '')}"
    if offer is None:
        return Package(
            name=name,
            version=version,
            file=f"{name}-{version}-{tag}-{tag}-manylinux_2_28_{wheel.machine_of(cell.arch)}.whl",
            sha256=None,
            size=None,
            installed=None,
            origin=PYTORCH,
        )
    if offer.location is None:
        return Package(
            name=name, version=version, file=offer.file, sha256=offer.sha256, size=None, installed=None, origin=PYTORCH
        )
    size = installed = None
    try:
        size, installed = remote.read_wheel(index.host, offer.location, remote.sizes)
    except (Silent, Refused) as error:
        if not _is_known(offer, cell):
            raise
        index.unread(error)
    return Package(
        name=name, version=version, file=offer.file, sha256=offer.sha256, size=size, installed=installed, origin=PYTORCH
    )


def _filled(package: Package, page: "list[Listed]", cell: Cell, index: pytorch.Index) -> Package:
    """A locked wheel, completed by what the PyTorch index says about it."""
    files = {listed.wheel.file: listed for listed in page if listed.version == package.version}
    file = package.file if package.file in files else wheel.best(files, cell.python, cell.arch)
    if file is None or (package.sha256 and file != package.file):
        step = f"see {index.host.pytorch_index}/{cell.flavour}/{package.name}/"
        raise BuildError(f"the PyTorch index has no {package.file}", where=cell.id, next_step=step)
    listed = files[file]
    known = pytorch.known_files(cell.flavour) | ({package.file: package.sha256} if package.sha256 else {})
    offer = _agreed(Offer(file, listed.wheel.sha256, listed.url), known, cell)
    if offer.sha256 is None:
        step = f"see {index.host.pytorch_index}/{cell.flavour}/{package.name}/"
        raise BuildError(f"the PyTorch index gives no sha256 of {file}", where=cell.id, next_step=step)
    return _package(offer, package.name, package.version, cell, index)


def _check_cudnn(cell: Cell, host: Host) -> None:
    """Refuse a cuDNN that can't replace the one PyTorch was built with, according to PyTorch's requirements."""
    plain = compile_cell(cell, host, dataclasses.replace(_wanted(cell), overrides=()))
    pinned = next((release.version for release in plain if release.name.startswith("nvidia-cudnn-")), "")
    refusal = support.cudnn_refusal(pinned, cell.cudnn or "") if pinned else ""
    if refusal:
        what = f"PyTorch {cell.torch} ({cell.flavour}) is {refusal}"
        raise InputError(what, where=str(cell.position), next_step="change cudnn of that row, or leave it out")


def _version(file: str) -> str:
    return parsed(file).version


def _pinned(found: "Iterable[Resolved]", cell: Cell, host: Host, known: dict[str, int]) -> tuple[Package, ...]:
    def pin(release: Resolved) -> Package:
        file = wheel.best(release.links, cell.python, cell.arch)
        link = release.links[file] if file else None
        if not link or not link.sha256:
            lacks = "sha256" if link else f"wheel for Python {cell.python} on {cell.platform}"
            what = f"the index has no {lacks} of {release.name} {release.version}"
            raise BuildError(what, where=cell.id, next_step=f"constrain {release.name} to another version")
        installed = known.get(link.sha256)
        if installed is None:
            installed = remote.read_wheel(host, link.location, remote.unpacked)
        return Package(
            name=release.name,
            version=release.version,
            file=link.file,
            sha256=link.sha256,
            size=link.size,
            installed=installed,
        )

    return tuple(process.at_once(8, pin, found))


def _bundled_cuda(found: "Iterable[Resolved]", cell: Cell, host: Host) -> "str | None":
    """The CUDA version inside PyTorch's own wheel."""
    links = next((release.links for release in found if release.name == "torch"), {})
    file = wheel.best(links, cell.python, cell.arch)
    if not file:
        return None
    return remote.read_wheel(host, links[file].location, wheel.bundled_cuda)


def _check_flavour(cell: Cell, packages: tuple[Package, ...], bundled: "str | None" = None) -> None:
    """Refuse a resolution whose CUDA, in wheels of its own or inside PyTorch's, differs from the cell's id."""
    found = runtime_cuda(packages) or bundled
    if found != cell.cuda:
        raise InputError(
            f"torch {cell.torch} of the package index is built for CUDA {found or 'none (cpu)'}, not {cell.flavour}",
            where=str(cell.position),
            next_step=("change cuda or torch of that row, then ", build_py("lock", cell.id)),
        )
