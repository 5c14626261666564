"""Versions as packaging orders them: 2.9.1rc1 comes between 2.9.0 and 2.9.1, and 2.10.0 after 2.9.1.

Standard library alone when it is loaded, because axes.py imports it.
"""

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.version import Version


@cache
def order(version: str) -> "Version":
    """A version that can be compared; InvalidVersion, a ValueError, if the text is invalid."""
    from packaging.version import Version

    return Version(version)


@cache
def python_order(series: str) -> "tuple[Version, bool]":
    """The sort key of a Python series: 3.13t, which is free-threaded, comes after 3.13."""
    return order(series.removesuffix("t")), series.endswith("t")


def minor(version: str) -> str:
    """A version's first two numbers: 2.9 for 2.9.1."""
    return ".".join(map(str, order(version).release[:2]))


def begins(version: str, wanted: str) -> bool:
    """Whether a version is the wanted one, or begins with it: 2.9 matches 2.9.1."""
    have, want = order(version), order(wanted)
    shorter = len(want.release) < len(have.release)
    return have == want or (shorter and have.release[: len(want.release)] == want.release)


def older(version: str, minimum: str) -> bool:
    """Whether a version is older than a minimum; a version given in part (535) counts as the newest of its branch."""
    have, need = order(version).release, order(minimum).release
    return have < need[: len(have)]


def same_release(one: str, other: str) -> bool:
    """Whether two versions are equal but for the local part, which may name a CUDA variant: +cu126."""
    return order(one).public == order(other).public


def span(versions: "Iterable[str]") -> str:
    """Versions in words, from the oldest to the newest."""
    found = sorted(set(versions), key=order)
    return found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"
