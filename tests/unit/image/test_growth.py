"""What is done for a matrix grows with its cells, and not with their square: calls of functions are counted."""

import cProfile
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.conftest import ROOT, distinct, make_package
from torchdev.cli import list as listing
from torchdev.docgen.project import Project
from torchdev.image import render
from torchdev.image.paths import Paths
from torchdev.matrix.load import Matrix, load
from torchdev.pipeline import estimate
from torchdev.util import trees
from torchdev.wheels import lock, lockfile

FEW, MANY = 18, 72
"""Cells: four times as many may take four times as many calls, and a little for what grows with n log n."""
MOST = 4.6


def project_of(folder: Path, cells: int) -> Project:
    """A matrix of cells of six Pythons, each with a lock and a short tag of its own."""
    path = folder / "matrix.yaml"
    folder.mkdir()
    flavours = [f"cu{number}" for number in range(120, 120 + cells // 6)]
    pythons = [f'"3.{number}"' for number in range(50, 56)]
    row = f'  - {{python: [{", ".join(pythons)}], cuda: [{", ".join(flavours)}], torch: "9.0.0"}}\n'
    without = "".join(f"  - {{cuda: {flavour}, arch: arm64, reason: x}}\n" for flavour in flavours)
    arm = f'  - {{python: "3.50", cuda: [{", ".join(flavours)}], torch: "9.0.0", arch: arm64}}\n'
    path.write_text(f"image: t\ncompanions: []\nrows:\n{row}{arm}exclude:\n{without}")
    for cell in load(path).cells:
        tag = f"cp{cell.python.replace('.', '')}"
        names = ("numpy", "nvidia-cublas", "setuptools", "torch", "triton")
        versions = {"torch": "9.0.0", "nvidia-cublas": f"{cell.cuda}.1"}
        tags = {"nvidia-cublas": "py3-none-manylinux_2_27_x86_64", "setuptools": "py3-none-any"}
        own = f"{tag}-{tag}-manylinux_2_28_x86_64"
        made = tuple(distinct(make_package(name, versions.get(name, "1.0"), tags.get(name, own))) for name in names)
        uv = distinct(make_package("uv", lock.UV, "py3-none-manylinux_2_17_x86_64"))
        found = lock.Lock(
            cell=cell.id,
            python=cell.python,
            platform=cell.platform,
            inputs=lock.inputs_digest(cell),
            uv=uv,
            packages=made,
        )
        (folder / "images" / cell.id).mkdir(parents=True)
        (folder / "images" / cell.id / "lock.json").write_text(lock.to_text(found))
    return Project(Paths(ROOT, path), load(path))


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Project]:
    """A small one and a large one; what is read once in a process has been read."""
    root = tmp_path_factory.mktemp("growth")
    warm, few, many = (project_of(root / str(number), number) for number in (6, FEW, MANY))
    for work in WORK.values():
        work(warm)
    return few, many


def calls(work: Callable[[Project], object], project: Project) -> int:
    """How many functions some work calls, those of Python's own included."""
    profile = cProfile.Profile()
    profile.runcall(work, project)
    return sum(entry.callcount for entry in profile.getstats())


def again(project: Project) -> Matrix:
    """The matrix as if it had just been loaded: nothing of it is cached."""
    return load(project.paths.matrix_file)


def rendered_and_checked(project: Project) -> None:
    """What is checked was rendered: other tests of this file may run in other processes."""
    trees.write(project.trees())
    trees.check(project.trees())


WORK: "dict[str, Callable[[Project], object]]" = {
    "load": again,
    "list": lambda project: listing.cells_text(project.matrix, project.matrix.cells),
    "list as JSON": lambda project: listing.cells_json(project.matrix, project.matrix.cells),
    "select": lambda project: project.matrix.select([cell.id for cell in project.matrix.cells]),
    "select by tag": lambda project: project.matrix.select([cell.short for cell in project.matrix.cells]),
    "plan": lambda project: [plan.shared for plan in project.plans(project.matrix.cells)],
    "size estimate": lambda project: estimate.estimate_layers(project.plans(project.matrix.cells), ()),
    "render and check": rendered_and_checked,
}


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_four_times_the_cells_take_four_times_the_calls(
    projects: tuple[Project, Project], work: Callable[[Project], object]
) -> None:
    """Not sixteen times."""
    few, many = (calls(work, project) for project in projects)
    assert many < MOST * few


def test_locks_and_templates_are_read_once(projects: tuple[Project, Project], monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a run plans."""
    project = Project(projects[0].paths, projects[0].matrix)
    read: list[Path] = []
    opened: list[Path] = []
    filled: list[str] = []
    make, fill = render.Sources, render.fill
    monkeypatch.setattr(lockfile, "read_lock", lambda path, cell: read.append(path))
    monkeypatch.setattr(render, "Sources", lambda templates: opened.append(templates) or make(templates))
    monkeypatch.setattr(render, "fill", lambda *values: filled.append(values[1]) or fill(*values))
    for _ in range(3):
        project.plans(project.matrix.cells)
    assert len(opened) == 1
    assert filled.count("Dockerfile.j2") == len(project.matrix.cells)
    assert filled.count("scripts/sealed.j2") == 1
    assert read == []


def test_a_changed_lock_is_read_again(projects: tuple[Project, Project]) -> None:
    """Read once does not mean remembered for ever."""
    project = projects[0]
    cell = project.matrix.cells[0]
    path = project.images / cell.id / "lock.json"
    before = project.plans((cell,))[0].lock
    numpy = next(package for package in before.packages if package.name == "numpy")
    newer = tuple(dataclasses.replace(p, size=11) if p is numpy else p for p in before.packages)
    path.write_text(lock.to_text(dataclasses.replace(before, packages=newer)))
    assert project.plans((cell,))[0].lock != before
