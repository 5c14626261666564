"""A checkout and its matrix: the plans of cells, and all generated files."""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from torchdev.catalog import bases, ids
from torchdev.docgen import pages
from torchdev.image import render
from torchdev.image.paths import Paths, replaced_folder
from torchdev.image.plan import Plan, make_plan
from torchdev.matrix.load import Cell, Matrix, load
from torchdev.matrix.schema import SCHEMA_FILE, json_schema
from torchdev.recipes import files as recipes
from torchdev.util.commands import build_py
from torchdev.util.errors import InputError
from torchdev.util.texts import few
from torchdev.util.trees import File, Files, Tree
from torchdev.wheels import lock, lockfile

EXAMPLES = "examples/recipes"
"""The folder of committed recipes; files that running them leaves there are not committed."""
JOB_FILES = ("examples/train/train.py", "workloads/digits.csv.gz")
"""The files of the training job that recipes start by default."""


LONGEST_COMMAND = 10
"""A next command names at most so many cells; with more, nobody could read it."""


@dataclass(frozen=True)
class Project:
    """A matrix, its checkout, and the paths of everything generated from it."""

    paths: Paths
    matrix: Matrix

    @property
    def images(self) -> Path:
        """Where generated files and locks are."""
        return self.paths.images

    def rendered(self) -> Files:
        """Every generated file below images/; cells without lock have none."""
        plans = self._plans(self.by_lock(self.matrix.cells)[0])
        return render.render(plans, self.paths.templates, self.images.name)

    def image_tree(self) -> Tree:
        """The tree of images/; files of cells without lock are left as they are."""
        unlocked = {cell.id for cell in self.by_lock(self.matrix.cells)[1]}
        return render.tree(self.rendered(), self.images, lambda name: name.partition("/")[0] not in unlocked)

    def trees(self) -> "tuple[Tree, ...]":
        """The trees of all generated files, one for each folder that holds some."""
        kept, made = replaced_folder(self.images), {n: File(t.encode()) for n, t in self.pages().items()}
        pages = Tree(root=self.paths.checkout, files=made, listed=False, kept=kept)
        examples = self.examples()
        recipes = (
            [Tree(root=self.paths.checkout / EXAMPLES, files=examples, label=EXAMPLES, kept=kept)] if examples else []
        )
        return self.image_tree(), pages, *recipes

    def pages(self) -> dict[str, str]:
        """The generated texts outside images/, by path. Only the checkout's own matrix has pages that describe it."""
        schema = {SCHEMA_FILE: json_schema()}
        if not self._own:
            return schema
        locked = self.by_lock(self.matrix.cells)[0]
        locks = {c: self.lock(c) if c in locked else None for c in self.matrix.cells}
        return schema | pages.pages(self.paths.checkout, locks)

    def examples(self) -> Files:
        """The committed recipes, by path, for the cell of the alias `latest`, or else the first of the group default.

        Empty while this cell has no lock, so that the committed recipes stay.
        """
        matrix = self.matrix
        usual = matrix.aliases.get("latest") or matrix.groups["default"][0]
        if not self._own or not self.by_lock((usual,))[0]:
            return {}
        aliases = {tag: cell for tag, cell in matrix.aliases.items() if cell.arch == usual.arch}
        tags = sorted(aliases, key=lambda tag: (aliases[tag] != usual, tag))
        return recipes.examples(self.plans((usual,))[0], tags, self.job_files(), self.paths.templates)

    def job_files(self) -> "dict[str, bytes]":
        """The files of the training job, by name."""
        return {Path(name).name: (self.paths.checkout / name).read_bytes() for name in JOB_FILES}

    @property
    def _own(self) -> bool:
        """Whether the matrix is the checkout's own."""
        return self.paths.matrix_file.resolve() == self.paths.checkout / "matrix.yaml"

    def by_lock(self, cells: "tuple[Cell, ...]") -> "tuple[tuple[Cell, ...], tuple[Cell, ...]]":
        """The cells that have a lock, and those that have none."""
        there = {cell for cell in cells if lockfile.there(self.paths.lock(cell.id))}
        return tuple(c for c in cells if c in there), tuple(c for c in cells if c not in there)

    @cached_property
    def _sources(self) -> render.Sources:
        """The templates as they were when this run first planned."""
        return render.Sources(self.paths.templates)

    def require_locks(self, cells: "tuple[Cell, ...]") -> None:
        """Raise InputError if none of the cells has a lock."""
        locked, unlocked = self.by_lock(cells)
        if not locked:
            raise without_lock(unlocked)

    def abandoned(self) -> "list[str]":
        """A line for each folder of a cell that is no longer in the matrix: torchdev never removes locks."""
        own = {cell.id for cell in self.matrix.cells}
        names = sorted(path.name for path in self.images.iterdir() if path.is_dir()) if self.images.is_dir() else []
        gone = [name for name in names if ids.query(name) and name not in own]
        stays = "the matrix has no such cell; its files stay until you remove them, for instance with git rm -r"
        return [f"{self.images.name}/{name}: {stays}" for name in gone]

    def bases(self, cells: "tuple[Cell, ...]") -> "list[bases.Base]":
        """The base images of some cells, each once; locks do not matter for them."""
        digests = bases.read_digests(self.paths.bases)
        return list(dict.fromkeys(base for cell in cells for base in bases.bases_of(cell.python, digests)))

    def lock(self, cell: Cell) -> lock.Lock:
        """A cell's lock."""
        path = self.paths.lock(cell.id)
        return _read(path, path.stat().st_mtime_ns if path.is_file() else 0, cell)

    def plans(self, cells: "tuple[Cell, ...]") -> tuple[Plan, ...]:
        """A plan for each cell, with the hashes of its layers' steps; a missing or stale lock is an InputError."""
        return tuple(render.with_steps(plan, self._sources) for plan in self._plans(cells))

    def _plans(self, cells: "tuple[Cell, ...]") -> tuple[Plan, ...]:
        if unlocked := self.by_lock(cells)[1]:
            raise without_lock(unlocked)
        digests = bases.read_digests(self.paths.bases)
        locks = {cell: self.lock(cell) for cell in cells}
        image = self.matrix.image
        made = (
            make_plan(image, cell, locks[cell], bases.bases_of(cell.python, digests), self.matrix.aliases_of(cell))
            for cell in cells
        )
        return tuple(made)


@cache
def _read(path: Path, stamp: int, cell: Cell) -> lock.Lock:
    """A lock at a modification time; it is read once, however often a run plans."""
    return lockfile.read_lock(path, cell)


def without_lock(cells: "tuple[Cell, ...]") -> InputError:
    """Cells that have no lock, as an error that names them."""
    names = [cell.id for cell in cells]
    what = f"{names[0]} has no lock yet" if len(names) == 1 else f"{len(names)} cells have no lock yet:\n{few(names)}"
    return InputError(what, next_step=build_py("lock", *names) if len(names) < LONGEST_COMMAND else build_py("lock"))


def open_project(root: Path, matrix_file: Path) -> Project:
    """Read the matrix of a checkout."""
    return Project(Paths(root, matrix_file), load(matrix_file))
