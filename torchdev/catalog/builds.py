"""What is known of the wheels of PyTorch and its companions, as read from package indexes: data/catalog.json.

A build is all wheels of one project, version, CUDA variant and architecture, with what their METADATA and libraries
say.
Facts that no wheel tells, such as drivers, are in torchdev/catalog/facts.py.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

from packaging.version import Version
from pydantic import BeforeValidator, TypeAdapter

from torchdev.catalog.versions import order, python_order
from torchdev.catalog.wheel_name import ARCHITECTURES, glibc, served
from torchdev.util import jsonfile, texts
from torchdev.util.commands import written
from torchdev.util.errors import InputError
from torchdev.util.jsonfile import of

DATA = Path(__file__).parents[1] / "data" / "catalog.json"
PYPI, PYTORCH = "pypi", "pytorch"
"""Where a build's wheels are: on PyPI, or on the PyTorch index alone."""
PROJECTS = ("torch", "torchvision", "torchaudio")


@dataclass(frozen=True)
class Source:
    """Where a fact was read, and when (YYYY-MM-DD)."""

    __pydantic_config__: ClassVar = jsonfile.STRICT

    title: Annotated[str, of(texts.SENTENCE)]
    url: Annotated[str, of(texts.SENTENCE)]
    read: Annotated[str, of(texts.SENTENCE)]

    def __str__(self) -> str:
        return f"{self.title}, read {self.read}"


@dataclass(frozen=True)
class Wheel:
    """A wheel file; `sha256` and `size` (bytes) are None where no source states them."""

    file: str
    sha256: "str | None" = None
    size: "int | None" = None

    @property
    def python(self) -> str:
        """The Python series it is for (3.13, or 3.13t free-threaded); for abi3 and py3, the oldest it serves."""
        return min((python for python, _ in served(self.file)), key=python_order)

    def serves(self, python: str) -> bool:
        """Whether a Python series can load it."""
        return any(python == one for one, _ in served(self.file))

    @property
    def arch(self) -> str:
        """amd64 or arm64."""
        return ARCHITECTURES[min(machine for _, machine in served(self.file))]


def _wheel(fields: object) -> Wheel:
    """A wheel from its line in the catalog: file, sha256 and, if known, size; a Wheel is returned as it is."""
    if isinstance(fields, Wheel):
        return fields
    if not isinstance(fields, list) or not 1 <= len(fields) <= 3:
        raise ValueError(f"{texts.quoted(fields)} is not a list of file name, sha256 and size")
    file, sha256, size = (*fields, None, None)[:3]
    if size is not None and (type(size) is not int or size < 0):
        raise ValueError(f"{texts.quoted(size)} is not a number of bytes")
    return Wheel(texts.WHEEL.of(file), None if sha256 is None else texts.SHA256.of(sha256), size)


@dataclass(frozen=True, kw_only=True)
class Build:
    """All wheels of one project, version, CUDA variant and architecture.

    `requires` is what their METADATA requires, without extras, and `also` what that of single Pythons adds; None where
    no METADATA was read. `glibc` is the newest that the library asks for. `architectures` are the GPU architectures
    that it is compiled for (sm_90, and compute_90 for PTX), as torch.cuda.get_arch_list() gives them. `source` is a
    key of the catalog's sources.
    """

    __pydantic_config__: ClassVar = jsonfile.STRICT

    project: Annotated[str, of(texts.PROJECT)]
    version: Annotated[str, of(texts.VERSION)]
    flavour: Annotated[str, of(texts.FLAVOUR)]
    arch: Annotated[str, of(texts.ARCH)]
    origin: str
    source: str
    read: Annotated[str, of(texts.SENTENCE)]
    wheels: tuple[Annotated[Wheel, BeforeValidator(_wheel)], ...]
    requires: tuple[Annotated[str, of(texts.REQUIREMENT)], ...] | None = None
    also: dict[str, tuple[Annotated[str, of(texts.REQUIREMENT)], ...]] | None = None
    cudnn: Annotated[str, of(texts.VERSION)] | None = None
    nccl: Annotated[str, of(texts.VERSION)] | None = None
    glibc: Annotated[str, of(texts.VERSION)] | None = None
    architectures: tuple[Annotated[str, of(texts.GPU_ARCHITECTURE)], ...] = ()

    @property
    def key(self) -> tuple[str, Version, str, str, str]:
        """Its sort key in the catalog."""
        return self.project, order(self.version), self.flavour, self.arch, self.origin

    @property
    def pythons(self) -> tuple[str, ...]:
        """The Python series that have a wheel, oldest first."""
        return tuple(sorted({wheel.python for wheel in self.wheels}, key=python_order))

    @property
    def runs_from(self) -> "str | None":
        """The oldest glibc that it runs on, by its wheels' tags and its library; None if neither is known."""
        found = [f"2.{minor}" for wheel in self.wheels if (minor := glibc(wheel.file))]
        return max([*found, *([self.glibc] if self.glibc else [])], key=order, default=None)

    @property
    def inside(self) -> bool:
        """Whether the CUDA libraries are a part of its wheels, as before PyTorch 1.13."""
        return self.requires is not None and not any(r.startswith(("nvidia-", "cuda-")) for r in self.requires)

    def requirements(self, python: str) -> "tuple[str, ...] | None":
        """What the wheel for a Python series requires; None if it is not known."""
        return None if self.requires is None else self.requires + (self.also or {}).get(python, ())


@dataclass(frozen=True)
class Catalog:
    """The catalog: builds in the order of their keys, cuDNN versions on PyPI by project, sources by key."""

    builds: tuple[Build, ...]
    cudnn: dict[str, tuple[str, ...]]
    sources: dict[str, Source]

    def of(self, project: str) -> "list[Build]":
        """The builds of a project, oldest first."""
        return [build for build in self.builds if build.project == project]


@dataclass(frozen=True)
class _File:
    """The catalog as it is committed."""

    __pydantic_config__: ClassVar = jsonfile.STRICT

    about: str
    sources: dict[str, Source]
    cudnn: dict[str, tuple[Annotated[str, of(texts.VERSION)], ...]]
    builds: tuple[Build, ...]


_ADAPTER = TypeAdapter(_File)


@cache
def load(path: Path = DATA) -> Catalog:
    """The committed catalog; InputError, with the line, if an edit or a merge has broken it."""
    step = written(["git", "-C", str(path.parent), "checkout", "--", path.name])
    try:
        return _catalog(jsonfile.read(path, _ADAPTER)[0])
    except FileNotFoundError:
        raise InputError("the catalog is not there", where=str(path), next_step=step) from None
    except jsonfile.Malformed as error:
        where = f"{path}:{error.line}"
        raise InputError(f"not a catalog: {error.what}", where=where, next_step=step) from None


def from_text(text: str) -> Catalog:
    """A catalog from the text of its file; Malformed if the text is invalid."""
    return _catalog(jsonfile.parse(text.encode(), _ADAPTER))


def _catalog(file: _File) -> Catalog:
    unknown = {build.source for build in file.builds} - set(file.sources)
    if unknown:
        raise jsonfile.Malformed(f"it has no source {texts.quoted(min(unknown))}, which builds name", 1)
    if odd := {build.origin for build in file.builds} - {PYPI, PYTORCH}:
        raise jsonfile.Malformed(f"{texts.quoted(min(odd))} is not an origin: {PYPI} or {PYTORCH}", 1)
    return Catalog(file.builds, file.cudnn, file.sources)


def to_text(catalog: Catalog) -> str:
    """A catalog as text: sorted, one wheel or requirement a line, so that a small change is a small diff."""
    builds = ",\n".join(_build_text(build) for build in sorted(catalog.builds, key=lambda build: build.key))
    cudnn = ",\n".join(f"  {json.dumps(name)}: {json.dumps(list(v))}" for name, v in sorted(catalog.cudnn.items()))
    sources = ",\n".join(f"  {json.dumps(key)}: {json.dumps(asdict(s))}" for key, s in sorted(catalog.sources.items()))
    about = "Generated by `python build.py catalog refresh`. Do not edit."
    return (
        f'{{\n"about": {json.dumps(about)},\n"sources": {{\n{sources}\n}},\n'
        f'"cudnn": {{\n{cudnn}\n}},\n"builds": [\n{builds}\n]\n}}\n'
    )


def _build_text(build: Build) -> str:
    fields = {k: v for k, v in asdict(build).items() if k not in ("wheels", "requires", "also") and v}
    head = json.dumps(fields)[:-1]
    wheels = _lines([w.file, w.sha256, w.size] for w in sorted(build.wheels, key=lambda w: python_order(w.python)))
    parts = [f'{head}, "wheels": {wheels}']
    if build.requires is not None:
        parts.append(f'"requires": {_lines(build.requires)}')
    if build.also:
        parts.append(f'"also": {json.dumps(build.also, sort_keys=True)}')
    return " " + ", ".join(parts) + "}"


def _lines(values: "Iterable[Any]") -> str:
    text = ",\n".join(f"   {json.dumps(value)}" for value in values)
    return f"[\n{text}\n  ]" if text else "[]"
