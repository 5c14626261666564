"""A checkout and its matrix: plans, and every generated file as it should be."""

from dataclasses import dataclass
from pathlib import Path

from torchdev import bases, lock, pages, render
from torchdev.matrix import Cell, Matrix, load
from torchdev.places import Places
from torchdev.plan import Plan, make_plan
from torchdev.schema import SCHEMA_FILE, json_schema


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
        if self.places.matrix_file.resolve() != self.places.checkout / "matrix.yaml":
            return schema
        locked = self.by_lock(self.matrix.cells)[0]
        locks = {
            c: lock.read_lock(self.images / c.id / "lock.json", c) if c in locked else None for c in self.matrix.cells
        }
        return schema | pages.pages(self.places.checkout, self.matrix, locks)

    def by_lock(self, cells: "tuple[Cell, ...]") -> "tuple[tuple[Cell, ...], tuple[Cell, ...]]":
        """The cells that have a lock, and those that have none."""
        there = {cell for cell in cells if (self.images / cell.id / "lock.json").exists()}
        return tuple(c for c in cells if c in there), tuple(c for c in cells if c not in there)

    def plans(self, cells: "tuple[Cell, ...]") -> tuple[Plan, ...]:
        """A plan for each cell; a missing or stale lock is an InputError."""
        digests = bases.read_digests(self.places.bases)
        return tuple(
            make_plan(
                self.matrix.image,
                cell,
                lock.read_lock(self.images / cell.id / "lock.json", cell),
                bases.bases_of(cell.python, digests),
                self.matrix.aliases_of(cell),
            )
            for cell in cells
        )


def open_project(root: Path, matrix_file: Path) -> Project:
    """Read the matrix of a checkout."""
    return Project(Places(root, matrix_file), load(matrix_file))
