"""Finds the modules of a checkout that a program imports, from its source: the whole graph, without running it."""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

STATEMENT = re.compile(
    r"(?:^|;)[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n#;]+)|import[ \t]+([^\n#;]+))", re.MULTILINE
)
"""An import statement, anywhere in a module. A match inside a text adds one module too many, which does no harm."""


def reached(roots: "Iterable[Path]", checkout: Path) -> "set[Path]":
    """Modules and everything that they import from the checkout, directly or not; packages, too."""
    found: set[Path] = set()
    waiting = list(roots)
    own = {path.name.removesuffix(".py") for path in checkout.iterdir()}
    files = cache(lambda name: tuple(_files(name, checkout)))
    packages = cache(lambda folder: tuple(_packages(folder, checkout)))
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += (file for name in imported(path) if name.partition(".")[0] in own for file in files(name))
            waiting += packages(path.parent)
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
    """The names in an import, without their aliases."""
    for part in names.strip("() \n").split(","):
        if part.strip():
            yield part.split()[0]


def _files(name: str, checkout: Path) -> Iterator[Path]:
    """The files that a dotted name may mean."""
    base = checkout.joinpath(*name.split("."))
    yield from (path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file())


def _packages(folder: Path, checkout: Path) -> Iterator[Path]:
    """The packages of a folder's modules: their __init__ runs before these."""
    for above in (folder, *folder.parents):
        if (own := above / "__init__.py").is_file():
            yield own
        if above == checkout:
            break
