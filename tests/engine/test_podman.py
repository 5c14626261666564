"""The Kubernetes recipe, started by `podman kube play`, and the image as podman runs it: docs/podman.md.

TORCHDEV_PODMAN is the command, `podman` unless given; without podman 5.3 or newer all is skipped.
"""

import copy
import json
import os
import re
import shlex
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engine.pods import outcome
from tests.image.conftest import PROGRAMS
from tests.unit.conftest import ROOT
from torchdev.engine.client import Engine
from torchdev.image.plan import Plan

PODMAN = tuple(shlex.split(os.environ.get("TORCHDEV_PODMAN", "podman")))
OLDEST = (5, 3)
"""The first that starts Jobs."""
WITHIN = 600
"""Seconds that a training may take."""
USERS = {"the image's": [], "any user, group 0": ["--user=12345:0"], "any user and group": ["--user=12345:12345"]}
STRICT = ("--read-only", "--network=none", "--cap-drop=all", "--security-opt=no-new-privileges")


def podman(*words: str, text: str = "") -> str:
    """What podman prints; the test fails where podman does."""
    done = subprocess.run([*PODMAN, *words], input=text, capture_output=True, text=True, timeout=WITHIN)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def version() -> "tuple[int, ...]":
    """Of podman; empty where there is none."""
    try:
        said = subprocess.run([*PODMAN, "--version"], capture_output=True, text=True).stdout
    except FileNotFoundError:
        return ()
    return tuple(int(part) for part in re.findall(r"\d+", said)[:2])


@pytest.fixture(scope="module")
def image(engine: Engine, small: Plan) -> str:
    """The small image, handed from the engine to podman."""
    if version() < OLDEST:
        pytest.skip("needs podman 5.3 or newer: docs/podman.md says how to have it, and what was seen with it")
    name = small.tags[0]
    known = subprocess.run([*PODMAN, "image", "inspect", "--format={{.Id}}", name], capture_output=True, text=True)
    here = engine.image(name)
    assert here
    if known.stdout.strip() != here.id.removeprefix("sha256:"):
        saved = subprocess.Popen(["docker", "save", name], stdout=subprocess.PIPE)
        subprocess.run([*PODMAN, "load", "--quiet"], stdin=saved.stdout, check=True, capture_output=True)
        assert saved.wait() == 0
    return name


@pytest.fixture
def manifests(image: str, small: Plan, tmp_path: Path) -> "Callable[[int], list[dict[str, Any]]]":
    """The objects of the recipe for some nodes, with a name of their own."""

    def read(nodes: int) -> "list[dict[str, Any]]":
        folder = tmp_path / str(nodes)
        command = [sys.executable, "build.py", "recipe", small.cell.id, "--matrix-file", "tests/cpu/matrix.yaml"]
        command += ["--for", "kubernetes", "--nodes", str(nodes), "--cpus", "1", "--memory", "2", "--shm", "1"]
        command += ["--name", f"train-{uuid.uuid4().hex[:8]}", "--out", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        found = [yaml.safe_load_all(path.read_text()) for path in sorted(folder.glob("*.yaml"))]
        return sorted((one for documents in found for one in documents), key=lambda one: one["kind"] in ("Job", "Pod"))

    return read


@pytest.fixture
def play() -> "Iterator[Callable[..., None]]":
    """Start objects; they are removed with their volumes when the test ends."""
    played = []

    def start(objects: "list[dict[str, Any]]", *options: str) -> None:
        text = yaml.safe_dump_all(objects)
        played.append(text)
        podman("kube", "play", *options, "-", text=text)

    yield start
    for text in reversed(played):
        subprocess.run([*PODMAN, "kube", "down", "--force", "-"], input=text, text=True, capture_output=True)


@pytest.fixture
def network() -> "Iterator[str]":
    """A network in which Pods find each other by name."""
    name = f"train-{uuid.uuid4().hex[:8]}"
    podman("network", "create", name)
    yield name
    subprocess.run([*PODMAN, "network", "rm", "--force", name], capture_output=True)


def ended(container: str) -> "tuple[int, str]":
    """Exit status and output of a container, once it has ended."""
    status = int(podman("wait", container))
    done = subprocess.run([*PODMAN, "logs", container], capture_output=True, text=True, check=True)
    return status, done.stdout + done.stderr


def pods_of(job: dict[str, Any]) -> "list[dict[str, Any]]":
    """The Pods that a Job controller makes of an Indexed Job: podman makes one of it, without an index."""
    made = []
    for index in range(job["spec"]["completions"]):
        spec = copy.deepcopy(job["spec"]["template"]["spec"])
        spec["hostname"] = f"{job['metadata']['name']}-{index}"
        spec["containers"][0]["env"].append({"name": "JOB_COMPLETION_INDEX", "value": str(index)})
        made.append({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": spec["hostname"]}, "spec": spec})
    return made


@pytest.mark.full
def test_job_trains_in_its_pod(manifests: "Callable[[int], list[dict[str, Any]]]", play: "Callable[..., None]") -> None:
    """As it stands: read-only root, user 1000, no capabilities, files from the ConfigMap, checkpoints in the claim."""
    objects = manifests(1)
    name = objects[-1]["metadata"]["name"]
    assert objects[-1]["kind"] == "Job"
    play(objects)
    status, said = ended(f"{name}-pod-{name}")
    assert status == 0, said
    assert outcome(said)["accuracy"] > 0.85
    (found,) = json.loads(podman("inspect", f"{name}-pod-{name}"))
    assert found["HostConfig"]["ReadonlyRootfs"] is True
    assert found["Config"]["User"] == "1000:1000"
    assert "CAP_CHOWN" in found["HostConfig"]["CapDrop"]
    assert found["EffectiveCaps"] in ([], None)


@pytest.mark.full
def test_pods_of_an_indexed_job_train_together(
    manifests: "Callable[[int], list[dict[str, Any]]]", play: "Callable[..., None]", network: str
) -> None:
    """Its Pods, made as a Job controller does and named as the headless Service names them, over gloo."""
    *others, job = manifests(2)
    name = job["metadata"]["name"]
    shared = [one for one in others if one["kind"] != "Service"]
    pods = pods_of(job)
    for index, pod in enumerate(pods):
        play([*shared, pod], f"--network={network}:alias={name}-{index}.{name}")
    found = [ended(f"{pod['metadata']['name']}-{name}") for pod in pods]
    assert [status for status, _ in found] == [0, 0], found
    said = outcome("\n".join(text for _, text in found))
    assert said["world"] == 2
    assert said["accuracy"] > 0.85


@pytest.mark.parametrize("strict", [(), STRICT], ids=["plain", "strict"])
@pytest.mark.parametrize("user", USERS.values(), ids=USERS)
@pytest.mark.full
def test_caches_have_a_place(image: str, user: "list[str]", strict: "tuple[str, ...]") -> None:
    """HOME, pip, uv and torch.compile, which compiles."""
    program = (PROGRAMS / "caches.py").read_text()
    said = podman("run", "--rm", *user, *strict, image, "python", "-c", program, "compile")
    found = json.loads(said.splitlines()[-1])
    assert found["refused"] == {}
    assert found["compiled"]["right"] is True
    assert found["compiled"]["libraries"] != []


@pytest.mark.full
def test_rootless_gives_files_to_who_started_it(image: str) -> None:
    """With --userns=keep-id, the image's user is outside who called podman, and HOME can be written."""
    if podman("info", "--format={{.Host.Security.Rootless}}") != "true":
        pytest.skip("podman runs as root here")
    script = 'id -u; touch "$HOME/made" && echo made; cut -c1-32 /proc/self/uid_map'
    lines = podman("run", "--rm", "--userns=keep-id:uid=1000,gid=1000", image, "sh", "-c", script).splitlines()
    assert lines[:2] == ["1000", "made"]
    inside, outside, count = lines[3].split()
    assert (int(inside), int(outside), int(count)) == (1000, 0, 1)
