"""Versions as packaging orders them: 2.9.1rc1 comes between 2.9.0 and 2.9.1, and 2.10.0 after 2.9.1.

Standard library alone when it is loaded, as axes.py, which has use for it, must be.
"""

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.version import Version


@cache
def order(version: str) -> "Version":
    """A version, for its order; InvalidVersion, a ValueError, if it is none."""
    from packaging.version import Version

    return Version(version)


@cache
def python_order(series: str) -> "tuple[Version, bool]":
    """The place of a Python series in their order: 3.13t, which is free-threaded, comes after 3.13."""
    return order(series.removesuffix("t")), series.endswith("t")


def minor(version: str) -> str:
    """A version's first two numbers: 2.9 for 2.9.1."""
    return ".".join(map(str, order(version).release[:2]))


def begins(version: str, wanted: str) -> bool:
    """Whether a version is the one asked for, or one of those that a part of a version stands for: 2.9 for 2.9.1."""
    have, want = order(version), order(wanted)
    shorter = len(want.release) < len(have.release)
    return have == want or (shorter and have.release[: len(want.release)] == want.release)


def older(version: str, minimum: str) -> bool:
    """Whether a version is older than a minimum; one given in part (535) stands for the newest of its branch."""
    have, need = order(version).release, order(minimum).release
    return have < need[: len(have)]


def same_release(one: str, other: str) -> bool:
    """Whether two versions are the same but for the local one, which names a CUDA variant where it is there: +cu126."""
    return order(one).public == order(other).public


def span(versions: "Iterable[str]") -> str:
    """Versions in words, from the oldest to the newest."""
    found = sorted(set(versions), key=order)
    return found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"
