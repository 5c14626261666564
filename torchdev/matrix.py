"""matrix.yaml to a Matrix of cells, with file, line and column in every error."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import product
from pathlib import Path

from torchdev.document import Place, Value, read
from torchdev.errors import InputError

AXES = ("python", "cuda", "torch")
PATTERNS = {
    "python": (re.compile(r"3\.[0-9]+"), 'a Python series such as "3.11"'),
    "cuda": (re.compile(r"cpu|cu[0-9]{3}"), "a PyTorch flavour such as cu130, or cpu"),
    "torch": (re.compile(r"[0-9]+\.[0-9]+\.[0-9]+"), 'a full version such as "2.13.0"'),
    "image": (re.compile(r"[a-z0-9]+([._/-][a-z0-9]+)*(:[0-9]+/[a-z0-9._/-]+)?"), "a repository name such as torchdev"),
}
COMPANIONS = frozenset({"torchvision", "torchaudio"})


@dataclass(frozen=True, order=True)
class Cell:
    """One combination of Python, CUDA flavour and PyTorch, with all it is asked to contain."""

    python: str
    flavour: str
    torch: str
    requirements: tuple[str, ...]
    place: Place = field(compare=False)

    @property
    def id(self) -> str:
        """The name of the cell: its folder, tag, test id and selector. Made here and nowhere else."""
        return f"{self.pair}-torch{self.torch}"

    @property
    def pair(self) -> str:
        """The short tag, such as py311-cu130, that points at the newest PyTorch of the pair."""
        return f"py{self.python.replace('.', '')}-{self.flavour}"

    @property
    def cuda(self) -> "str | None":
        """The CUDA version of the flavour, such as 13.0 for cu130; None for cpu."""
        return None if self.flavour == "cpu" else f"{self.flavour[2:4]}.{self.flavour[4:]}"


@dataclass(frozen=True)
class Matrix:
    """All cells of one matrix.yaml, in its order, and the short tags that point at them."""

    image: str
    file: str
    cells: tuple[Cell, ...]

    @property
    def aliases(self) -> dict[str, Cell]:
        """Short tag to the cell with the newest PyTorch of that Python and flavour."""
        newest: dict[str, Cell] = {}
        for cell in self.cells:
            if cell.pair not in newest or _numbers(cell.torch) > _numbers(newest[cell.pair].torch):
                newest[cell.pair] = cell
        return newest

    def aliases_of(self, cell: Cell) -> tuple[str, ...]:
        """The short tags that point at this cell."""
        return tuple(alias for alias, target in self.aliases.items() if target == cell)

    def select(self, names: "list[str]") -> tuple[Cell, ...]:
        """The cells that ids, short tags or globs name, in matrix order; all of them for no names."""
        chosen = {cell.id for name in names for cell in self._named(name)}
        return tuple(cell for cell in self.cells if not names or cell.id in chosen)

    def _named(self, name: str) -> "list[Cell]":
        if name in self.aliases:
            return [self.aliases[name]]
        found = [cell for cell in self.cells if fnmatch(cell.id, name)]
        if not found:
            known = ", ".join([*self.aliases, *(cell.id for cell in self.cells)])
            raise InputError(
                f'there is no cell "{name}" in {self.file}',
                next_step=f"python build.py list; it knows: {known}",
            )
        return found


def load(path: Path) -> Matrix:
    """Read and validate a matrix file."""
    root = read(path, path.name).record(required={"image", "rows"}, optional={"packages", "releases", "exclude"})
    packages = tuple(_package(item) for item in root["packages"].items()) if "packages" in root else ()
    releases = _releases(root["releases"]) if "releases" in root else {}
    cells = _without_duplicates(cell for row in root["rows"].items() for cell in _row_cells(row, packages, releases))
    kept = _exclude(cells, root["exclude"]) if "exclude" in root else cells
    if not kept:
        raise root["rows"].error("the matrix is empty", "name at least one row that is not excluded")
    return Matrix(_match("image", root["image"]), path.name, tuple(kept))


def _row_cells(row: Value, packages: tuple[str, ...], releases: dict[str, tuple[str, ...]]) -> Iterator[Cell]:
    record = row.record(required=set(AXES))
    axes = [[_match(axis, item) for item in record[axis].items()] for axis in AXES]
    for python, flavour, torch in product(*axes):
        requirements = (f"torch=={torch}", *releases.get(torch, ()), *packages)
        yield Cell(python, flavour, torch, requirements, row.place)


def _without_duplicates(cells: Iterator[Cell]) -> "list[Cell]":
    seen: dict[str, Cell] = {}
    for cell in cells:
        if cell.id in seen:
            raise InputError(f"{cell.id} was given before, at {seen[cell.id].place}", where=str(cell.place))
        seen[cell.id] = cell
    return list(seen.values())


def _exclude(cells: "list[Cell]", exclusions: Value) -> "list[Cell]":
    for exclusion in exclusions.items():
        record = exclusion.record(required={"reason"}, optional=set(AXES))
        if not record["reason"].text().strip():
            raise record["reason"].error("an exclusion needs a reason")
        wanted = {axis: [_match(axis, v) for v in record[axis].items()] for axis in AXES if axis in record}
        kept = [cell for cell in cells if not _matches(cell, wanted)]
        if len(kept) == len(cells):
            raise exclusion.error("this exclusion matches no cell", "remove it, or correct its values")
        cells = kept
    return cells


def _matches(cell: Cell, wanted: "dict[str, list[str]]") -> bool:
    values = {"python": cell.python, "cuda": cell.flavour, "torch": cell.torch}
    return all(values[axis] in allowed for axis, allowed in wanted.items())


def _releases(value: Value) -> dict[str, tuple[str, ...]]:
    """PyTorch version to the exact requirements of torchvision and torchaudio that belong to it."""
    releases = {}
    for key, (key_value, companions) in value.mapping().items():
        _match("torch", key_value)
        record = companions.record(required=set(), optional=COMPANIONS)
        releases[key] = tuple(f"{name}=={_match('torch', record[name])}" for name in sorted(record, reverse=True))
    return releases


def _package(value: Value) -> str:
    text = value.text()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[a-z0-9,_-]+\])?\s*([<>=!~]=?[^;@\s]*)?", text):
        raise value.error(f'"{text}" is not a package requirement', "write a name, or a name and a version: numpy>=2")
    return text


def _match(kind: str, value: Value) -> str:
    pattern, wanted = PATTERNS[kind]
    text = value.text()
    if not pattern.fullmatch(text):
        raise value.error(f'"{text}" is not {wanted}')
    return text


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
