"""matrix.yaml to a Matrix of cells, with file, line and column in every error."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import product
from math import prod
from pathlib import Path

from torchdev.catalog import explain, facts, ids, releases
from torchdev.catalog.versions import order
from torchdev.matrix import claims
from torchdev.matrix.cells import Cell as Cell
from torchdev.matrix.schema import AXES, Axes, Exclusion, MatrixFile, Row, read_matrix
from torchdev.util.commands import build_py
from torchdev.util.errors import InputError
from torchdev.util.positions import Document, KeyPath
from torchdev.util.texts import quoted, shown

LONGEST_TAG = 128
"""Characters of a tag, by the OCI distribution specification."""
MOST_CELLS = 20_000
"""Cells that the rows and inclusions of a matrix may name: far more than anybody builds, and still read in seconds."""
LONGEST_LIST = 4_000
"""Longer lists of possible values are cut to so many characters in a message."""
ALL, DEFAULT = "all", "default"
"""Groups of every matrix: all cells, and those that --matrix builds (all cells, unless the matrix names them)."""
ALWAYS = ("setuptools",)
"""Packages that torch.compile and C++ extensions import, and not every PyTorch requires (2.9.1 on Python 3.11)."""


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """All cells of one matrix.yaml, in its order, the shorter tags that point at them, and their groups."""

    image: str
    file: str
    cells: tuple[Cell, ...]
    aliases: dict[str, Cell]
    groups: dict[str, tuple[Cell, ...]]

    def aliases_of(self, cell: Cell) -> tuple[str, ...]:
        """The shorter tags that point at this cell."""
        return tuple(self._tags.get(cell.id, ()))

    @cached_property
    def _tags(self) -> "dict[str, list[str]]":
        """The shorter tags of each cell, by its id."""
        found: dict[str, list[str]] = {}
        for alias, target in self.aliases.items():
            found.setdefault(target.id, []).append(alias)
        return found

    @cached_property
    def _by_id(self) -> "dict[str, Cell]":
        return {cell.id: cell for cell in self.cells}

    def select(self, names: "Iterable[str]" = (), groups: "Iterable[str]" = ()) -> tuple[Cell, ...]:
        """The cells that ids, tags, globs and groups name, in matrix order; all of them if nothing is named."""
        names, groups = tuple(names), tuple(groups)
        chosen = {cell.id for name in names for cell in self._named(name)}
        chosen |= {cell.id for group in groups for cell in self._group(group)}
        return tuple(cell for cell in self.cells if not (names or groups) or cell.id in chosen)

    def _named(self, name: str) -> tuple[Cell, ...]:
        found = named(name, self._by_id, self.aliases)
        if not found:
            known = shown(", ".join([*self.aliases, *(cell.id for cell in self.cells)]), LONGEST_LIST)
            what = f"there is no cell {quoted(name)} in {self.file}, which has: {known}"
            raise InputError(what, next_step=build_py("list"))
        return found

    def _group(self, name: str) -> tuple[Cell, ...]:
        if name not in self.groups:
            known = shown(", ".join(self.groups), LONGEST_LIST)
            raise InputError(f"there is no group {quoted(name)} in {self.file}", next_step=f"it knows: {known}")
        return self.groups[name]


def named(name: str, cells: "dict[str, Cell]", aliases: "dict[str, Cell]") -> tuple[Cell, ...]:
    """The cells, of those given by id, that an alias, an id or a glob over ids selects."""
    if name in aliases or name in cells:
        return (aliases.get(name) or cells[name],)
    globs = any(character in name for character in "*?[")
    return tuple(cell for own, cell in cells.items() if fnmatchcase(own, name)) if globs else ()


def load(path: Path) -> Matrix:
    """Read and validate a matrix file."""
    file, document = read_matrix(path)
    kept = _exclude(list(_cells(file, document, "rows", file.rows)), file.exclude, document)
    cells = _without_duplicates([*kept, *_cells(file, document, "include", file.include)])
    if not cells:
        raise document.error(("rows",), "the matrix is empty", "name at least one row that is not excluded")
    aliases = _aliases(cells, file.aliases, document)
    groups = {ALL: cells, DEFAULT: cells} | dict(_groups(cells, aliases, file.groups, document))
    return Matrix(image=file.image, file=document.file, cells=cells, aliases=aliases, groups=groups)


def _cells(file: MatrixFile, document: Document, section: str, rows: "list[Row]") -> Iterator[Cell]:
    left = MOST_CELLS
    for number, row in enumerate(rows):
        path: KeyPath = (section, number)
        python, cuda, torch, cudnn, variant, arch = (_values(row, file.axes, axis, path, document) for axis in AXES)
        constraints = (*file.constraints, *row.constraints)
        chosen_from = (python, cuda, torch, cudnn or [None], variant or [ids.PLAIN], arch or [ids.AMD64])
        left -= prod(map(len, chosen_from))
        if left < 0:
            raise document.error(path, f"with this row there are more than {MOST_CELLS:,} cells", "name fewer values")
        for p, c, t, d, v, a in product(*chosen_from):
            wanted = file.companions if row.companions is None else row.companions
            companions = _companions(wanted, t or "", path, document)
            requirements = (f"torch=={t}", *companions, *ALWAYS, *file.packages, *row.packages)
            position = document.position(path)
            bounds = (*constraints, *(bound.requirement for bound in facts.bounds(t or "")))
            cell = Cell(
                python=p or "",
                flavour=c or "",
                torch=t or "",
                requirements=requirements,
                position=position,
                constraints=bounds,
                cudnn=d,
                variant=v or ids.PLAIN,
                arch=a or ids.AMD64,
                legacy=row.legacy,
                slim=file.slim,
                unlocked=row.unlocked,
            )
            yield _possible(cell, path, document)


def _values(row: Row, axes: Axes, axis: str, path: KeyPath, document: Document) -> "list[str | None]":
    found: list[str | None] | None = getattr(row, axis) or getattr(axes, axis)
    if found is None and axis in ("python", "cuda", "torch"):
        raise document.error(path, f'the key "{axis}" is missing', "name it in the row, or for all rows under axes:")
    return found or []


def _companions(wanted: "list[str]", torch: str, path: KeyPath, document: Document) -> "list[str]":
    """Exact requirements of the torchvision and torchaudio that belong to a release."""
    if torch not in releases.known() and wanted:
        step = f"use one it knows ({', '.join(releases.known())}), or companions: [] to go without"
        raise document.error((*path, "torch"), f"torchdev's catalog has no PyTorch {torch}", step)
    belonging = releases.companions_of(torch)
    return [f"{name}=={belonging[name]}" for name in wanted if name in belonging]


def _possible(cell: Cell, path: KeyPath, document: Document) -> Cell:
    """The cell, if it can exist as far as the catalog knows its release, its cuDNN and its variant; else an error."""
    if cell.flavour == "cpu" and (cell.cudnn or cell.devel):
        key = "cudnn" if cell.cudnn else "variant"
        raise document.error((*path, key), f"a cpu cell has no CUDA, so {key} can't be chosen")
    if len(cell.id) > LONGEST_TAG:
        raise document.error(path, f"the cell's id is longer than a tag can be: {cell.id}")
    if cell.torch in releases.known() and not explain.possible(cell.query()):
        said = explain.explain(cell.query())
        near = ", ".join(near.id for near in said.nearest)
        raise document.error(
            _to_blame(path, said, document), explain.refusal(cell.id, said), f"the nearest that can: {near}"
        )
    own = releases.find(cell.torch, cell.flavour, cell.arch, cell.python)
    if own and cell.cudnn and cell.cudnn == own.build.cudnn:
        what = f"PyTorch {cell.torch} ({cell.flavour}) pins cuDNN {cell.cudnn} already: leave it out"
        raise document.error((*path, "cudnn"), what)
    return cell


def _to_blame(path: KeyPath, said: explain.Explanation, document: Document) -> KeyPath:
    """The key of the row that caused a conflict, if the row has it."""
    keys = [axis for conflict in said.conflicts for axis in conflict.axes if document.has((*path, axis))]
    return (*path, max(keys, key=AXES.index)) if keys else path


def _exclude(cells: "list[Cell]", exclusions: "list[Exclusion]", document: Document) -> "list[Cell]":
    """The cells that no exclusion removes. Each exclusion must remove one that those before it left."""
    left = dict(enumerate(cells))
    having: dict[tuple[str, str | None], list[int]] = {}
    for number, cell in left.items():
        for axis, value in _values_of(cell).items():
            having.setdefault((axis, value), []).append(number)
    for number, exclusion in enumerate(exclusions):
        wanted = {axis: set(values) for axis in AXES if (values := getattr(exclusion, axis)) is not None}
        if not wanted:
            what = "this exclusion names no axis, so it would take every cell"
            raise document.error(("exclude", number), what, f"name at least one of: {', '.join(AXES)}")
        by_axis = [[having.get((axis, value), []) for value in values] for axis, values in wanted.items()]
        fewest = min(by_axis, key=lambda lists: sum(map(len, lists)))
        taken = [n for numbers in fewest for n in numbers if n in left and _matches(left[n], wanted)]
        if not taken:
            step = "remove it, or correct its values"
            raise document.error(("exclude", number), "this exclusion matches no cell", step)
        for n in taken:
            del left[n]
    return list(left.values())


def _matches(cell: Cell, wanted: "Mapping[str, Collection[str]]") -> bool:
    own = _values_of(cell)
    return all(own[axis] in values for axis, values in wanted.items())


def _values_of(cell: Cell) -> "dict[str, str | None]":
    """A cell's value on each of the axes."""
    values = (cell.python, cell.flavour, cell.torch, cell.cudnn, cell.variant, cell.arch)
    return dict(zip(AXES, values, strict=True))


def _without_duplicates(cells: "list[Cell]") -> tuple[Cell, ...]:
    seen: dict[str, Cell] = {}
    for cell in cells:
        if cell.id in seen:
            raise InputError(f"{cell.id} was given before, at {seen[cell.id].position}", where=str(cell.position))
        seen[cell.id] = cell
    return tuple(seen.values())


def _aliases(cells: "tuple[Cell, ...]", given: "dict[str, str]", document: Document) -> dict[str, Cell]:
    """Tag to cell: the short tags, each of the newest PyTorch that has it, then those of the matrix file."""
    short: dict[str, Cell] = {}
    for cell in cells:
        if cell.short not in short or order(cell.torch) > order(short[cell.short].torch):
            short[cell.short] = cell
    ids = {cell.id: cell for cell in cells}
    found = dict(short)
    for alias, target in given.items():
        if alias in ids:
            raise document.error(("aliases", alias), f"{alias} is a cell, and can't point at another", key=True)
        if target not in ids and target not in short:
            step = f"use a cell id or one of: {shown(', '.join(short), LONGEST_LIST)}"
            raise document.error(("aliases", alias), f"there is no cell {quoted(target)} to point at", step)
        cell = ids.get(target) or short[target]
        if untruth := claims.untrue(alias, cell):
            step = f"choose a name that is true of {cell.id}, or another cell"
            raise document.error(("aliases", alias), f"the tag {alias} would mislead: {untruth}", step, key=True)
        found[alias] = cell
    return found


def _groups(
    cells: "tuple[Cell, ...]", aliases: "dict[str, Cell]", given: "dict[str, list[str]]", document: Document
) -> "Iterator[tuple[str, tuple[Cell, ...]]]":
    by_id = {cell.id: cell for cell in cells}
    for group, members in given.items():
        if group == ALL:
            raise document.error(("groups", group), f'"{ALL}" is every cell, and can\'t be another group', key=True)
        chosen: set[str] = set()
        for number, name in enumerate(members):
            found = named(name, by_id, aliases)
            if not found:
                raise document.error(("groups", group, number), f"{quoted(name)} names no cell", build_py("list"))
            chosen |= {cell.id for cell in found}
        yield group, tuple(cell for cell in cells if cell.id in chosen)
