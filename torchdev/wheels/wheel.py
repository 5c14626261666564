"""Wheel files: which of several an interpreter would take, what they require, how large they are unpacked."""

import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename
from remotezip import RemoteZip

from torchdev.catalog.bases import suite_of
from torchdev.catalog.builds import ARCHITECTURES
from torchdev.catalog.ids import AMD64
from torchdev.wheels import archives, remote
from torchdev.wheels.host import Host
from torchdev.wheels.remote import Silent, Untrue

T = TypeVar("T")
MINIMUM_GLIBC = 17
NEWEST_MINOR = 100
"""Above the minor version of every Python 3 to come."""


@dataclass(frozen=True)
class Name:
    """What the file name of a wheel says: project and version, both normalized, and all tags it has."""

    project: str
    version: str
    tags: "frozenset[Tag]"


@cache
def parsed(file: str) -> Name:
    """The file name of a wheel, taken apart; InvalidWheelFilename, a ValueError, if it is none."""
    project, version, _, tags = parse_wheel_filename(file)
    return Name(project, str(version), tags)


@cache
def fits(file: str, python: str, arch: str = AMD64) -> bool:
    """Whether an installer would take a wheel file for a Python series on the images' base."""
    return _rank(file, _tag_order(python, machine_of(arch))) is not None


def rival(one: str, other: str) -> bool:
    """Whether two wheel files of one flavour have project and version in common, and a Python and machine they serve.

    The local version names the flavour, which not all names of the PyTorch index do.
    """
    a, b = (parsed(file) for file in (one, other))
    same = a.project == b.project and a.version.partition("+")[0] == b.version.partition("+")[0]
    return same and bool(_served(one) & _served(other))


@cache
def _served(file: str) -> "frozenset[tuple[str, str]]":
    """The Pythons (3.11, or 3.13t free-threaded) and machines (x86_64) that can take a wheel file."""
    tags = parsed(file).tags
    return frozenset((python, machine) for tag in tags for python in _pythons(tag) for machine in _machines(tag))


def _pythons(tag: Tag) -> "set[str]":
    """CPython's ABI tags name one series; abi3 and py3 mean all from one on, and none no ABI, so any of a series."""
    found = re.fullmatch("(cp|py)3([0-9]*)", tag.interpreter)
    if not found:
        return set()
    first = int(found[2] or 0)
    onward = tag.abi == "abi3" or found[1] == "py" or not found[2]
    series = [f"3.{minor}" for minor in (range(first, NEWEST_MINOR) if onward else [first])]
    if tag.abi == "none":
        return {*series, *(f"{python}t" for python in series)}
    return {f"{python}t" for python in series} if tag.abi.endswith("t") else {*series}


def _machines(tag: Tag) -> "Iterable[str]":
    libc = "musl " if tag.platform.startswith("musllinux") else ""
    return [
        libc + machine for machine in ARCHITECTURES if tag.platform == "any" or tag.platform.endswith(f"_{machine}")
    ]


def best(files: "Iterable[str]", python: str, arch: str = AMD64) -> "str | None":
    """The wheel file that an installer would take for a Python series on the images' base; None if none fits."""
    order = _tag_order(python, machine_of(arch))
    ranked = [(rank, file) for file in files if (rank := _rank(file, order)) is not None]
    return min(ranked)[1] if ranked else None


def _rank(file: str, order: dict[str, int]) -> "int | None":
    ranks = [order[str(tag)] for tag in parsed(file).tags if str(tag) in order]
    return min(ranks) if ranks else None


def machine_of(arch: str) -> str:
    """The architecture as wheels and uv name it: aarch64 for arm64."""
    return next(machine for machine, name in ARCHITECTURES.items() if name == arch)


@cache
def _tag_order(python: str, machine: str) -> dict[str, int]:
    """Wheel tags that the cell's interpreter accepts, best first, as its installer would rank them."""
    version = tuple(int(part) for part in python.split("."))
    major, newest = suite_of(python).glibc
    manylinux = [f"manylinux_{major}_{minor}_{machine}" for minor in range(newest, MINIMUM_GLIBC - 1, -1)]
    old = [f"manylinux{year}_{machine}" for year in ("2014", "2010", "1")]
    platforms = [*manylinux, *old, f"linux_{machine}"]
    interpreter = f"cp{''.join(map(str, version))}"
    tags = [*cpython_tags(version, platforms=platforms), *compatible_tags(version, interpreter, platforms)]
    return {str(tag): rank for rank, tag in reversed(list(enumerate(tags)))}


def read(place: "str | Path", host: Host, work: Callable[[zipfile.ZipFile], T]) -> T:
    """What `work` makes of a wheel on this disk, or of one behind a URL, of which only the parts it reads are fetched.

    Silent or Untrue if it can't be read.
    """
    try:
        if isinstance(place, str) and "://" in place:
            return remote.read_wheel(host, place, work)
        with remote.unpacking(), zipfile.ZipFile(place) as archive:
            return work(archive)
    except (Silent, Untrue) as error:
        raise type(error)(f"{place}: {error}") from None


def sizes(archive: zipfile.ZipFile) -> "tuple[int, int]":
    """Bytes of a wheel's file, and of all files in it."""
    size = archive.size() if isinstance(archive, RemoteZip) else Path(str(archive.filename)).stat().st_size
    return size, unpacked(archive)


def unpacked(archive: zipfile.ZipFile) -> int:
    """Bytes of all files in a wheel."""
    return sum(entry.file_size for entry in archive.infolist())


def bundled_cuda(archive: zipfile.ZipFile) -> "str | None":
    """The CUDA version whose runtime is inside a wheel, as in PyTorch's before 1.13; None if there is none."""
    found = (re.search(r"/libcudart[^/]*\.so\.([0-9]+\.[0-9]+)", name) for name in archive.namelist())
    return next((match[1] for match in found if match), None)


def requirements(archive: zipfile.ZipFile) -> "list[str]":
    """What the METADATA of a wheel requires; NotOfKind if it is nothing that could be required."""
    return list(archives.requirements(archives.metadata(archive)))


def write_stub(folder: Path, name: str, version: str, requires: "Iterable[str]") -> None:
    """A wheel of nothing but METADATA, by which a resolver learns what a wheel that it can't reach requires."""
    info = f"{name}-{version}.dist-info"
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Requires-Dist: {r}" for r in requires),
    ]
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
