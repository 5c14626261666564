"""A checkout and its matrix: plans, and every generated file as it should be."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from torchdev import bases, lock, lockfile, pages, recipes, render, trees
from torchdev.matrix import Cell, Matrix, load
from torchdev.places import Places
from torchdev.plan import Plan, make_plan
from torchdev.schema import SCHEMA_FILE, json_schema
from torchdev.trees import Files

EXAMPLES = "examples/recipes"
"""The folder of committed recipes; what runs of them leave there is not committed."""
JOB_FILES = ("examples/train/train.py", "workloads/digits.csv.gz")
"""The training job that recipes start unless they are told of another."""


@dataclass(frozen=True)
class Project:
    """A matrix, and where it and all that is generated from it stands."""

    places: Places
    matrix: Matrix

    @property
    def images(self) -> Path:
        """Where generated files and locks are."""
        return self.places.images

    def rendered(self) -> render.Files:
        """Every generated file of the checkout, as it should be; of a cell without lock there is none."""
        return render.render(self.plans(self.by_lock(self.matrix.cells)[0]), self.places.templates)

    def pages(self) -> dict[str, str]:
        """The generated texts beside images/, by path; those that speak of the matrix are of the checkout's alone."""
        schema = {SCHEMA_FILE: json_schema()}
        if not self._own:
            return schema
        locked = self.by_lock(self.matrix.cells)[0]
        locks = {c: self._lock(c) if c in locked else None for c in self.matrix.cells}
        return schema | pages.pages(self.places.checkout, self.matrix, locks)

    def others(self) -> Files:
        """Every generated file beside images/, by its path in the checkout."""
        return {name: text.encode() for name, text in self.pages().items()} | self.examples()

    def examples(self) -> Files:
        """The committed recipes, of the cell that `latest` or else the group default names first; by path."""
        matrix = self.matrix
        usual = self.by_lock(tuple(filter(None, (matrix.aliases.get("latest"), *matrix.groups["default"]))))[0]
        if not self._own or not usual:
            return {}
        aliases = {tag: cell for tag, cell in matrix.aliases.items() if cell.arch == usual[0].arch}
        tags = sorted(aliases, key=lambda tag: (aliases[tag] != usual[0], tag))
        made = recipes.examples(self.plans(usual[:1])[0], tags, self.job_files(), self.places.templates)
        return {f"{EXAMPLES}/{name}": data for name, data in made.items()}

    def owned(self) -> "frozenset[str]":
        """The files of the checkout's committed recipes, by path; none where the matrix is another."""
        return trees.committed(self.places.checkout, EXAMPLES) if self._own else frozenset()

    def job_files(self) -> Files:
        """The files of the training job, by name."""
        return {Path(name).name: (self.places.checkout / name).read_bytes() for name in JOB_FILES}

    @property
    def _own(self) -> bool:
        """Whether the matrix is that of the checkout."""
        return self.places.matrix_file.resolve() == self.places.checkout / "matrix.yaml"

    def by_lock(self, cells: "tuple[Cell, ...]") -> "tuple[tuple[Cell, ...], tuple[Cell, ...]]":
        """The cells that have a lock, and those that have none."""
        there = {cell for cell in cells if lockfile.there(self.images / cell.id / "lock.json")}
        return tuple(c for c in cells if c in there), tuple(c for c in cells if c not in there)

    def _lock(self, cell: Cell) -> lock.Lock:
        path = self.images / cell.id / "lock.json"
        return _read(path, path.stat().st_mtime_ns if path.is_file() else 0, cell)

    def plans(self, cells: "tuple[Cell, ...]") -> tuple[Plan, ...]:
        """A plan for each cell; a missing or stale lock is an InputError."""
        digests = bases.read_digests(self.places.bases)
        templates = render.digests(self.places.templates)
        locks = {cell: self._lock(cell) for cell in cells}
        image = self.matrix.image
        made = (
            make_plan(image, cell, locks[cell], bases.bases_of(cell.python, digests), self.matrix.aliases_of(cell))
            for cell in cells
        )
        return tuple(replace(plan, templates=templates) for plan in made)


@cache
def _read(path: Path, stamp: int, cell: Cell) -> lock.Lock:
    """A lock as it was at a time: it is read once, however often a run plans."""
    return lockfile.read_lock(path, cell)


def open_project(root: Path, matrix_file: Path) -> Project:
    """Read the matrix of a checkout."""
    return Project(Places(root, matrix_file), load(matrix_file))
