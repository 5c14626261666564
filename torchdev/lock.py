"""Locks: exact versions, sha256 and sizes of every wheel of a cell.

A lock holds no URLs: which index serves the bytes is the business of the machine that builds.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from packaging.utils import parse_wheel_filename

from torchdev.errors import InputError
from torchdev.matrix import Cell

UV = "0.13.9"
"""The uv that resolves here, installs in builds and is part of every image."""
PYTORCH = "pytorch"
"""The origin of a wheel that only the PyTorch index has, since its flavour is not the one on PyPI."""


@dataclass(frozen=True)
class Package:
    """One wheel. `size` and `installed` are bytes: of the file, and of all that it unpacks to; None if not known.

    Without `sha256` the wheel is unresolved: its flavour is only on the PyTorch index, which did not answer when
    the lock was made. `file` is then what it should be called.
    """

    name: str
    version: str
    file: str
    sha256: "str | None"
    size: "int | None"
    installed: "int | None"
    origin: str = ""

    @property
    def requirement(self) -> str:
        """A line of a requirements file that admits just this wheel; none, if it is unresolved."""
        hashed = f" --hash=sha256:{self.sha256}" if self.sha256 else "  # unresolved: no hash is known"
        return f"{self.name}=={self.version}{hashed}"

    @property
    def any_python(self) -> bool:
        """Whether the wheel is the same for every Python 3."""
        return all(
            tag.interpreter in ("py2", "py3") and tag.abi == "none" for tag in parse_wheel_filename(self.file)[3]
        )


@dataclass(frozen=True)
class Lock:
    """All that enters a cell by way of a package index."""

    cell: str
    python: str
    platform: str
    inputs: str
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
        """The project that the locked cuDNN is a wheel of, such as nvidia-cudnn-cu13; empty where there is none."""
        return next((p.name for p in self.packages if p.name.startswith("nvidia-cudnn-")), "")

    @property
    def unresolved(self) -> tuple[Package, ...]:
        """The wheels whose hash is not known yet."""
        return tuple(package for package in self.packages if not package.sha256)

    @cached_property
    def digest(self) -> str:
        """sha256 of the lock as written."""
        return f"sha256:{hashlib.sha256(to_text(self).encode()).hexdigest()}"


def inputs_digest(cell: Cell) -> str:
    """sha256 of everything that a cell's resolution depends on; another digest makes the lock stale."""
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
    """A lock as it is committed: JSON, one package a line, so that a changed version is a changed line."""
    head = {f.name: getattr(lock, f.name) for f in fields(lock) if f.name not in ("packages", "uv")}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    packages = ",\n".join(f"    {json.dumps(_entry(package))}" for package in lock.packages)
    uv = f'  "uv": {json.dumps(_entry(lock.uv))},'
    return "\n".join(["{", *lines, uv, '  "packages": [', packages, "  ]", "}"]) + "\n"


def _entry(package: Package) -> dict[str, Any]:
    return {key: value for key, value in vars(package).items() if key != "origin" or value}


def completed_by(lock: Lock, known: "Iterable[Lock]") -> Lock:
    """The lock with what earlier ones know of its unresolved wheels: a hash, once found, is kept."""
    found = {p.file: p for other in known for p in other.packages if p.origin == PYTORCH and p.sha256}
    packages = tuple(package if package.sha256 else found.get(package.file, package) for package in lock.packages)
    return replace(lock, packages=packages)


def read_lock(path: Path, cell: Cell) -> Lock:
    """Read a cell's lock; a missing, malformed or stale one is an InputError that names the command."""
    shown, command = f"images/{cell.id}/lock.json", f"python build.py lock {cell.id}"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        packages = tuple(Package(**entry) for entry in data.pop("packages"))
        lock = Lock(uv=Package(**data.pop("uv")), packages=packages, **data)
        for package in packages:
            parse_wheel_filename(package.file)
    except FileNotFoundError:
        raise InputError("this cell has no lock yet", where=shown, next_step=command) from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"not a lock: {error}", where=shown, next_step=command) from None
    if lock.inputs != inputs_digest(cell):
        raise InputError("the lock is stale: matrix.yaml asks for something else now", where=shown, next_step=command)
    return lock
