"""What recipe does with an engine's answers: a made-up engine, and no container."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.cli.test_run import FakeEngine, an_image
from tests.unit.conftest import ROOT
from torchdev.cli import recipe
from torchdev.docgen.project import Project, open_project
from torchdev.recipes.jobs import RecipeOptions
from torchdev.util.errors import EngineError, InputError

PUSHED = ("ghcr.io/me/torchdev@sha256:" + "ab" * 32, "other.example/torchdev@sha256:" + "cd" * 32)


@pytest.fixture
def project() -> Project:
    """The checkout."""
    return open_project(ROOT, ROOT / "matrix.yaml")


def no_engine() -> FakeEngine:
    """What Engine() does where none answers."""
    raise EngineError("no Docker Engine answers: its socket does not exist")


@pytest.mark.parametrize(
    ("engine", "image", "said"),
    [
        (lambda: FakeEngine(an_image(*PUSHED[:1])), PUSHED[0], ""),
        (lambda: FakeEngine(an_image(*PUSHED)), PUSHED[0], PUSHED[1]),
        (lambda: FakeEngine(an_image()), "torchdev:py313-cu132-torch2.15.0", "was not pushed"),
        (lambda: FakeEngine(), "torchdev:py313-cu132-torch2.15.0", "does not have it"),
        (no_engine, "torchdev:py313-cu132-torch2.15.0", "no Docker Engine answers"),
    ],
)
def test_recipe_names_the_image_by_digest_where_it_is_known(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Any, image: str, said: str
) -> None:
    """Else by tag, and says why."""
    lines: list[str] = []
    monkeypatch.setattr(recipe, "Engine", engine)
    cell, folder = project.matrix.aliases["latest"], tmp_path / "new"
    recipe.write_recipe(project, cell, RecipeOptions(kind="kubernetes"), "", folder, lines.append)
    job = yaml.safe_load((folder / "job.yaml").read_text())
    assert job["spec"]["template"]["spec"]["containers"][0]["image"] == image
    assert said in "\n".join(lines)
    assert any("a cluster does not have" in line for line in lines) == ("/" not in image)


def test_named_image_is_taken_unasked(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No engine is needed for it."""
    monkeypatch.setattr(recipe, "Engine", no_engine)
    cell, folder = project.matrix.aliases["latest"], tmp_path / "new"
    recipe.write_recipe(
        project, cell, RecipeOptions(kind="docker"), "ghcr.io/me/torchdev:mine", folder, lambda line: None
    )
    assert "ghcr.io/me/torchdev:mine" in (folder / "run.sh").read_text()


def test_a_file_without_an_end_is_refused(tmp_path: Path) -> None:
    """Reading /dev/zero would take all memory, and reading a pipe all time."""
    os.mkfifo(tmp_path / "pipe")
    for path, why in ((Path("/dev/zero"), "not a file"), (tmp_path / "pipe", "not a file"), (tmp_path, "not a file"),
                      (tmp_path / "none", "no such file")):  # fmt: skip
        with pytest.raises(InputError, match=f"{path}: .*{why}"):
            recipe.recipe_options("docker", [path], {})


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    """Only one of them could be beside the command."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.py").write_text("")
    with pytest.raises(InputError, match=r"two files have the name x\.py"):
        recipe.recipe_options("kubernetes", [tmp_path / "a" / "x.py", tmp_path / "b" / "x.py"], {})
