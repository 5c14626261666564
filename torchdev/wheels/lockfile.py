"""Reads locks, and validates each against its cell before it is used, because people and git edit locks, too."""

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydantic import TypeAdapter

from torchdev.catalog import releases
from torchdev.catalog.versions import order
from torchdev.catalog.wheel_name import parsed
from torchdev.matrix.load import Cell
from torchdev.util import files, jsonfile
from torchdev.util.commands import build_py
from torchdev.util.errors import BuildError, InputError
from torchdev.util.jsonfile import KeyPath, Malformed
from torchdev.util.texts import quoted
from torchdev.wheels import wheel
from torchdev.wheels.lock import (
    FLAVOURED,
    PYTORCH,
    UV,
    Lock,
    Package,
    inputs_digest,
    requirements,
    runtime_cuda,
    to_text,
)

Doubt = tuple[KeyPath, str]
"""A position in a lock, and what is wrong there."""
_ADAPTER = TypeAdapter(Lock)


def read_lock(path: Path, cell: Cell) -> Lock:
    """Read a cell's lock; InputError with the command if it is missing, malformed, stale or of another cell."""
    command = build_py("lock", cell.id)
    try:
        if path.is_symlink():
            raise files.unreadable(path, "it is a link, and a lock is a file of its own")
        lock, data = jsonfile.read(path, _ADAPTER)
    except FileNotFoundError:
        raise InputError("this cell has no lock yet", where=_shown(path), next_step=command) from None
    except Malformed as error:
        raise InputError(f"not a lock: {error.what}", where=_shown(path, error.line), next_step=command) from None
    except InputError as error:
        raise InputError(error.what, where=_shown(path), next_step=("put it out of the way, then ", command)) from None
    for key, what in doubts(lock, cell):
        raise InputError(what, where=_shown(path, jsonfile.line_of(data, key)), next_step=command)
    return lock


def sound(lock: Lock, cell: Cell) -> Lock:
    """Validate a new lock as it will be validated when it is read; BuildError with what is wrong."""
    try:
        jsonfile.parse(to_text(lock).encode(), _ADAPTER)
        what = next((what for _, what in doubts(lock, cell)), "")
    except Malformed as error:
        what = error.what
    if what:
        step = "look at what the package index gives (pip config list), and at the row of the cell in matrix.yaml"
        raise BuildError(f"what was resolved is no lock of this cell: {what}", where=cell.id, next_step=step)
    return lock


def complete(path: Path, before: Lock, after: Lock, cell: Cell) -> None:
    """Replace the lock that a completed one was made from; BuildError if there is another by now."""
    with files.locked(path.parent.parent):
        if read_lock(path, cell) != before:
            what = "its lock has changed since this run began, and stays as it is"
            raise BuildError(what, where=cell.id, next_step=("render, then ", build_py("build", cell.id)))
        files.write(path, to_text(sound(after, cell)))


def there(path: Path) -> bool:
    """Whether something is at the path of a lock; if it can't be read, reading it will report why."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def doubts(lock: Lock, cell: Cell) -> Iterator[Doubt]:
    """Everything that is wrong with a lock for this cell as the matrix has it now; empty if all is well."""
    for field, wanted in (("cell", cell.id), ("python", cell.python), ("platform", cell.platform)):
        if getattr(lock, field) != wanted:
            yield (field,), f"this is the lock of {field} {getattr(lock, field)}, not of {wanted}"
    if lock.inputs != inputs_digest(cell):
        yield ("inputs",), "the lock is stale: matrix.yaml asks for something else now"
    yield from ((("uv", *key), what) for key, what in _of_uv(lock.uv, cell))
    for number, package in enumerate(lock.packages):
        yield from ((("packages", number, *key), what) for key, what in _of_package(package, cell))
    yield from _of_order(lock.packages)
    yield from _of_requirements(lock, cell)
    yield from _of_pytorch(lock, cell)


def _of_uv(package: Package, cell: Cell) -> Iterator[Doubt]:
    if (package.name, package.version, package.origin) != ("uv", UV, ""):
        yield (), f"this is {package.name} {package.version}, and uv {UV} of the package index is what installs here"
    if not package.sha256:
        yield ("sha256",), "uv has no sha256"
    yield from _of_package(package, cell)


def _of_package(package: Package, cell: Cell) -> Iterator[Doubt]:
    """What is wrong with one wheel of a cell, whatever the others are."""
    try:
        name = parsed(package.file)
    except ValueError:
        yield ("file",), f"{package.name}: {quoted(package.file)} is not the file name of a wheel"
        return
    if (name.project, name.version) != (package.name, package.version):
        yield ("file",), f"{package.file} is a wheel of {name.project} {name.version}, not {_named(package)}"
    if not wheel.fits(package.file, cell.python, cell.arch):
        yield ("file",), f"{package.file} does not run on Python {cell.python} for {cell.platform}"
    if not package.sha256 and package.origin != PYTORCH:
        yield ("sha256",), f"{package.name} has no sha256; only wheels of the PyTorch index may lack one for a while"
    local = order(package.version).local or ""
    if package.origin == PYTORCH and (package.name not in FLAVOURED or local != cell.flavour):
        yield ("origin",), f"{_named(package)} is not one of the wheels that only the PyTorch index has"
    if package.name in FLAVOURED and local not in ("", cell.flavour):
        yield ("version",), f"{_named(package)} is not for {cell.flavour}"


def _of_order(packages: "tuple[Package, ...]") -> Iterator[Doubt]:
    """Packages are sorted by name, without repetition, so that one set of wheels has one lock."""
    for number, (before, package) in enumerate(pairwise(packages), 1):
        if package.name == before.name:
            yield ("packages", number), f"{package.name} is there twice, as git may have merged two locks"
        if package.name < before.name:
            yield ("packages", number), f"{package.name} stands after {before.name}: packages are in order of names"


def _of_requirements(lock: Lock, cell: Cell) -> Iterator[Doubt]:
    """All requirements of the cell are met, and no version is excluded by one."""
    numbers = {package.name: number for number, package in enumerate(lock.packages)}
    for text in requirements(cell):
        wanted = _parsed(text)
        if wanted.applies(cell) and wanted.name not in numbers:
            yield ("packages",), f"{wanted.name} is not there, and the cell asks for {text}"
    for text in (*requirements(cell), *cell.constraints):
        wanted = _parsed(text)
        number = numbers.get(wanted.name)
        if number is not None and wanted.applies(cell) and not wanted.admits(lock.packages[number].version):
            version = lock.packages[number].version
            yield ("packages", number, "version"), f"{wanted.name} is {version}, and the cell asks for {text}"


def _of_pytorch(lock: Lock, cell: Cell) -> Iterator[Doubt]:
    """PyTorch, CUDA and cuDNN are those in the cell's id."""
    versions = {package.name: package.version for package in lock.packages}
    torch, cuda = versions.get("torch", ""), runtime_cuda(lock.packages)
    if not torch or order(torch).public != cell.torch:
        yield ("packages",), f"torch is {torch or 'not there'}, and the cell is of {cell.torch}"
    if cuda and cuda != cell.cuda:
        yield ("packages",), f"its CUDA is {cuda}, and the cell's is {cell.cuda or 'none (cpu)'}"
    if torch and not order(torch).local and not releases.is_on_pypi(cell.torch, cell.flavour, cell.arch):
        yield ("packages",), f"the torch {torch} of the package index is not for {cell.flavour}"
    names = [name for name in versions if name.startswith("nvidia-cudnn-")]
    if len(names) > 1:
        yield ("packages",), f"it has more than one cuDNN: {', '.join(names)}"
    if cell.cudnn and lock.cudnn != cell.cudnn:
        yield ("packages",), f"its cuDNN is {lock.cudnn or 'not there'}, and the cell asks for {cell.cudnn}"


class _Wanted:
    """A parsed requirement, shared by all cells that have it."""

    def __init__(self, text: str) -> None:
        found = Requirement(text)
        self.name = canonicalize_name(found.name)
        self._marker = found.marker
        self._specifier = found.specifier
        self._admitted: dict[str, bool] = {}

    def applies(self, cell: Cell) -> bool:
        """Whether its marker, if any, is true for a cell."""
        return not self._marker or self._marker.evaluate(_environment(cell.python, cell.arch))

    def admits(self, version: str) -> bool:
        """Whether a version satisfies it; a locked prerelease was chosen on purpose, and is allowed."""
        if version not in self._admitted:
            self._admitted[version] = self._specifier.contains(order(version), prereleases=True)
        return self._admitted[version]


def _environment(python: str, arch: str) -> dict[str, str | frozenset[str]]:
    """The values of markers (PEP 508) for a cell."""
    return {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "platform_python_implementation": "CPython",
        "platform_machine": wheel.machine_of(arch),
        "platform_system": "Linux",
        "platform_release": "",
        "platform_version": "",
        "sys_platform": "linux",
        "os_name": "posix",
        "extra": "",
    }


@cache
def _parsed(text: str) -> _Wanted:
    return _Wanted(text)


def _shown(path: Path, line: int = 0) -> str:
    """A path and a line for a message: relative to the current folder if it is below that."""
    try:
        name = str(path.resolve().relative_to(Path.cwd().resolve()))
    except (ValueError, OSError, RuntimeError):
        name = str(path)
    return f"{name}:{line}" if line else name


def _named(package: Package) -> str:
    return f"{package.name} {package.version}"
