"""The workloads pass inside the image, and each notices when it is spoiled."""

import base64
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from docker.models.containers import Container
from testinfra.backend.base import CommandResult
from testinfra.host import Host

from tests.image.conftest import ROOT, Gpu
from torchdev.engine.client import Engine
from torchdev.image.plan import Plan
from workloads.__main__ import NAMES, PART

CANNOT_RUN = 2
OWN_TESTS = {"cnn"}
"""Workloads whose runs have a test module of their own."""
CLAIMS = {"compile": "compile", **PART}
"""What a cell must have for a workload to be one of its own (conftest.py)."""
MARKS = {name: [getattr(pytest.mark, claim)] for name, claim in CLAIMS.items()}
MARKS["compile"].append(pytest.mark.needs("compiled"))
EACH = [pytest.param(name, marks=MARKS.get(name, [])) for name in NAMES if name not in OWN_TESTS]


Run = Callable[..., CommandResult]


@pytest.fixture(scope="module")
def run(host: Host, forks: str) -> Run:
    """Run a workload to its end, with arguments, and with variables as a shell takes them."""

    def end(name: str, arguments: str = "", variables: str = "") -> CommandResult:
        return host.run(f"cd /opt && {variables} {forks} -m workloads.{name} {arguments}")

    return end


def result_of(done: CommandResult) -> dict[str, Any]:
    """The one line of JSON that a workload prints."""
    lines = done.stdout.splitlines()
    assert len(lines) == 1, done.stdout + done.stderr
    return dict(json.loads(lines[0]))


def test_the_table_has_what_belongs_to_the_cell(host: Host, run: Run, plan: Plan) -> None:
    """Workloads of torchvision and torchaudio are listed only if the lock has these; named, they are missing."""
    listed = host.check_output("cd /opt && python -B -c 'from workloads.__main__ import listed; print(*listed())'")
    absent = [name for name in PART if not plan.lock.version(PART[name])]
    assert listed.split() == [name for name in NAMES if name not in absent]
    for name in absent:
        done = run(name)
        assert (done.rc, done.stdout) == (CANNOT_RUN, ""), done.stdout + done.stderr
        assert f"{PART[name]} is not installed" in done.stderr


@pytest.mark.parametrize("name", EACH)
def test_workload_passes_on_the_cpu(request: pytest.FixtureRequest, run: Run, name: str) -> None:
    """Every limit is kept."""
    done = request.getfixturevalue("compiled") if name == "compile" else run(name)
    result = result_of(done)
    assert (done.rc, result["reached"], result["device"]) == (0, True, "cpu"), done.stdout + done.stderr


@pytest.mark.control
@pytest.mark.parametrize("name", EACH)
def test_workload_notices_when_it_is_spoiled(run: Run, name: str) -> None:
    """With its negative control, the workload ends by itself, reports what it measured, and misses a limit."""
    done = run(name, "--control")
    result = result_of(done)
    assert (done.rc, result["reached"], result["control"]) == (1, False, True), done.stdout + done.stderr


@pytest.mark.cuda
@pytest.mark.parametrize("name", EACH)
def test_workload_passes_on_the_gpu(run: Run, gpu: Gpu, name: str) -> None:
    """Every limit is also kept on the GPU, if there is one."""
    gpu.need()
    done = run(name, "--device cuda")
    result = result_of(done)
    assert (done.rc, result["reached"]) == (0, True), done.stdout + done.stderr
    assert result["device"].startswith("cuda")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in PART])
def test_workload_refuses_a_gpu_that_is_not_there(run: Run, name: str) -> None:
    """Without a visible GPU, --device cuda fails before any output; nothing falls back to the CPU."""
    done = run(name, "--device cuda", "CUDA_VISIBLE_DEVICES=")
    assert (done.rc, done.stdout) == (CANNOT_RUN, ""), done.stdout
    assert "can't run: " in done.stderr


@pytest.mark.control
def test_a_required_gpu_that_is_not_there_is_a_failure(host: Host) -> None:
    """The table counts what was not run, and --gpu require makes a failure of it."""
    hidden = "cd /opt && CUDA_VISIBLE_DEVICES= python -B -m workloads"
    without = host.run(f"{hidden} autograd --json")
    assert without.rc == CANNOT_RUN
    assert json.loads(without.stdout)["headline"] == "1 passed, 0 failed, 1 not run"
    required = host.run(f"{hidden} autograd --json --gpu require")
    assert required.rc == 1
    assert json.loads(required.stdout)["headline"] == "1 passed, 1 failed, 0 not run"


@pytest.fixture(scope="module")
def bare(engine: Engine, image: str) -> Iterator[Container]:
    """A container with nothing: read-only root, no network, 64 MB of shared memory, a user that nobody knows."""
    shared = {"/dev/shm": "size=64m,mode=1777"}
    with engine.container(image, read_only=True, network_mode="none", user="12345:12345", tmpfs=shared) as running:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for path in sorted((ROOT / "workloads").glob("*.*")):
                archive.add(path, f"workloads/{path.name}")
        text = base64.b64encode(packed.getvalue()).decode()
        # The engine copies no files into a read-only container; an argument can have 128 KiB.
        for start in range(0, len(text), 100_000):
            execute(running, f"echo {text[start : start + 100_000]} >> /dev/shm/packed")
        execute(running, "cd /dev/shm && base64 -d packed | tar xz && rm packed")
        yield running


def execute(container: Container, command: str) -> str:
    """What a command that must succeed says in a container, on both streams."""
    status, output = container.exec_run(["sh", "-c", command])
    assert status == 0, output.decode()
    return str(output.decode())


@pytest.mark.parametrize("name", ["ddp", "loader", "save"])
def test_workload_in_a_bare_container(bare: Container, name: str) -> None:
    """Processes find each other, workers hand over their data, files are written and removed, all in /dev/shm."""
    said = execute(bare, f"cd /dev/shm && python -B -m workloads.{name}")
    assert json.loads(said.splitlines()[-1])["reached"] is True
    assert execute(bare, "ls -A /dev/shm").split() == ["workloads"]
