"""Wheel files: which of several an interpreter would install, and what they contain."""

import re
import zipfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from packaging.tags import compatible_tags, cpython_tags

from torchdev.catalog.bases import suite_of
from torchdev.catalog.ids import AMD64
from torchdev.catalog.versions import order, same_release
from torchdev.catalog.wheel_name import ARCHITECTURES, parsed, served
from torchdev.util.commands import build_py
from torchdev.util.errors import InputError
from torchdev.util.texts import quoted

MINIMUM_GLIBC = 17


@cache
def fits(file: str, python: str, arch: str = AMD64) -> bool:
    """Whether an installer would accept a wheel file for a Python series on the images' base."""
    return _rank(file, _tag_order(python, machine_of(arch))) is not None


def rival(one: str, other: str) -> bool:
    """Whether two wheel files of one CUDA variant have project, version, and a Python and machine in common.

    The local version names the CUDA variant, which not all names of the PyTorch index do.
    """
    a, b = (parsed(file) for file in (one, other))
    same = a.project == b.project and same_release(a.version, b.version)
    return same and bool(served(one) & served(other))


def best(files: "Iterable[str]", python: str, arch: str = AMD64) -> "str | None":
    """The wheel file that an installer would choose for a Python series on the images' base; None if none fits."""
    ranking = _tag_order(python, machine_of(arch))
    ranked = [(rank, file) for file in files if (rank := _rank(file, ranking)) is not None]
    return min(ranked)[1] if ranked else None


def _rank(file: str, ranking: dict[str, int]) -> "int | None":
    ranks = [ranking[str(tag)] for tag in parsed(file).tags if str(tag) in ranking]
    return min(ranks) if ranks else None


def machine_of(arch: str) -> str:
    """The architecture as wheels and uv name it, aarch64 for arm64; InputError for an unknown one."""
    for machine, name in ARCHITECTURES.items():
        if name == arch:
            return machine
    known = " or ".join(ARCHITECTURES.values())
    raise InputError(f"{quoted(arch)} is no architecture that wheels are known of: {known}", next_step=build_py("list"))


@cache
def _tag_order(python: str, machine: str) -> dict[str, int]:
    """Wheel tags that the cell's interpreter accepts, best first, in its installer's order."""
    version = order(python).release
    major, newest = suite_of(python).glibc
    manylinux = [f"manylinux_{major}_{minor}_{machine}" for minor in range(newest, MINIMUM_GLIBC - 1, -1)]
    old = [f"manylinux{year}_{machine}" for year in ("2014", "2010", "1")]
    platforms = [*manylinux, *old, f"linux_{machine}"]
    interpreter = f"cp{''.join(map(str, version))}"
    tags = [*cpython_tags(version, platforms=platforms), *compatible_tags(version, interpreter, platforms)]
    return {str(tag): rank for rank, tag in reversed(list(enumerate(tags)))}


def bundled_cuda(archive: zipfile.ZipFile) -> "str | None":
    """The CUDA version whose runtime is inside a wheel, as in PyTorch's before 1.13; None if there is none."""
    found = (re.search(r"/libcudart[^/]*\.so\.([0-9]+\.[0-9]+)", name) for name in archive.namelist())
    return next((match[1] for match in found if match), None)


def requirements(archive: zipfile.ZipFile) -> "list[str]":
    """The requirements in the METADATA of a wheel; NotOfKind for an invalid one."""
    from torchdev.wheels import archives  # not above: what fetches comes with it, which a list of cells does not need

    return list(archives.requirements(archives.metadata(archive)))


def write_stub(folder: Path, name: str, version: str, requires: "Iterable[str]") -> None:
    """A wheel with METADATA only, which tells a resolver the requirements of a wheel that it can't reach."""
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
