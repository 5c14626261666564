"""Locks: exact versions, sha256 and sizes of every wheel of a cell.

A lock holds no URLs: each machine that builds chooses its index. torchdev/wheels/lockfile.py reads locks and validates
them against their cells.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from torchdev.catalog.ids import COMPANIONS
from torchdev.catalog.versions import minor, order
from torchdev.catalog.wheel_name import parsed
from torchdev.matrix.load import Cell
from torchdev.util import texts
from torchdev.util.jsonfile import STRICT, of

UV = "0.13.9"
"""The uv version that resolves here, installs in builds and is part of every image."""
PYTORCH: Final = "pytorch"
"""The origin of a wheel that only the PyTorch index has, because PyPI has another CUDA variant."""
FLAVOURED = ("torch", *COMPANIONS)
"""The projects whose wheels differ by CUDA variant."""
CUDA_RUNTIME = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime-cu11")
DEVEL = ("cuda-toolkit[nvcc,nvvm,crt,cccl,profiler,nvtx]", "ninja")
"""What the devel variant adds, from CUDA 13 on, where PyPI has nvcc."""
Bytes = Annotated[int, Field(ge=0, le=1_000_000_000_000)]


@dataclass(frozen=True, kw_only=True)
class Package:
    """One wheel. `size` and `installed` are bytes of the file, and of its unpacked content; None if not known.

    Without `sha256` the wheel is unresolved: only the PyTorch index has its CUDA variant, and that did not answer when
    the lock was made. `file` is then the expected name.
    """

    __pydantic_config__: ClassVar = STRICT

    name: Annotated[str, of(texts.PROJECT)]
    version: Annotated[str, of(texts.VERSION)]
    file: Annotated[str, of(texts.WHEEL)]
    sha256: Annotated[str, of(texts.SHA256)] | None
    size: Bytes | None
    installed: Bytes | None
    origin: Literal["", "pytorch"] = ""

    @property
    def requirement(self) -> str:
        """A line of a requirements file that allows only this wheel; empty if it is unresolved."""
        hashed = f" --hash=sha256:{self.sha256}" if self.sha256 else "  # unresolved: no hash is known"
        return f"{self.name}=={self.version}{hashed}"

    @property
    def any_python(self) -> bool:
        """Whether the wheel is the same for every Python 3."""
        return all(tag.interpreter in ("py2", "py3") and tag.abi == "none" for tag in parsed(self.file).tags)


@dataclass(frozen=True, kw_only=True)
class Lock:
    """Everything that enters a cell from a package index."""

    __pydantic_config__: ClassVar = STRICT

    cell: Annotated[str, of(texts.TAG)]
    python: Annotated[str, of(texts.SERIES)]
    platform: Annotated[str, of(texts.PLATFORM)]
    inputs: Annotated[str, of(texts.DIGEST)]
    uv: Package
    packages: tuple[Package, ...]

    def version(self, name: str) -> "str | None":
        """The locked version of a distribution, or None if it is not part of the cell."""
        return next((package.version for package in self.packages if package.name == name), None)

    @property
    def cudnn(self) -> "str | None":
        """The cuDNN version, four parts, of the locked wheel; None where there is none."""
        return self.version(self.cudnn_name)

    @property
    def cudnn_name(self) -> str:
        """The project of the locked cuDNN wheel, such as nvidia-cudnn-cu13; empty without one."""
        return next((p.name for p in self.packages if p.name.startswith("nvidia-cudnn-")), "")

    @property
    def unresolved(self) -> tuple[Package, ...]:
        """The wheels whose hash is not known yet."""
        return tuple(package for package in self.packages if not package.sha256)

    @cached_property
    def digest(self) -> str:
        """sha256 of the lock as written."""
        return f"sha256:{hashlib.sha256(to_text(self).encode()).hexdigest()}"


def runtime_cuda(packages: "Iterable[Package]") -> "str | None":
    """The CUDA version, such as 13.0, of a runtime wheel; None if CUDA is part of PyTorch's own wheel, or absent."""
    runtime = next((package.version for package in packages if package.name in CUDA_RUNTIME), None)
    return minor(runtime) if runtime else None


def requirements(cell: Cell) -> tuple[str, ...]:
    """All requirements of a cell."""
    return (*cell.requirements, *(DEVEL if cell.devel else ()))


def _pip(version: str, sha256: str, size: int, installed: int) -> Package:
    return Package(
        name="pip",
        version=version,
        file=f"pip-{version}-py3-none-any.whl",
        sha256=sha256,
        size=size,
        installed=installed,
    )


PIPS = {
    "3.10": _pip("26.3", "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13", 1950951, 6187545),
    "3.9": _pip("26.0.1", "bdb1b08f4274833d62c1aa29e20907365a2ceb950410df15fc9521bad440122b", 1787723, 5478753),
    "3.8": _pip("25.0.1", "c46efd13b6aa8279f33f2864459c8ce587ea6a1a59ee20de055868d8f7688f7f", 1841526, 5757974),
    "3.7": _pip("24.0", "ba0d021a166865d2265246961bec0152ff124de910c5cc39f1156ce3fa7c69dc", 2110226, 7122471),
    "3.6": _pip("21.3.1", "deaf32dcd9ab821e359cd8330786bcd077604b5c5730c0b096eda46f95c24a2d", 1723581, 5797679),
}
"""The newest pip for Python series, by the first series that it serves: read from PyPI on 2026-11-27. Images have it,
so that pip behaves the same in all of them, whatever the bases contain (Debian's Python 3.9: 20.2).
"""


def pip_for(python: str) -> Package:
    """The pip of the images of a Python series."""
    return next(pip for first, pip in PIPS.items() if order(python) >= order(first))


def inputs_digest(cell: Cell) -> str:
    """sha256 of everything that a cell's resolution depends on; if it changes, the lock is stale."""
    inputs = {
        "python": cell.python,
        "flavour": cell.flavour,
        "platform": cell.platform,
        "uv": UV,
        "requirements": cell.requirements,
        "constraints": cell.constraints,
        "cudnn": cell.cudnn,
        "variant": cell.variant,
    }
    return f"sha256:{hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()}"


def to_text(lock: Lock) -> str:
    """A lock as JSON, with one package a line, so that a changed version is a changed line."""
    head = {f.name: getattr(lock, f.name) for f in fields(lock) if f.name not in ("packages", "uv")}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    packages = ",\n".join(f"    {json.dumps(_entry(package))}" for package in lock.packages)
    uv = f'  "uv": {json.dumps(_entry(lock.uv))},'
    return "\n".join(["{", *lines, uv, '  "packages": [', packages, "  ]", "}"]) + "\n"


def _entry(package: Package) -> dict[str, Any]:
    return {key: value for key, value in vars(package).items() if key != "origin" or value}


def completed_by(lock: Lock, known: "Iterable[Lock]") -> Lock:
    """The lock, with hashes that earlier locks have for its unresolved wheels."""
    found = {p.file: p for other in known for p in other.packages if p.origin == PYTORCH and p.sha256}
    packages = tuple(package if package.sha256 else found.get(package.file, package) for package in lock.packages)
    return replace(lock, packages=packages)
