"""Excluded files of wheels, which nothing loads: data/slimming.yaml."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from torchdev.catalog.versions import order
from torchdev.util import positions

DATA = Path(__file__).parents[1] / "data" / "slimming.yaml"

LEFT_OUT = "left_out"
"""Files that are left out as a whole."""
STRIPPED = "stripped"
"""Libraries that stay, without symbol tables and debug information."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What is excluded, and how: projects and paths below site-packages, both as globs; and why.

    `bytes` has the bytes saved in some versions of the projects.
    """

    how: str
    projects: str
    paths: tuple[str, ...]
    bytes: dict[str, int]
    why: str

    def taken(self, version: str) -> int:
        """Bytes that a version loses: those of the newest measured version up to it, else those of the oldest."""
        known = sorted(self.bytes, key=order)
        older = [one for one in known if order(one) <= order(version)]
        return self.bytes[(older or known[:1])[-1]]


@cache
def rules() -> tuple[Rule, ...]:
    """Every rule, in the order of the file."""
    entries = positions.read_own(DATA)
    return tuple(Rule(**{**entry, "paths": tuple(entry["paths"])}) for entry in entries)


def rules_of(projects: "Iterable[str]") -> tuple[Rule, ...]:
    """The rules that apply to any of some projects."""
    return _rules_of(tuple(projects))


@cache
def _rules_of(names: "tuple[str, ...]") -> tuple[Rule, ...]:
    return tuple(rule for rule in rules() if any(fnmatchcase(name, rule.projects) for name in names))


def taken(versions: "Iterable[tuple[str, str]]") -> int:
    """Bytes of the excluded files of some projects in some versions."""
    return sum(_taken(name, version) for name, version in versions)


@cache
def _taken(name: str, version: str) -> int:
    """Bytes of the excluded files of one project; cached, because many cells have the same."""
    return sum(rule.taken(version) for rule in rules_of([name]))


def paths_of(projects: "Iterable[str]") -> dict[str, tuple[str, ...]]:
    """Excluded files of some projects, as globs below site-packages in which * stops at a slash: by how."""
    return dict(_paths_of(tuple(projects)))


@cache
def _paths_of(names: "tuple[str, ...]") -> dict[str, tuple[str, ...]]:
    found = _rules_of(names)
    return {
        how: tuple(path for rule in found if rule.how == how for path in rule.paths) for how in (LEFT_OUT, STRIPPED)
    }
