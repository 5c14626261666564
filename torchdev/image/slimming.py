"""What images lack of their wheels, since nothing loads it: data/slimming.yaml."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from torchdev.catalog.versions import order
from torchdev.util import positions

DATA = Path(__file__).parents[1] / "data" / "slimming.yaml"

LEFT_OUT = "left_out"
"""Whole files."""
STRIPPED = "stripped"
"""Symbol tables and debug information of libraries, which stay."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What is taken away, and how: of which projects, by which paths below site-packages, both as globs; and why.

    `bytes` is what that was in versions of the projects.
    """

    how: str
    projects: str
    paths: tuple[str, ...]
    bytes: dict[str, int]
    why: str

    def taken(self, version: str) -> int:
        """Bytes that a version loses: as the newest known one that is not newer, or as the oldest."""
        known = sorted(self.bytes, key=order)
        older = [one for one in known if order(one) <= order(version)]
        return self.bytes[(older or known[:1])[-1]]


@cache
def rules() -> tuple[Rule, ...]:
    """Every rule, in the order of the file."""
    entries = positions.read_own(DATA)
    return tuple(Rule(**{**entry, "paths": tuple(entry["paths"])}) for entry in entries)


def rules_of(projects: "Iterable[str]") -> tuple[Rule, ...]:
    """The rules that concern any of some projects."""
    return _rules_of(tuple(projects))


@cache
def _rules_of(names: "tuple[str, ...]") -> tuple[Rule, ...]:
    return tuple(rule for rule in rules() if any(fnmatchcase(name, rule.projects) for name in names))


def taken(versions: "Iterable[tuple[str, str]]") -> int:
    """Bytes that images lack of some projects in some versions."""
    return sum(_taken(name, version) for name, version in versions)


@cache
def _taken(name: str, version: str) -> int:
    """Bytes that images lack of one project; many cells ask for the same."""
    return sum(rule.taken(version) for rule in rules_of([name]))


def paths_of(projects: "Iterable[str]") -> dict[str, tuple[str, ...]]:
    """Paths below site-packages, as globs in which * stops at a slash, of what images lack of some projects: by how."""
    return dict(_paths_of(tuple(projects)))


@cache
def _paths_of(names: "tuple[str, ...]") -> dict[str, tuple[str, ...]]:
    found = _rules_of(names)
    return {
        how: tuple(path for rule in found if rule.how == how for path in rule.paths) for how in (LEFT_OUT, STRIPPED)
    }
