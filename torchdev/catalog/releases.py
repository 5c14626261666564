"""What can exist: every combination of PyTorch, Python, CUDA variant and architecture, from catalog and facts."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from packaging.requirements import Requirement

from torchdev.catalog import facts
from torchdev.catalog.builds import PYPI, PYTORCH, Build, Source, Wheel, load
from torchdev.catalog.ids import COMPANIONS
from torchdev.catalog.versions import order, python_order

LOCKS = "locks"
"""The source of builds that were gathered from lock files: not all of their wheels are known."""


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One combination that exists. `build` is PyTorch's; `sources` are the sources that say that it exists."""

    python: str
    flavour: str
    torch: str
    arch: str
    build: Build
    companions: "tuple[tuple[str, str], ...]"
    sources: tuple[Source, ...]

    @property
    def cuda(self) -> "str | None":
        """The CUDA version, such as 13.0; None for cpu."""
        return cuda_of(self.flavour)

    @property
    def lockable(self) -> bool:
        """Whether all that a lock needs is on PyPI or in the catalog, so that a lock needs no answer of the PyTorch
        index.
        """
        known = self.build.requires is not None and any(w.serves(self.python) and w.sha256 for w in self.build.wheels)
        return self.build.origin == PYPI or known

    def companion(self, name: str) -> "str | None":
        """The version of torchvision or torchaudio that belongs to it and has a wheel for it."""
        return dict(self.companions).get(name)


def cuda_of(flavour: str) -> "str | None":
    """The CUDA version of a CUDA variant: 13.0 for cu130; None for cpu."""
    return None if flavour == "cpu" else f"{flavour[2:4]}.{flavour[4:]}"


def flavour_order(flavour: str) -> int:
    """Sort key: cpu first, then by CUDA version."""
    return 0 if flavour == "cpu" else int(flavour[2:])


@cache
def flavour_orders() -> "list[int]":
    """The order of every CUDA variant that exists."""
    return sorted({flavour_order(c.flavour) for c in all_combinations()})


@cache
def all_combinations() -> tuple[Combination, ...]:
    """Every combination, oldest PyTorch first; free-threaded Pythons are excluded."""
    found = [*_built(), *_announced()]
    ordered = sorted(found, key=lambda c: (order(c.torch), flavour_order(c.flavour), c.arch, python_order(c.python)))
    unique = {(c.torch, c.flavour, c.arch, c.python): c for c in reversed(ordered)}
    return tuple(reversed(unique.values()))


def find(torch: str, flavour: str, arch: str, python: str) -> "Combination | None":
    """One combination; None if it doesn't exist."""
    return _index().get((torch, flavour, arch, python))


@cache
def _index() -> "dict[tuple[str, str, str, str], Combination]":
    return {(c.torch, c.flavour, c.arch, c.python): c for c in all_combinations()}


@cache
def known() -> "list[str]":
    """The known PyTorch releases, oldest first."""
    return sorted({build.version for build in load().of("torch")}, key=order)


def is_on_pypi(torch: str, flavour: str, arch: str = "amd64") -> bool:
    """Whether PyPI's wheel of a release has this CUDA variant; for an unknown release, whether it may have."""
    if torch not in known():
        return flavour != "cpu"
    return (torch, arch) in _on_pypi() and _on_pypi()[torch, arch].flavour == flavour


@cache
def _on_pypi() -> "dict[tuple[str, str], Build]":
    return {(build.version, build.arch): build for build in load().of("torch") if build.origin == PYPI}


@cache
def companions_of(torch: str) -> dict[str, str]:
    """The torchvision and torchaudio of a release: those that require exactly it, else by data/facts.yaml."""
    found = {}
    for name in COMPANIONS:
        version = _pinning().get((name, torch)) or facts.companion(torch, name)
        if version:
            found[name] = version
    return found


@cache
def _pinning() -> "dict[tuple[str, str], str]":
    """(companion, PyTorch release) to the newest companion that requires exactly that release."""
    found: dict[tuple[str, str], str] = {}
    for name in COMPANIONS:
        for build in load().of(name):
            for text in build.requires or ():
                if text.startswith("torch") and "=" in text:
                    specifier = Requirement(text)
                    exact = [s.version for s in specifier.specifier if s.operator == "==" and specifier.name == "torch"]
                    found |= {(name, version): build.version for version in exact}
    return found


def _built() -> Iterator[Combination]:
    """The combinations whose wheels were read; builds known from lock files are assumed to serve all Pythons of the
    release.
    """
    catalog = load()
    for build in catalog.of("torch"):
        completed = replace(
            build,
            cudnn=build.cudnn or facts.cudnn(build.version, build.flavour),
            architectures=build.architectures or facts.architectures(build.version, build.flavour, build.arch),
        )
        pythons = _pythons(build.version, build.arch) if build.source == LOCKS else build.pythons
        yield from _for_pythons(completed, {*pythons, *build.pythons}, (catalog.sources[build.source],))


def _announced() -> Iterator[Combination]:
    """The combinations of which the facts say only that the release was published in the CUDA variant."""
    known = {(build.version, build.flavour, build.arch) for build in load().of("torch")}
    for torch, arch in sorted(_on_pypi()):
        named = facts.flavours(torch, arch)
        for flavour in (*named[0], "cpu") if named else ():
            if (torch, flavour, arch) not in known:
                build = Build(
                    project="torch",
                    version=torch,
                    flavour=flavour,
                    arch=arch,
                    origin=PYTORCH,
                    source="announced",
                    read=named[1].read if named else "",
                    wheels=(),
                    cudnn=facts.cudnn(torch, flavour),
                    architectures=facts.architectures(torch, flavour, arch),
                )
                yield from _for_pythons(build, set(_pythons(torch, arch)), (named[1],) if named else ())


def _pythons(torch: str, arch: str) -> tuple[str, ...]:
    build = _on_pypi().get((torch, arch))
    return build.pythons if build else ()


def _for_pythons(build: Build, pythons: "set[str]", sources: tuple[Source, ...]) -> Iterator[Combination]:
    for python in pythons:
        if not python.endswith("t"):
            companions = tuple(
                (name, version)
                for name, version in companions_of(build.version).items()
                if _has_wheel(name, version, build.arch, python)
            )
            yield Combination(
                python=python,
                flavour=build.flavour,
                torch=build.version,
                arch=build.arch,
                build=build,
                companions=companions,
                sources=sources,
            )


@cache
def _has_wheel(name: str, version: str, arch: str, python: str) -> bool:
    """Whether a companion has a wheel on PyPI for a Python; other CUDA variants are assumed to have the same."""
    wheels = _companion_wheels().get((name, version, arch), ())
    return any(wheel.serves(python) for wheel in wheels)


@cache
def _companion_wheels() -> "dict[tuple[str, str, str], tuple[Wheel, ...]]":
    return {(b.project, b.version, b.arch): b.wheels for n in COMPANIONS for b in load().of(n) if b.origin == PYPI}
