"""Recipes on an engine: run.sh and `build.py run` as they are, manifests as far as Docker can imitate Pods."""

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.engine.pods import Manifest, Pods, of_kind, outcome, unpack
from tests.unit.conftest import ROOT
from torchdev.docgen.project import Project
from torchdev.engine.client import Engine
from torchdev.image.plan import Plan
from torchdev.recipes import files as recipes
from torchdev.recipes import jobs
from torchdev.util import trees

EPOCHS = 12
"""So many that a Pod can be lost before the training is done."""
ELASTIC = "import os; print('world', os.environ['WORLD_SIZE'])\n"


@pytest.fixture
def network(engine: Engine) -> Iterator[str]:
    """A network in which containers find each other by name."""
    with engine.network(f"recipe-{uuid.uuid4().hex[:8]}") as name:
        yield name


@pytest.fixture
def make(
    engine: Engine, project: Project, small: Plan, network: str, tmp_path: Path
) -> "Callable[..., tuple[Pods, Manifest]]":
    """A recipe's Pods, with the volume and the files that it asks for, and the recipe's Job or TrainJob."""

    def run(kind: str, **options: Any) -> "tuple[Pods, Manifest]":
        chosen = jobs.RecipeOptions(kind=kind, cpus=1, memory=2, shm=1, **options)
        job = jobs.make_job(small.cell, chosen, small.tags[0], project.job_files())
        files = trees.contents(recipes.make(job, project.paths.templates))
        claims, config = tmp_path / "claims", tmp_path / "config"
        for folder in (claims, config):
            folder.mkdir(exist_ok=True)
        claims.chmod(0o777)
        unpack(files, config)
        top = of_kind(files, "Job" if kind == jobs.KUBERNETES else "TrainJob")
        holder = top if kind == jobs.KUBERNETES else of_kind(files, "TrainingRuntime")["spec"]["template"]["spec"]
        if kind == jobs.TRAINJOB:
            (replicated,) = holder["replicatedJobs"]
            holder = replicated["template"]
        spec = holder["spec"]["template"]["spec"]
        return Pods(engine, small.tags[0], network, job.name, spec, claims, config), top

    return run


def args_of(job: Manifest) -> "list[str]":
    """The command of a Job's Pods."""
    return list(job["spec"]["template"]["spec"]["containers"][0]["args"])


def wait_for(file: Path, size: int) -> None:
    """Until a file has so many bytes; two minutes at most."""
    for _ in range(1200):
        if file.exists() and file.stat().st_size > size:
            return
        time.sleep(0.1)
    pytest.fail(f"{file.name} has no {size} bytes within two minutes")


@pytest.mark.full
def test_pods_of_a_job_train_as_one(make: "Callable[..., tuple[Pods, Manifest]]") -> None:
    """One Pod, and two of an Indexed Job, the second started first: the same accuracy within 2 percentage points."""
    pods, job = make(jobs.KUBERNETES)
    status, said = pods.run(args_of(job))
    assert status == 0, said
    one = outcome(said)
    written = sorted(path.name for path in (pods.claims / "run").iterdir())
    assert {"metrics.jsonl", "model.pt"} < set(written)
    assert {path.stat().st_uid for path in pods.claims.rglob("*")} == {recipes.USER}
    (pods.claims / "run").rename(pods.claims / "first")
    pods, job = make(jobs.KUBERNETES, nodes=2)
    ended = pods.run_all(args_of(job), 2)
    assert [status for status, _ in ended] == [0, 0], ended
    two = outcome("\n".join(said for _, said in ended))
    assert (one["world"], two["world"], two["step"]) == (1, 2, one["step"])
    assert two["accuracy"] == pytest.approx(one["accuracy"], abs=0.02)
    assert min(one["accuracy"], two["accuracy"]) > 0.85


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.full
def test_job_goes_on_when_a_pod_is_lost(make: "Callable[..., tuple[Pods, Manifest]]", lost: int) -> None:
    """The Pod where the others meet, or another: replaced within backoffLimit, the training ends, steps noted once."""
    pods, job = make(jobs.KUBERNETES, nodes=2)
    args = [word.replace("--device", f"--epochs {EPOCHS} --checkpoint-every 7 --device") for word in args_of(job)]
    with ThreadPoolExecutor(1) as pool:
        result = pods.claims / "run" / "model.pt"
        running = pool.submit(pods.run_to_success, args, 2, job["spec"]["backoffLimit"], result)
        metrics = pods.claims / "run" / "metrics.jsonl"
        wait_for(metrics, 1000)
        pods.kill(lost)
        statuses = running.result()
    assert result.exists()
    assert 0 in (statuses[0][-1], statuses[1][-1])
    assert statuses[lost][0] == 137
    failures = sum(len(each) - 1 for each in statuses)
    assert 1 <= failures <= job["spec"]["backoffLimit"]
    steps = [line["step"] for line in map(json.loads, metrics.read_text().splitlines()) if "epoch" not in line]
    assert steps == list(range(1, steps[-1] + 1))


@pytest.mark.full
def test_pods_of_a_trainjob_train(make: "Callable[..., tuple[Pods, Manifest]]") -> None:
    """With the variables that Kubeflow Trainer sets; its names are those of the first Pod here."""
    pods, job = make(jobs.TRAINJOB, nodes=2)
    trainer = job["spec"]["trainer"]
    told = {
        "PET_NNODES": str(trainer["numNodes"]),
        "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
        "PET_MASTER_ADDR": f"{pods.name}-0.{pods.name}",
        "PET_MASTER_PORT": "29500",
    }
    ended = pods.run_all(trainer["args"], 2, **told)
    assert [status for status, _ in ended] == [0, 0], ended
    assert outcome("\n".join(said for _, said in ended))["world"] == 2


@pytest.mark.full
def test_elastic_job_goes_on_with_fewer(make: "Callable[..., tuple[Pods, Manifest]]") -> None:
    """Of two Pods, one of which never comes, the first begins by itself."""
    options = {"nodes": 2, "min_nodes": 1, "command": "python probe.py", "files": {"probe.py": ELASTIC.encode()}}
    pods, job = make(jobs.KUBERNETES, **options)
    status, said = pods.run(args_of(job))
    assert status == 0, said
    assert "world 1" in said


def test_exit_status_tells_the_job_controller_what_to_do(make: "Callable[..., tuple[Pods, Manifest]]") -> None:
    """2 where it can't run as asked, and 75 after SIGTERM, are those that the Job's rules name."""
    pods, job = make(jobs.KUBERNETES)
    rules = job["spec"]["podFailurePolicy"]["rules"]
    named = {rule["action"]: rule["onExitCodes"]["values"] for rule in rules if "onExitCodes" in rule}
    status, said = pods.run([*args_of(job), "--device", "cuda"])
    assert [status] == named["FailJob"], said
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(pods.run, [*args_of(job), "--epochs", "1000"])
        metrics = pods.claims / "run" / "metrics.jsonl"
        wait_for(metrics, 1000)
        name = f"{pods.network}-{pods.name}-0"
        subprocess.run(["docker", "stop", "--time", "60", name], check=True, capture_output=True)
        status, said = running.result()
    assert [status] == named["Ignore"], said
    assert list((pods.claims / "run").glob("checkpoint-*.pt"))


def small_py(command: str, *words: str) -> "list[str]":
    """A command of build.py with the matrix of the tests' own."""
    return [
        sys.executable,
        str(ROOT / "build.py"),
        command,
        "--matrix-file",
        str(ROOT / "tests/cpu/matrix.yaml"),
        *words,
    ]


def call(command: "list[str]", cwd: Path, text: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a command in a folder."""
    return subprocess.run(command, cwd=cwd, input=text, capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of some user who is not root."""
    if os.getuid() == 0:
        os.chown(tmp_path, 1234, 2345)
    return tmp_path


def test_run_gives_what_it_should(small: Plan, folder: Path) -> None:
    """Shared memory, the folder, its owner as the user, a HOME and a cache to write to, standard input, PyTorch."""
    program = """
import json, os, sys, torch
open("made", "w").close()
open(os.environ["XDG_CACHE_HOME"] + "/.probe", "w").close()
open(os.path.expanduser("~/.probe"), "w").close()
shm = os.statvfs("/dev/shm")
size, total = shm.f_blocks * shm.f_frsize, torch.ones(2).sum().item()
print(json.dumps([os.getuid(), os.getgid(), os.environ["HOME"], os.getcwd(), size, total]))
"""
    done = call(small_py("run", small.cell.id, "--shm", "3", "--", "python", "-"), folder, program)
    assert done.returncode == 0, done.stderr
    owner = (folder / "made").stat()
    assert (owner.st_uid, owner.st_gid) == (folder.stat().st_uid, folder.stat().st_gid)
    home = "/home/dev" if owner.st_uid else "/root"
    assert json.loads(done.stdout) == [owner.st_uid, owner.st_gid, home, "/workspace", 3 << 30, 2.0]


def test_run_passes_the_exit_status_and_signals_on(small: Plan, folder: Path) -> None:
    """And leaves no container behind."""
    assert call(small_py("run", small.cell.id, "--", "sh", "-c", "exit 7"), folder).returncode == 7
    mark = uuid.uuid4().hex
    command = small_py("run", small.cell.id, "--", "sh", "-c", f"echo > {mark}; sleep 60")
    running = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)
    wait_for(folder / mark, 0)
    running.terminate()
    assert running.wait(30) == 143
    listing = subprocess.run(["docker", "ps", "-a", "--no-trunc"], capture_output=True, text=True, check=True).stdout
    assert mark not in listing


def test_run_has_a_terminal_where_there_is_one(small: Plan, folder: Path) -> None:
    """Under a pseudo-terminal the program sees one; through pipes it does not."""
    program = "import sys; print(sys.stdin.isatty(), sys.stdout.isatty())"
    command = small_py("run", small.cell.id, "--", "python", "-c", program)
    assert call(command, folder).stdout.split() == ["False", "False"]
    done = call([sys.executable, "-c", f"import pty, sys; sys.exit(pty.spawn({command!r}) >> 8)"], folder)
    assert "True True" in done.stdout, done.stdout + done.stderr


def test_run_says_why_there_is_no_gpu(engine: Engine, plan: Plan, folder: Path) -> None:
    """It goes on without one; not where one is required."""
    if engine.gpu_refusal(plan.tags[0]) is None:
        pytest.skip("this engine has GPUs")
    command = [sys.executable, str(ROOT / "build.py"), "run", plan.cell.id]
    done = call([*command, "--", "echo", "here"], folder)
    assert (done.returncode, done.stdout) == (0, "here\n"), done.stderr
    assert re.search(r"^without a GPU: \S", done.stderr, re.MULTILINE), done.stderr
    done = subprocess.run(
        [*command, "--gpu", "require", "--", "touch", "made"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 5
    assert "next:" in done.stderr
    assert not (folder / "made").exists()


def test_script_starts_the_container_that_run_does(small: Plan, folder: Path) -> None:
    """run.sh, told that this engine may lift no limit, where it may not: the same user, folder and status."""
    made = call(small_py("recipe", small.cell.id, "--for", "docker", "--out", "recipe"), folder)
    assert made.returncode == 0, made.stderr
    script = [str(folder / "recipe" / "run.sh"), "sh", "-c", "id -u; pwd; df /dev/shm | grep -c 8388608; exit 9"]
    done = call(["env", "TORCHDEV_LIMITS=", *script], folder)
    assert (done.returncode, done.stdout.split()) == (9, [str(folder.stat().st_uid), "/workspace", "1"]), done.stderr
