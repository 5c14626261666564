"""Cells without a lock are named by whatever needs one, and no cell vanishes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.conftest import ROOT
from torchdev.cli import bake, build, main, plan, render
from torchdev.docgen.project import Project, open_project
from torchdev.image import dockerfile
from torchdev.image.paths import Paths
from torchdev.pipeline.session import Options
from torchdev.util import commands, faults
from torchdev.util.errors import Exit, InputError
from torchdev.util.listed import LIST

CELL, OTHER = "py311-cpu-torch2.13.0", "py312-cpu-torch2.13.0"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A matrix of one locked cell, as it is rendered."""
    for name in ("matrix.yaml", f"images/{CELL}/lock.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "tests" / "cpu" / name, tmp_path / name)
    render.render_images(open_project(ROOT, tmp_path / "matrix.yaml"), check=False, say=lambda _: None)
    return tmp_path


@pytest.fixture
def project(folder: Path) -> Project:
    """Its project."""
    return open_project(ROOT, folder / "matrix.yaml")


def with_another(folder: Path, more: str = "") -> Project:
    """The project with one more cell, which has no lock."""
    path = folder / "matrix.yaml"
    path.write_text(path.read_text() + f'  - {{python: "3.12", cuda: cpu, torch: "2.13.0"{more}}}\n')
    return open_project(ROOT, path)


def files(folder: Path) -> dict[str, bytes]:
    """All that is below images/."""
    return {str(path): path.read_bytes() for path in (folder / "images").rglob("*") if path.is_file()}


def quiet(_: str) -> None:
    """Say nothing."""


NEEDS: "dict[str, Callable[[Project], object]]" = {
    "render": lambda project: render.render_images(project, check=False, say=quiet),
    "render --check": lambda project: render.render_images(project, check=True, say=quiet),
    "plan": lambda project: plan.look_ahead(project, project.matrix.cells, None),
    "plan of some": lambda project: render.name_unlocked(project, project.matrix.cells, quiet),
    "bake": lambda project: bake.bake(project, project.matrix.cells, Options(), [], quiet),
    "test and run": lambda project: project.plans(project.matrix.cells),
}


@pytest.mark.parametrize("need", NEEDS.values(), ids=NEEDS)
@pytest.mark.parametrize("rendered", [True, False], ids=["rendered before", "never rendered"])
def test_only_cell_without_lock_is_named(folder: Path, need: Callable[[Project], object], rendered: bool) -> None:
    """With the command that locks it; its files, and those of others, stay."""
    if rendered:
        (folder / "images" / CELL / "lock.json").unlink()
    else:
        shutil.rmtree(folder / "images")
    before = files(folder)
    with pytest.raises(InputError, match="no lock yet") as caught:
        need(open_project(ROOT, folder / "matrix.yaml"))
    assert CELL in str(caught.value)
    assert caught.value.next_step.startswith("python build.py lock ")
    assert caught.value.code is Exit.INPUT
    assert files(folder) == before


@pytest.mark.parametrize("need", ["render", "render --check", "plan of some", "bake", "test and run"])
def test_one_of_several_without_lock_is_named(folder: Path, need: str) -> None:
    """Once all that can be done is done."""
    project = with_another(folder)
    if need == "render --check":
        with pytest.raises(InputError, match="no lock yet"):
            NEEDS["render"](project)
    with pytest.raises(InputError, match=f"{OTHER} has no lock yet"):
        NEEDS[need](project)


def test_a_lock_that_is_gone_takes_no_file_with_it(folder: Path) -> None:
    """Neither the cell's files, nor their place in the list."""
    project = with_another(folder)
    own = folder / "images" / OTHER
    lock = (folder / "images" / CELL / "lock.json").read_text().replace(CELL, OTHER)
    (own / "files").mkdir(parents=True)
    (own / "files" / "uv").write_text("as it was")
    listed = folder / "images" / LIST
    listed.write_text(listed.read_text() + f"{'ab' * 32}  {OTHER}/files/uv\n")
    assert lock
    with pytest.raises(InputError, match="no lock yet"):
        NEEDS["render"](project)
    assert (own / "files" / "uv").read_text() == "as it was"
    assert f"{OTHER}/files/uv" in listed.read_text()


def test_many_cells_without_lock_are_one_message(folder: Path) -> None:
    """The command names them while that can be read."""
    path = folder / "many.yaml"
    rows = (
        '  - {cuda: cpu, torch: "2.13.0", python: ["3.10", "3.11", "3.12"]}\n  - {cuda: cpu, torch: "2.9.1", python: '
    )
    path.write_text("image: t\ncompanions: []\nrows:\n" + rows + '["3.10", "3.11", "3.12", "3.13", "3.14"]}\n')
    with pytest.raises(InputError, match="8 cells have no lock yet") as caught:
        NEEDS["plan"](open_project(ROOT, path))
    assert caught.value.next_step.count("torch") == 8


def test_unlocked_on_purpose_is_told_and_no_error(folder: Path) -> None:
    """Where the matrix says why; the cell itself can still not be planned."""
    project = with_another(folder, ", unlocked: its index is away")
    said: list[str] = []
    render.render_images(project, check=False, say=said.append)
    render.render_images(project, check=True, say=said.append)
    assert sum("its index is away" in line for line in said) == 2
    with pytest.raises(InputError, match="no lock yet"):
        project.plans(project.matrix.cells)


def test_build_of_nothing_but_unlocked_cells_fails_them(folder: Path) -> None:
    """Each in its line of the results, before anything is compared or asked."""
    shutil.rmtree(folder / "images")
    project = open_project(ROOT, folder / "matrix.yaml")
    results = build.build_cells(project, project.matrix.cells, Options(), quiet).results
    assert [(result.cell, result.code) for result in results] == [(CELL, Exit.INPUT)]
    assert "lock" in results[0].error


def test_command_line_tells_it(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By exit code 2 and one message."""
    for fact in ("program", "matrix_file", "entered"):
        monkeypatch.setattr(commands.STARTED, fact, getattr(commands.STARTED, fact))
    (folder / "images" / CELL / "lock.json").unlink()
    for words in (["plan"], ["plan", "--json"], ["render"], ["render", "--check"], [CELL]):
        command = [] if words == [CELL] else words[:1]
        typed = [*command, "--matrix-file", str(folder / "matrix.yaml"), *words[len(command) :]]
        assert faults.ended(lambda typed=typed: main.main(ROOT, typed), ROOT, lambda: main.logs(ROOT)) == 2  # type: ignore[misc]
        told = capsys.readouterr()
        assert "no lock yet" in told.err + told.out
        assert "Traceback" not in told.err


def test_bases_need_no_lock(project: Project) -> None:
    """So bootstrap leaves no cell out."""
    names = {base.name for base in project.bases(project.matrix.cells)}
    (project.images / CELL / "lock.json").unlink()
    assert {base.name for base in project.bases(project.matrix.cells)} == names
    assert "python:3.11-slim-bookworm" in names


NAMES = {
    "matrix.yaml": "images",
    "cpu.yaml": "images-cpu",
    "matrix.yml": "images-matrix.yml",
    "cpu.yml": "images-cpu.yml",
    "matrix": "images-matrix",
    "Matrix.yaml": "images-Matrix",
    "matrix.yaml.yaml": "images-matrix.yaml",
}


def test_each_matrix_has_a_folder_of_its_own(tmp_path: Path) -> None:
    """Two of them in one folder never share what one of them would remove."""
    found = {name: Paths(ROOT, tmp_path / name).images.name for name in NAMES}
    assert found == NAMES
    (tmp_path / "cpu.yaml").write_text("")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "matrix.yaml").symlink_to(tmp_path / "cpu.yaml")
    assert Paths(ROOT, tmp_path / "sub" / "matrix.yaml").images == tmp_path / "images-cpu"


def test_a_second_matrix_takes_nothing_from_the_first(folder: Path) -> None:
    """matrix.yml beside matrix.yaml; each has its own common/, and a bake file that names its own folder."""
    (folder / "matrix.yml").write_text((folder / "matrix.yaml").read_text())
    before = files(folder)
    shutil.copytree(folder / "images" / CELL, folder / "images-matrix.yml" / CELL)
    render.render_images(open_project(ROOT, folder / "matrix.yml"), check=False, say=quiet)
    assert files(folder) == before
    own = folder / "images-matrix.yml"
    (target,) = json.loads((own / "docker-bake.json").read_text())["target"].values()
    assert (target["context"], target["dockerfile"]) == (own.name, f"{CELL}/Dockerfile")
    text = (folder / target["context"] / target["dockerfile"]).read_text()
    assert [path for path in dockerfile.taken(text) if not (own / path).exists()] == []
    assert "common/steps" in dockerfile.taken(text)


def test_folder_of_a_cell_that_is_gone_is_named(folder: Path) -> None:
    """What is left of it is nobody's to remove but the user's; a folder of another name is nothing to speak of."""
    for name in ("py36-cu102-torch1.10.2", "my-derived"):
        (folder / "images" / name).mkdir()
        (folder / "images" / name / "lock.json").write_text("{}")
    said: list[str] = []
    render.render_images(open_project(ROOT, folder / "matrix.yaml"), check=False, say=said.append)
    assert [line.split(":")[0] for line in said if "no such cell" in line] == ["images/py36-cu102-torch1.10.2"]
    assert (folder / "images" / "py36-cu102-torch1.10.2" / "lock.json").exists()
