"""The training job of examples/train: on two containers it learns as on one; ended and gone on with, it is the same."""

import json
import shutil
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from tests.engine.pods import outcome
from tests.unit.conftest import ROOT
from torchdev.engine.client import Engine
from torchdev.image.plan import Plan

EPOCHS = 4
SCRIPT = f"train.py --epochs {EPOCHS} --batch 64 --lr 0.03 --checkpoint-every 7"
INTERRUPTED = 30
"""The step, of 88, after which a run is ended."""
SIGNAL = """
import glob, os, sys
for path in glob.glob("/proc/[0-9]*/cmdline"):
    words = open(path, "rb").read().split(b"\\0")
    is_torchrun = any(word.endswith(b"/torchrun") for word in words)
    if b"train.py" in words and is_torchrun == (sys.argv[1] == "torchrun"):
        os.kill(int(path.split("/")[2]), int(sys.argv[2]))
"""
"""A signal for torchrun, as Kubernetes sends SIGTERM (torchrun hands it on); or for the processes it has started."""
SPOILED_END = """
import atexit, os, runpy, sys
atexit.register(os.abort)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Python's own end aborts, each time: what gloo's threads do to it now and then."""
FORGET = """
import sys, torch
state = torch.load(sys.argv[1])
state["optimizer"]["state"] = {}
torch.save(state, sys.argv[1])
"""


@pytest.fixture(scope="module")
def image(small: Plan) -> str:
    """A small image, which must have been built before."""
    return small.tags[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a team would copy: the script and its data, in a folder that containers may write."""
    for path in (ROOT / "examples" / "train" / "train.py", ROOT / "workloads" / "digits.csv.gz"):
        shutil.copy(path, tmp_path)
    tmp_path.chmod(0o777)
    return tmp_path


class Nodes:
    """Two containers in one network, each with one process; only the first sees the folder with what is written."""

    def __init__(self, containers: "list[Container]", name: str) -> None:
        self.containers, self._name = containers, name

    def train(self, arguments: str = "") -> "list[tuple[int, str]]":
        """Run the job to its end; exit status and output of each node."""
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda rank: self._node(rank, arguments), (0, 1)))

    def _node(self, rank: int, arguments: str) -> "tuple[int, str]":
        start = f"torchrun --nnodes 2 --node-rank {rank} --nproc-per-node 1 --master-addr {self._name}0"
        status, output = self.containers[rank].exec_run(f"{start} --master-port 29500 {SCRIPT} {arguments}")
        return int(status), output.decode()


@contextmanager
def two_nodes(engine: Engine, image: str, folder: Path, other: Path) -> Iterator[Nodes]:
    """Start them."""
    name = f"train-{uuid.uuid4().hex[:8]}-"
    with ExitStack() as stack:
        network = stack.enter_context(engine.network(name + "net"))
        containers = [
            stack.enter_context(
                engine.container(
                    image, name=f"{name}{rank}", network=network, environment={"OMP_NUM_THREADS": "1"},
                    volumes={str(place): {"bind": "/workspace", "mode": "rw"}},
                )
            )
            for rank, place in enumerate((folder, other))
        ]  # fmt: skip
        yield Nodes(containers, name)


@pytest.fixture
def other(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The second node's folder: script and data, none of the first's checkpoints."""
    place = tmp_path_factory.mktemp("other")
    shutil.copytree(folder, place, dirs_exist_ok=True)
    place.chmod(0o777)
    return place


@pytest.mark.full
def test_two_containers_learn_as_one(engine: Engine, image: str, folder: Path, other: Path) -> None:
    """The same accuracy within 2 percentage points, above 85%, after the same steps."""
    status, said = engine.run(image, ["sh", "-c", f"python {SCRIPT} --out one"], **mounted(folder))
    assert status == 0, said
    one = outcome(said)
    with two_nodes(engine, image, folder, other) as nodes:
        ended = nodes.train("--out two")
    assert [status for status, _ in ended] == [0, 0], ended
    two = outcome(ended[0][1])
    assert (one["world"], two["world"], two["step"]) == (1, 2, one["step"])
    assert two["accuracy"] == pytest.approx(one["accuracy"], abs=0.02)
    assert min(one["accuracy"], two["accuracy"]) > 0.85


@pytest.mark.full
def test_a_failure_in_the_middle_ends_all_nodes(engine: Engine, image: str, folder: Path, other: Path) -> None:
    """A process of the second node is lost: within a minute no node runs any more, and none ends with 0."""
    with two_nodes(engine, image, folder, other) as nodes, ThreadPoolExecutor(1) as pool:
        running = pool.submit(nodes.train, "--epochs 1000 --out lost")
        wait_for_step(folder / "lost" / "metrics.jsonl", INTERRUPTED)
        assert nodes.containers[1].exec_run(["python", "-c", SIGNAL, "worker", "9"])[0] == 0
        statuses = [status for status, _ in running.result(timeout=60)]
    assert 0 not in statuses


@pytest.mark.parametrize(("arguments", "status"), [("", 0), ("--data nothing.gz", 1), ("--batch 63", 1)])
def test_a_finished_run_needs_no_orderly_end_of_python(
    engine: Engine, image: str, folder: Path, arguments: str, status: int
) -> None:
    """Two processes end with 0 though Python's own end would abort; what they refuse is no success for that."""
    (folder / "spoiled.py").write_text(SPOILED_END)
    start = "torchrun --standalone --nproc-per-node 2 spoiled.py train.py --epochs 1 --batch 64 --out spoiled"
    assert engine.run(image, ["sh", "-c", f"{start} {arguments}"], **mounted(folder))[0] == status
    assert (folder / "spoiled" / "model.pt").exists() is (status == 0)


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
@pytest.mark.full
def test_an_ended_run_goes_on_to_the_same_result(
    engine: Engine, image: str, folder: Path, other: Path, how: str
) -> None:
    """Within 1e-6 in loss, with the metrics of each step once."""
    with two_nodes(engine, image, folder, other) as nodes:
        whole = outcome(nodes.train("--out whole")[0][1])
    with two_nodes(engine, image, folder, other) as nodes, ThreadPoolExecutor(1) as pool:
        running = pool.submit(nodes.train, "--out halted")
        wait_for_step(folder / "halted" / "metrics.jsonl", INTERRUPTED)
        if how == "SIGKILL":
            for container in nodes.containers:
                container.kill()
        else:
            nodes.containers[0].exec_run(["python", "-c", SIGNAL, "torchrun", "15"])
        statuses = [status for status, _ in running.result()]
        assert 0 not in statuses
    assert (folder / "halted" / "model.pt").exists() is False
    with two_nodes(engine, image, folder, other) as nodes:
        ended = nodes.train("--out halted")
    assert "going on after step" in ended[0][1]
    resumed = outcome(ended[0][1])
    assert resumed["step"] == whole["step"]
    assert abs(resumed["loss"] - whole["loss"]) <= 1e-6
    texts = [(folder / name / "metrics.jsonl").read_text().splitlines() for name in ("whole", "halted")]
    steps = [[json.loads(line)["step"] for line in text] for text in texts]
    assert steps[0] == steps[1]


@pytest.mark.full
def test_without_the_optimizers_state_the_result_is_another(engine: Engine, image: str, folder: Path) -> None:
    """So the comparison above can fail. Going on with more epochs is the same as having asked for them."""
    run = "python train.py --batch 64 --lr 0.03 --out"
    script = f"""
        set -e
        {run} whole --epochs 2; {run} halves --epochs 1; cp -r halves forgetful; {run} halves --epochs 2
        python -c '{FORGET}' $(ls forgetful/checkpoint-*.pt | tail -n 1); {run} forgetful --epochs 2
    """
    status, said = engine.run(image, ["sh", "-c", script], **mounted(folder))
    assert status == 0, said
    whole, _, halves, forgetful = (json.loads(x)["loss"] for x in said.splitlines() if x.startswith('{"step"'))
    assert abs(halves - whole) <= 1e-6
    assert abs(forgetful - whole) > 1e-3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--device cuda", "PyTorch sees no GPU"),
        ("--data nothing.gz", "nothing.gz"),
        ("--precision float16", "is for GPUs"),
        ("--epochs 0", "--epochs must be 1 or more"),
        ("--batch 5000", "at most 1437"),
    ],
)
def test_what_can_not_run_says_why(engine: Engine, image: str, folder: Path, arguments: str, said: str) -> None:
    """Exit status 2, and no traceback."""
    status, output = engine.run(image, ["sh", "-c", f"python train.py {arguments}"], **mounted(folder))
    assert status == 2, output
    assert said in output
    assert "Traceback" not in output


def mounted(folder: Path) -> dict[str, Any]:
    """Options of a container that works in a folder of this machine, with one thread."""
    return {"volumes": {str(folder): {"bind": "/workspace", "mode": "rw"}}, "environment": {"OMP_NUM_THREADS": "1"}}


def wait_for_step(metrics: Path, step: int) -> None:
    """Until a run has got so far; a minute at most."""
    for _ in range(600):
        if metrics.exists() and len(metrics.read_text().splitlines()) > step:
            return
        time.sleep(0.1)
    pytest.fail(f"no step {step} within a minute")
