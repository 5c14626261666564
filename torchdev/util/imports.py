"""Which modules of a checkout a program imports, by its source: the whole graph, without running anything."""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

STATEMENT = re.compile(
    r"(?:^|;)[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n#;]+)|import[ \t]+([^\n#;]+))", re.MULTILINE
)
"""An import, anywhere in a module. What only looks like one, in a text, names one module too many, and does no harm."""


def reached(roots: "Iterable[Path]", checkout: Path) -> "set[Path]":
    """Some modules and all that they import, directly or not, as far as it lies in the checkout; packages, too."""
    found: set[Path] = set()
    waiting = list(roots)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _files(imported(path), checkout)
            waiting += _packages(path, checkout)
    return found


def imported(path: Path) -> "tuple[str, ...]":
    """The dotted names that a module's imports may mean: of `from a import b`, a and a.b."""
    return _imported(path, path.stat().st_mtime_ns)


@cache
def _imported(path: Path, stamp: int) -> "tuple[str, ...]":
    return tuple(dict.fromkeys(_names(path.read_text(encoding="utf-8"))))


def _names(source: str) -> Iterator[str]:
    for module, members, modules in STATEMENT.findall(source):
        yield from _words(modules)
        if module:
            yield module
            yield from (f"{module}.{name}" for name in _words(re.sub("#.*", "", members)))


def _words(names: str) -> Iterator[str]:
    """The names of an import without what they are called there."""
    for part in names.strip("() \n").split(","):
        if part.strip():
            yield part.split()[0]


def _files(names: "Iterable[str]", checkout: Path) -> Iterator[Path]:
    for name in names:
        place = checkout.joinpath(*name.split("."))
        yield from (path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file())


def _packages(path: Path, checkout: Path) -> Iterator[Path]:
    """The packages that a module is in: their own modules are run before it."""
    for folder in path.relative_to(checkout).parents:
        own = checkout / folder / "__init__.py"
        if own.is_file():
            yield own
