"""A checkout and its matrix: a matrix elsewhere is rendered from the same templates, for tests too."""

import shutil
from pathlib import Path

from tests.unit.conftest import ROOT
from torchdev.cli.check import CPU_MATRIX, quick
from torchdev.cli.render import render_images
from torchdev.docgen.project import open_project
from torchdev.image.context import COMMON


def quiet(_: str) -> None:
    """Say nothing."""


def shared(images: Path) -> "dict[str, bytes]":
    """What every cell's build mounts, by its path below common/."""
    files = [path for name in ("scripts", "steps", "files") for path in (images / COMMON / name).rglob("*")]
    found = {path.relative_to(images).as_posix(): path.read_bytes() for path in files if path.is_file()}
    assert found
    return found


def test_a_matrix_elsewhere_has_the_shared_files_that_are_committed(tmp_path: Path) -> None:
    """Rendered from a lock alone, the tests' own matrix takes the scripts, steps and files of images/common."""
    tests, images = ROOT / CPU_MATRIX, tmp_path / "images"
    shutil.copy(tests, tmp_path / "matrix.yaml")
    for lock in tests.parent.glob("images/*/lock.json"):
        (images / lock.parent.name).mkdir(parents=True)
        shutil.copy(lock, images / lock.parent.name)
    project = open_project(ROOT, tmp_path / "matrix.yaml")
    render_images(project, check=False, say=quiet)
    assert shared(images) == shared(ROOT / "images")
    render_images(project, check=True, say=quiet)


def test_check_renders_what_is_not_committed() -> None:
    """Else a fresh clone could neither build the tests' own cell nor say that its lock is stale."""
    commands = [task.command for task in quick(ROOT)]
    assert [command[1:] for command in commands if CPU_MATRIX in command] == [
        ["build.py", "render", "--matrix-file", CPU_MATRIX]
    ]
