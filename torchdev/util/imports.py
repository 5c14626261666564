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
    """The names of an import without what they are called there."""
    for part in names.strip("() \n").split(","):
        if part.strip():
            yield part.split()[0]


def _files(name: str, checkout: Path) -> Iterator[Path]:
    """What a dotted name may be a module of."""
    place = checkout.joinpath(*name.split("."))
    yield from (path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file())


def _packages(folder: Path, checkout: Path) -> Iterator[Path]:
    """The packages that a folder's modules are in: their own modules are run before these."""
    for above in (folder, *folder.parents):
        if (own := above / "__init__.py").is_file():
            yield own
        if above == checkout:
            break
