"""One running container of the image under test, and what its cell's lock says it must be.

    python build.py test CELL [--gpu require]

Expectations come from matrix.yaml and the lock; nothing is read off the image to compare it with itself.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

from torchdev.bases import read_digests
from torchdev.engine import Engine, copy_into
from torchdev.errors import GpuError
from torchdev.matrix import Cell, load
from torchdev.plan import Plan
from torchdev.project import open_project

ROOT = Path(__file__).parents[2]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The cell whose promises are checked, and the image that must keep them."""
    parser.addoption("--cell", required=True, help="id of the cell in matrix.yaml")
    parser.addoption("--image", required=True, help="name of the image")
    parser.addoption("--gpu", choices=("auto", "require", "none"), default="auto")
    parser.addoption("--matrix-file", type=Path, default=ROOT / "matrix.yaml")


def pytest_collection_modifyitems(config: pytest.Config, items: "list[pytest.Item]") -> None:
    """Leave out what a cell does not claim: nvcc, GPUs, torch.compile."""
    cell = load(config.getoption("--matrix-file")).select([config.getoption("--cell")])[0]
    claims = {"devel": cell.devel, "cuda": cell.cuda is not None, "compile": compiles(cell)}
    items[:] = [item for item in items if all(claims.get(mark.name, True) for mark in item.iter_markers())]


def compiles(cell: Cell) -> bool:
    """Whether the cell's PyTorch has torch.compile, which came with 2.0."""
    return int(cell.torch.split(".")[0]) >= 2


@dataclass(frozen=True)
class Gpu:
    """Whether containers get a GPU here, and if not, why."""

    present: bool
    reason: str
    required: bool

    def need(self) -> None:
        """Go on with a GPU; without one the check is not-run, or fails where a GPU is required."""
        if self.present:
            return
        if self.required:
            pytest.fail(f"--gpu require, but {self.reason}")
        pytest.skip(self.reason)


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The Docker Engine."""
    return Engine()


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest) -> str:
    """Name of the image under test."""
    return str(request.config.getoption("--image"))


@pytest.fixture(scope="session")
def plan(request: pytest.FixtureRequest) -> Plan:
    """What the image under test must be."""
    project = open_project(ROOT, request.config.getoption("--matrix-file"))
    assert read_digests(project.places.bases), "images/bases.json is missing"
    return project.plans(project.matrix.select([request.config.getoption("--cell")]))[0]


@pytest.fixture(scope="session")
def gpu(request: pytest.FixtureRequest, engine: Engine, image: str) -> Gpu:
    """Ask the engine for a GPU once."""
    mode = request.config.getoption("--gpu")
    refusal = GpuError("--gpu none was given") if mode == "none" else engine.gpu_refusal(image)
    return Gpu(refusal is None, str(refusal), mode == "require")


@pytest.fixture(scope="session")
def container(engine: Engine, image: str, gpu: Gpu) -> Iterator[str]:
    """Id of a running container, with the workloads in /opt and every GPU there is."""
    with engine.container(image, gpus=gpu.present) as running:
        copy_into(running, ROOT / "workloads", "/opt")
        yield str(running.id)


@pytest.fixture(scope="session")
def host(container: str) -> Host:
    """The container as testinfra sees it, as the image's own user."""
    return testinfra.get_host(f"docker://{container}")


@pytest.fixture(scope="session")
def facts(host: Host) -> dict[str, Any]:
    """What torch in the container says of itself."""
    program = (
        "import json, platform, torch; "
        "print(json.dumps({'python': platform.python_version(), 'torch': torch.__version__, "
        "'cuda': torch.version.cuda, 'cudnn': torch.backends.cudnn.version()}))"
    )
    return dict(json.loads(host.check_output(f'python -c "{program}"')))
