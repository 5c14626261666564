"""Where things are on this disk: a checkout of torchdev, the folder of the matrix file in use, a cell's files."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

LOCK, DOCKERFILE, CONTRACT = "lock.json", "Dockerfile", "contract.json"
"""Files in a cell's folder."""
BASES, BAKE_FILE = "bases.json", "docker-bake.json"
"""Files beside the folders of cells."""
BY_OTHERS = (LOCK, BASES)
"""What other commands than render write there."""


@dataclass(frozen=True)
class Paths:
    """A checkout, and a matrix file, which may stand elsewhere: what is generated from it stands beside it."""

    checkout: Path
    matrix_file: Path

    @cached_property
    def images(self) -> Path:
        """Generated files, locks and base digests: a folder for each matrix file, and no two have the same.

        It is images/ beside matrix.yaml, images-NAME/ beside NAME.yaml, images-NAME.EXT/ beside any other.
        """
        file = self.matrix_file.resolve()
        name = file.stem if file.suffix == ".yaml" else file.name
        return file.parent / ("images" if file.name == "matrix.yaml" else f"images-{name}")

    @property
    def bases(self) -> Path:
        """The digests of the base images: the matrix's own, else those of the checkout."""
        return self.own_bases if self.own_bases.exists() else self.checkout / "images" / BASES

    @property
    def own_bases(self) -> Path:
        """Where digests of base images are written."""
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
        """What a cell's image must be."""
        return self.cell(cell) / CONTRACT

    @property
    def work(self) -> Path:
        """Logs, reports and what was found out before; not committed. A matrix has its own, as it has its own images:
        .torchdev/ beside matrix.yaml, .torchdev-NAME/ beside NAME.yaml.
        """
        return _work(self.images)

    @property
    def runs(self) -> Path:
        """Where runs of this matrix meet, whatever engine each of them builds on."""
        return self.work / "runs"

    @property
    def templates(self) -> Path:
        """What files are rendered from."""
        return self.checkout / "templates"


def _work(images: Path) -> Path:
    return images.with_name(images.name.replace("images", ".torchdev", 1))


def replaced_folder(images: Path) -> Path:
    """Copies of what rendering a matrix has written over and did not write: in its working folder."""
    return _work(images) / "replaced"
