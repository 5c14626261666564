"""What run does with an engine's answers: a made-up engine, and no container."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.conftest import ROOT
from torchdev.cli import recipe, run
from torchdev.cli.run import CELL_LABEL
from torchdev.docgen.project import Project, open_project
from torchdev.engine.client import Image
from torchdev.recipes.jobs import RecipeOptions
from torchdev.util.errors import GpuError, InputError


class FakeEngine:
    """An engine with one image, or none, with GPUs or without; it notes what containers were asked for."""

    def __init__(self, image: "Image | None" = None, gpus: bool = True, info: "dict[str, Any] | None" = None) -> None:
        self._image, self._gpus, self._info = image, gpus, info or {}
        self.asked: list[dict[str, Any]] = []

    def image(self, name: str) -> "Image | None":
        """The image, whatever its name; of the cell that this names, unless it says otherwise."""
        labels = {CELL_LABEL: name.rpartition(":")[2]}
        return replace(self._image, labels=self._image.labels or labels) if self._image else None

    def info(self) -> "dict[str, Any]":
        """What it says of itself."""
        return self._info

    @contextmanager
    def container(self, image: str, **options: Any) -> Iterator[None]:
        """Refuse GPUs where there are none."""
        self.asked.append(options)
        if options["gpus"] and not self._gpus:
            raise GpuError("no toolkit", next_step="install it")
        yield


Starter = Callable[..., tuple[list[str], list[str]]]


def an_image(*pushed: str) -> Image:
    """An image with names in registries."""
    return Image(id="sha256:0", size=1, layers=(), labels={}, pushed=pushed)


@pytest.fixture
def project() -> Project:
    """The checkout."""
    return open_project(ROOT, ROOT / "matrix.yaml")


@pytest.fixture
def start(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Starter:
    """Run a cell with an engine: the words of the docker command, and what was said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/docker")

    def words_of(engine: FakeEngine, cell: str = "latest", gpu: str = "auto") -> "tuple[list[str], list[str]]":
        words: list[str] = []
        said: list[str] = []
        monkeypatch.setattr(run, "Engine", lambda: engine)
        monkeypatch.setattr(os, "execv", lambda path, command: words.extend(command))
        run.become(project, project.matrix.select([cell])[0], ["python", "x.py"], gpu, 4, said.append)
        return words, said

    return words_of


def test_container_gets_what_there_is(start: Starter, tmp_path: Path) -> None:
    """GPUs by toolkit or CDI, the current folder, the command; one container is tried before."""
    engine = FakeEngine(an_image())
    words, said = start(engine)
    assert words[:2] == ["docker", "run"]
    assert words[-3:] == ["torchdev:py313-cu132-torch2.15.0", "python", "x.py"]
    assert f"type=bind,source={tmp_path},target=/workspace" in words
    assert "--gpus" in words
    assert "memlock=-1" in words
    assert [options["gpus"] for options in engine.asked] == [True]
    assert not [line for line in said if "GPU" in line]
    listed = {"DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]}
    assert "nvidia.com/gpu=all" in start(FakeEngine(an_image(), info=listed))[0]


def test_missing_gpu_is_said_or_a_failure(start: Starter) -> None:
    """Why there is none, and what to do; with `require` nothing is started."""
    words, said = start(FakeEngine(an_image(), gpus=False))
    assert "--gpus" not in words
    assert any("without a GPU: no toolkit" in line and "install it" in line for line in said)
    with pytest.raises(GpuError, match="no toolkit"):
        start(FakeEngine(an_image(), gpus=False), gpu="require")


@pytest.mark.parametrize(("cell", "gpu"), [("latest", "none"), ("py311-cpu", "auto")])
def test_gpu_that_is_not_wanted_is_not_asked_for(start: Starter, cell: str, gpu: str) -> None:
    """Nor is anything said of it."""
    engine = FakeEngine(an_image(), gpus=False)
    words, said = start(engine, cell, gpu)
    assert "--gpus" not in words
    assert not [line for line in said if "GPU" in line]
    assert not any(options["gpus"] for options in engine.asked)


@pytest.mark.parametrize("labels", [{"a": "b"}, {CELL_LABEL: "py311-cpu-torch2.13.0"}, {CELL_LABEL: "\x1b[31m"}])
def test_another_image_by_the_name_of_the_cells_is_not_started(
    start: Starter, labels: "dict[str, str]", monkeypatch: pytest.MonkeyPatch, project: Project, tmp_path: Path
) -> None:
    """As after `docker tag`: neither run nor named in a recipe."""
    other = FakeEngine(replace(an_image("ghcr.io/other/x@sha256:" + "0" * 64), labels=labels))
    with pytest.raises(InputError, match=r"torchdev:py313-cu132-torch2\.15\.0 is ") as caught:
        start(other)
    assert "\x1b" not in str(caught.value)
    assert caught.value.next_step == "python build.py py313-cu132-torch2.15.0"
    monkeypatch.setattr(recipe, "Engine", lambda: other)
    with pytest.raises(InputError, match="something gave that name to sha256:0"):
        recipe.write_recipe(
            project, project.matrix.aliases["latest"], RecipeOptions(kind="docker"), "", tmp_path / "new", print
        )
    assert not (tmp_path / "new").exists()


def test_a_cells_image_has_its_name(project: Project) -> None:
    """In the label that is looked at."""
    (plan,) = project.plans((project.matrix.aliases["latest"],))
    assert plan.labels[CELL_LABEL] == plan.cell.id


def test_image_that_is_not_there_is_an_error(start: Starter) -> None:
    """With the command that builds it."""
    with pytest.raises(InputError, match="has no image") as caught:
        start(FakeEngine())
    assert caught.value.next_step == "python build.py py313-cu132-torch2.15.0"


def test_cache_that_can_not_be_made_is_done_without(start: Starter, tmp_path: Path) -> None:
    """And said."""
    (tmp_path / "cache").write_text("not a folder")
    words, said = start(FakeEngine(an_image()))
    assert not [word for word in words if "/cache" in word]
    assert any("caches end with the container" in line for line in said)
