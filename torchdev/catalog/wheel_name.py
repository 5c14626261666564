"""The file names of wheels, parsed by packaging: project and version, and the Pythons and machines they serve."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from packaging.tags import Tag
from packaging.utils import parse_wheel_filename

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""The end of a wheel's platform tag to the architecture's name in image registries."""
NEWEST_MINOR = 100
"""Higher than the minor version of any Python 3."""
LEGACY_GLIBC = {"manylinux1": 5, "manylinux2010": 12, "manylinux2014": 17}
"""The minor version of glibc 2 that old platform tags mean: PEP 513, 571, 599."""


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
def served(file: str) -> "frozenset[tuple[str, str]]":
    """The Pythons (3.11, or 3.13t free-threaded) and machines (x86_64) that can take a wheel file."""
    tags = parsed(file).tags
    return frozenset((python, machine) for tag in tags for python in _pythons(tag) for machine in _machines(tag))


@cache
def glibc(file: str) -> "int | None":
    """The lowest minor version of glibc 2 that a wheel needs, by its platform tags (PEP 600)."""
    found = [re.fullmatch("(manylinux[0-9]+|manylinux_2_([0-9]+))_.*", tag.platform) for tag in parsed(file).tags]
    return min((int(match[2] or LEGACY_GLIBC[match[1]]) for match in found if match), default=None)


def _pythons(tag: Tag) -> "set[str]":
    """The Python series of a tag: an ABI of CPython names one; abi3 and py3 mean all from one on; none means any."""
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
