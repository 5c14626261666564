"""The Compose recipe, started by `docker compose`: one container, and two that train together over gloo."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine.pods import outcome
from tests.unit.conftest import ROOT
from torchdev.image.plan import Plan


class Project:
    """A folder with the recipe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        owner = folder.stat()
        self._environment = {**os.environ, "TORCHDEV_USER": f"{owner.st_uid}:{owner.st_gid}"}

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """A verb of `docker compose`."""
        command = ["docker", "compose", *words]
        return subprocess.run(command, cwd=self.folder, env=self._environment, capture_output=True, text=True)

    def up(self) -> "tuple[dict[str, int], str]":
        """Start all and wait for their end: exit status of each service, and what was said."""
        done = self.run("up", "--no-color")
        listing = self.run("ps", "--all", "--format", "json").stdout
        found = [json.loads(line) for line in listing.splitlines()]
        return {service["Service"]: int(service["ExitCode"]) for service in found}, done.stdout + done.stderr


@pytest.fixture
def recipe(small: Plan, tmp_path: Path) -> "Iterator[Callable[[int], Project]]":
    """Write the recipe for some nodes, as a user who is not root; what it starts is removed."""
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    made = []

    def write(nodes: int) -> Project:
        folder = tmp_path / f"{tmp_path.name[-30:].lower()}-{nodes}"
        command = [sys.executable, "build.py", "recipe", small.cell.id, "--matrix-file", "tests/cpu/matrix.yaml"]
        command += ["--for", "compose", "--nodes", str(nodes), "--out", str(folder)]
        command += ["--name", f"train-{uuid.uuid4().hex[:8]}"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        if os.getuid() == 0:
            os.chown(folder, 1234, 2345)
        made.append(Project(folder))
        return made[-1]

    yield write
    for project in made:
        project.run("down", "--timeout", "1")


@pytest.mark.full
def test_two_containers_learn_as_one(recipe: "Callable[[int], Project]") -> None:
    """The same accuracy within 2 percentage points, above 85%; what they write belongs to the folder's owner."""
    said, statuses = {}, {}
    for nodes in (1, 2):
        project = recipe(nodes)
        statuses[nodes], output = project.up()
        assert set(statuses[nodes].values()) == {0}, output
        said[nodes] = outcome(output)
        written = [path for path in (project.folder / "run").rglob("*") if path.is_file()]
        assert "model.pt" in {path.name for path in written}
        assert {path.stat().st_uid for path in written} == {project.folder.stat().st_uid}
    assert [len(found) for found in statuses.values()] == [1, 2]
    assert (said[1]["world"], said[2]["world"], said[2]["step"]) == (1, 2, said[1]["step"])
    assert said[2]["accuracy"] == pytest.approx(said[1]["accuracy"], abs=0.02)
    assert min(said[1]["accuracy"], said[2]["accuracy"]) > 0.85


def test_a_command_that_fails_shows(recipe: "Callable[[int], Project]") -> None:
    """A GPU that is not there is refused by the job, and Compose passes its status on."""
    project = recipe(1)
    file = project.folder / "compose.yaml"
    text = file.read_text()
    file.write_text(text.replace('"--device"\n      - "cpu"', '"--device"\n      - "cuda"'))
    assert file.read_text() != text
    statuses, output = project.up()
    assert list(statuses.values()) == [2], output
