"""Running containers of the image under test, and the contract of its cell: what it must be.

    python build.py test CELL [--gpu require]

Expectations come from the contract, matrix.yaml and the lock; nothing is read off the image to compare it with itself.
"""

import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import testinfra
from testinfra.backend.base import CommandResult
from testinfra.host import Host

from tests.image import shares
from tests.image.programs.forked import CANNOT_FORK
from torchdev.catalog.bases import read_digests
from torchdev.catalog.ids import COMPANIONS
from torchdev.catalog.versions import order
from torchdev.docgen.project import open_project
from torchdev.engine.client import Engine, copy_into
from torchdev.image.plan import Plan
from torchdev.matrix.load import Cell, load
from torchdev.pipeline.controls import file, recall, remember
from torchdev.pipeline.verify import REMEMBERED
from torchdev.util.errors import GpuError

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"
PATIENT = ["torchdev-doctor", "--wait", "120"]
"""A busy machine may take long to answer, and that is no fault of its image."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The cell whose promises are checked, and the image that must keep them."""
    parser.addoption("--cell", required=True, help="id of the cell in matrix.yaml")
    parser.addoption("--image", required=True, help="name of the image")
    parser.addoption("--gpu", choices=("auto", "require", "none"), default="auto")
    parser.addoption("--matrix-file", type=Path, default=ROOT / "matrix.yaml")
    text = "a folder that remembers controls that have held, which are not run again; without it all are run"
    parser.addoption("--remembered", type=Path, help=text)
    text = "instead of images/CELL/contract.json; with several, each check of the contract runs against each"
    parser.addoption("--contract", type=Path, action="append", default=[], help=text)


def pytest_configure(config: pytest.Config) -> None:
    """Have several processes, if there are several, share the checks."""
    if config.getoption("numprocesses", None):
        config.pluginmanager.register(shares.Plugin())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the checks of the contract against each one that is given."""
    given = metafunc.config.getoption("--contract")
    if given and "contract" in metafunc.fixturenames:
        metafunc.parametrize("contract", given, indirect=True, scope="session", ids=lambda path: path.stem)


def pytest_collection_modifyitems(config: pytest.Config, items: "list[pytest.Item]") -> None:
    """Leave out what a cell does not claim: nvcc, GPUs, torch.compile, torchvision, torchaudio."""
    cell = _cell(config)
    claims = {"devel": cell.devel, "cuda": cell.cuda is not None, "compile": compiles(cell)}
    claims |= {name: any(r.startswith(f"{name}==") for r in cell.requirements) for name in COMPANIONS}
    items[:] = [item for item in items if all(claims.get(mark.name, True) for mark in item.iter_markers())]
    shares.arrange(config, items)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> "bool | None":
    """Take a control for held that has held before, and say so; other checks, and other controls, are run."""
    noted = recall(path, pyfuncitem.nodeid) if (path := _note_of(pyfuncitem)) else None
    if noted:
        pyfuncitem.user_properties.append((REMEMBERED, str(noted)))
    return True if noted else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> "Generator[None, object, object]":
    """Note a control that has held."""
    outcome = yield
    path = _note_of(item)
    if path and not recall(path, item.nodeid):
        config = item.config
        image = Engine().image(config.getoption("--image"))
        assert image
        remember(path, item.nodeid, _cell(config), image.id)
    return outcome


def _note_of(item: pytest.Item) -> "Path | None":
    """Where it is noted that a control has held; None of other checks, and where nothing is to be remembered."""
    folder = item.config.getoption("--remembered")
    if not folder or not item.get_closest_marker("control"):
        return None
    return file(folder, ROOT, item.path.relative_to(ROOT), item.nodeid, _cell(item.config))


def _cell(config: pytest.Config) -> Cell:
    """The cell whose promises are checked."""
    return load(config.getoption("--matrix-file")).select([config.getoption("--cell")])[0]


def compiles(cell: Cell) -> bool:
    """Whether the cell's PyTorch has torch.compile, which came with 2.0."""
    return order(cell.torch) >= order("2.0")


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
    assert read_digests(project.paths.bases), "images/bases.json is missing"
    return project.plans(project.matrix.select([request.config.getoption("--cell")]))[0]


@pytest.fixture(scope="session")
def contract(request: pytest.FixtureRequest, plan: Plan) -> dict[str, Any]:
    """What the image under test must be, as images/CELL/contract.json says; or another, to see checks fail."""
    project = open_project(ROOT, request.config.getoption("--matrix-file"))
    path = getattr(request, "param", project.paths.contract(plan.cell.id))
    return dict(json.loads(path.read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def config(engine: Engine, image: str) -> dict[str, Any]:
    """The image's configuration, as the engine tells it."""
    return engine.config(image)


@pytest.fixture(scope="session")
def gpu(request: pytest.FixtureRequest, engine: Engine, image: str) -> Gpu:
    """Ask the engine for a GPU once."""
    mode = request.config.getoption("--gpu")
    refusal = GpuError("--gpu none was given") if mode == "none" else engine.gpu_refusal(image)
    return Gpu(refusal is None, str(refusal), mode == "require")


@pytest.fixture(scope="session")
def container(engine: Engine, image: str, gpu: Gpu) -> Iterator[str]:
    """Id of a running container, with workloads and programs in /opt and every GPU there is."""
    with engine.container(image, gpus=gpu.present) as running:
        copy_into(running, ROOT / "workloads", "/opt")
        copy_into(running, PROGRAMS, "/opt")
        yield str(running.id)


@pytest.fixture(scope="session")
def host(container: str) -> Host:
    """The container as testinfra sees it, as the image's own user."""
    return testinfra.get_host(f"docker://{container}")


@pytest.fixture(scope="session")
def forks(host: Host) -> str:
    """What stands for `python` in the container where its start is not what is checked: torch is imported already.

    Where importing torch does more than that, so that forks could not use a GPU, it is Python itself.
    """
    done = host.run("python -B /opt/programs/forked.py --serve")
    if done.rc == CANNOT_FORK:
        return "python -B"
    assert done.rc == 0, done.stdout + done.stderr
    return "python -IS /opt/programs/forked.py"


@pytest.fixture(scope="session")
def compiled(host: Host, forks: str) -> CommandResult:
    """How the workload ends that tries torch.compile, which takes a compiler long: once for all checks."""
    return host.run(f"cd /opt && {forks} -m workloads.compile")


@pytest.fixture(scope="session")
def facts(host: Host, forks: str) -> dict[str, Any]:
    """What torch in the container, and the Python that runs it, say of themselves."""
    return result(host, "facts.py", forks)


@pytest.fixture(scope="session")
def untouched(engine: Engine, image: str) -> Iterator[Host]:
    """A container in which no other check has worked, without a network, as root."""
    with engine.container(image, user="0", network_mode="none") as running:
        copy_into(running, PROGRAMS, "/opt")
        yield testinfra.get_host(f"docker://0@{running.id}")


def result(host: Host, command: str, python: str = "python -B") -> dict[str, Any]:
    """What a program of tests/image/programs prints, in a container that has them."""
    return dict(json.loads(host.check_output(f"{python} /opt/programs/{command}")))
