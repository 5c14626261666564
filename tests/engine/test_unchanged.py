"""Nothing has changed in fifty cells: told as such, and no build is started."""

import dataclasses
import json
import shutil
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.unit.conftest import ROOT, distinct, make_package
from torchdev.catalog import releases
from torchdev.catalog.bases import Base
from torchdev.docgen.project import Project
from torchdev.engine.client import Engine
from torchdev.image.paths import Paths
from torchdev.matrix.cells import Cell
from torchdev.matrix.load import load
from torchdev.pipeline import memory
from torchdev.pipeline.estimate import chain
from torchdev.pipeline.inventory import INPUTS_LABEL, LAYERS_LABEL, Inputs, substitutes_for
from torchdev.pipeline.verify import Outcome, Verdict
from torchdev.util import trees
from torchdev.wheels import lock

CELLS = 50
RUNS = 2
"""The second finds what the first has left."""


def smallest(cell: Cell, other: lock.Lock) -> lock.Lock:
    """A lock with nothing but what every cell asks for, on wheels that nobody fetches."""
    tag = f"cp{cell.python.replace('.', '')}"
    torch = make_package("torch", f"{cell.torch}+{cell.flavour}", f"{tag}-{tag}-manylinux_2_28_x86_64")
    wheels = (make_package("setuptools", "80.0", "py3-none-any"), dataclasses.replace(torch, origin=lock.PYTORCH))
    made = dataclasses.replace(other, cell=cell.id, python=cell.python, inputs=lock.inputs_digest(cell))
    return dataclasses.replace(made, packages=tuple(map(distinct, wheels)))


@pytest.fixture
def fifty(engine: Engine, project: Project, made: "tuple[Base, ...]", tmp_path: Path) -> Iterator[Project]:
    """A matrix of fifty cells that look as if built and checked: tiny images with the labels of what made them."""
    plan = project.plans(project.matrix.cells[:1])[0]
    image = f"torchdev-test-{uuid.uuid4().hex[:8]}"
    found = [c for c in releases.all_combinations() if c.python == plan.cell.python and c.arch == "amd64" and c.cuda]
    rows = [{"python": c.python, "cuda": c.flavour, "torch": c.torch} for c in found[-CELLS:]]
    path = tmp_path / "matrix.yaml"
    path.write_text(yaml.safe_dump({"image": image, "companions": [], "rows": rows}))
    many = Project(Paths(ROOT, path), load(path))
    many.images.mkdir()
    shutil.copy(project.paths.bases, many.images / "bases.json")
    for cell in many.matrix.cells:
        own = smallest(cell, plan.lock)
        (many.images / cell.id).mkdir()
        (many.images / cell.id / "lock.json").write_text(lock.to_text(own))
    trees.update(many.image_tree())
    plans = many.plans(many.matrix.cells)
    code, inputs = memory.code(ROOT), Inputs(many.paths)
    empty = tmp_path / "empty.tar"
    with tarfile.open(empty, "w"):
        pass
    try:
        for one in plans:
            wanted = inputs.of(one, substitutes_for(engine, one, made))
            labels = {INPUTS_LABEL: wanted, LAYERS_LABEL: " ".join(chain(one))}
            engine.load_root(empty, one.tags[0], {**labels, "io.torchdev.lock": one.lock.digest, "cell": one.cell.id})
            there = engine.image(one.tags[0])
            assert there
            for tag in one.tags[1:]:
                engine.tag(there.id, tag)
            passed = (Verdict(cell=one.cell.id, check="a check", outcome=Outcome.PASS, why="", seconds=0.0),)
            memory.remember(memory.file(many.paths, one, there.id, "auto", code), passed)
        yield many
    finally:
        for tag in (tag for one in plans for tag in one.tags):
            engine.untag(tag)


@pytest.mark.full
def test_nothing_changed_is_told(fifty: Project) -> None:
    """Every cell is skipped, by build.py as users call it, no build is started, and none would take any room.

    How long that takes, `python -m bench` measures.
    """
    assert len(fifty.matrix.cells) == CELLS
    of_all = ["--matrix-file", str(fifty.paths.matrix_file), "--group", "all", "--json"]
    work = fifty.paths.work
    for _ in range(RUNS):
        done = build_py("build", *of_all)
        assert [cell["state"] for cell in json.loads(done)["cells"]] == ["skipped"] * CELLS
        assert {log.name for log in work.rglob("*.log")} <= {"platforms.log"}
    assert json.loads(build_py("plan", *of_all))["needed"] == 0


def build_py(*words: str) -> str:
    """What build.py says on standard output; it must end well."""
    done = subprocess.run([sys.executable, "build.py", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
