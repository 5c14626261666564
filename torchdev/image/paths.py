"""Paths: a checkout of torchdev, the folder of the matrix file in use, the files of a cell."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

LOCK, DOCKERFILE, CONTRACT = "lock.json", "Dockerfile", "contract.json"
"""Files in a cell's folder."""
BASES, BAKE_FILE = "bases.json", "docker-bake.json"
"""Files beside the folders of cells."""
BY_OTHERS = (LOCK, BASES)
"""Files there that other commands than render write."""


@dataclass(frozen=True)
class Paths:
    """A checkout and a matrix file, which may lie elsewhere; generated files lie beside the matrix file."""

    checkout: Path
    matrix_file: Path

    @cached_property
    def images(self) -> Path:
        """The folder of generated files, locks and base digests; each matrix file has its own.

        It is images/ beside matrix.yaml, images-NAME/ beside NAME.yaml, images-NAME.EXT/ beside any other.
        """
        file = self.matrix_file.resolve()
        name = file.stem if file.suffix == ".yaml" else file.name
        return file.parent / ("images" if file.name == "matrix.yaml" else f"images-{name}")

    @property
    def bases(self) -> Path:
        """The file of base digests: the matrix's own, or else the checkout's."""
        return self.own_bases if self.own_bases.exists() else self.checkout / "images" / BASES

    @property
    def own_bases(self) -> Path:
        """The file to which base digests are written."""
        return self.images / BASES

    def cell(self, cell: str) -> Path:
        """The folder of a cell, named by its id."""
        return self.images / cell

    def lock(self, cell: str) -> Path:
        """A cell's lock."""
        return self.cell(cell) / LOCK

    def dockerfile(self, cell: str) -> Path:
        """A cell's Dockerfile."""
        return self.cell(cell) / DOCKERFILE

    def contract(self, cell: str) -> Path:
        """A cell's contract."""
        return self.cell(cell) / CONTRACT

    @property
    def work(self) -> Path:
        """Logs, reports and remembered results; not committed. Each matrix file has its own folder.

        It is .torchdev/ beside matrix.yaml, .torchdev-NAME/ beside NAME.yaml.
        """
        return _work(self.images)

    @property
    def runs(self) -> Path:
        """The run locks of this matrix, for runs on any engine."""
        return self.work / "runs"

    @property
    def templates(self) -> Path:
        """The folder of templates."""
        return self.checkout / "templates"


def _work(images: Path) -> Path:
    return images.with_name(images.name.replace("images", ".torchdev", 1))


def replaced_folder(images: Path) -> Path:
    """The folder of copies of files that render overwrote although it had not written them."""
    return _work(images) / "replaced"
