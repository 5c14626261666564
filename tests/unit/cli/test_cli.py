"""build.py as a user runs it: help, lists, exit codes, and never a traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit import forked
from tests.unit.conftest import ROOT
from torchdev.matrix.load import load


def build_py(*arguments: str, folder: Path = ROOT, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run build.py with no engine to talk to."""
    environment = {**os.environ, "DOCKER_HOST": "unix:///nowhere/docker.sock", **variables}
    command = [sys.executable, str(ROOT / "build.py"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


def test_help_shows_stages_and_exit_codes() -> None:
    """The first thing a newcomer reads."""
    done = build_py("--help")
    assert done.returncode == 0
    for word in ("--matrix", "list", "lock", "render", "test", "bootstrap", "doctor", "quickstart", "exit codes"):
        assert word in done.stdout


def test_list_for_programs() -> None:
    """JSON on standard output, and nothing else there."""
    cells = json.loads(forked.build_py("list", "--json").stdout)
    assert [cell["id"] for cell in cells] == [cell.id for cell in load(ROOT / "matrix.yaml").cells]


def test_generated_files_are_current() -> None:
    """What is committed under images/ is what would be rendered."""
    done = forked.build_py("render", "--check")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("py35-cu102",), 2, 'no cell "py35-cu102"'),
        (("explain", "py39-cu130"), 1, "cu130: Python 3.10 to 3.14"),
        (("explain", "py311-cu130"), 0, "yes: Python 3.11, cu130"),
        (("explain", "--gpu", "Voodoo2"), 2, "nothing is known of a GPU"),
        (("explain", "latest"), 0, "yes: Python 3.13, cu132, PyTorch 2.15.0"),
        (("explain", "newest"), 2, "is not a cell's id or short tag"),
        (("list", "--grid"), 0, "(to 2.8)"),
        ((), 0, "usage"),
        (("--matrix", "--jobs", "0"), 2, "is not a whole number"),
        (("render", "--check", "--matrix-file", "tests/cpu/other.yaml"), 2, "no such file"),
        (("build",), 2, "name a cell"),
        (("--matrix", "py311-cu130"), 2, "not both"),
        (("list", "--matrix-file", "nowhere.yaml"), 2, "no such file"),
        (("--select", "py2*"), 2, 'no cell "py2*"'),
        (("--group", "older"), 2, 'no group "older"'),
        (("push", "py311-cu130"), 2, "--to"),
        (("--matrix", "--group", "cpu"), 2, "not both"),
        (("--select", "*-cu130-*"), 5, "no Docker Engine answers"),
        (("bake", "latest"), 5, "no Docker Engine answers"),
        (("py311-cu130",), 5, "no Docker Engine answers"),
        (("test", "py311-cu130"), 5, "no Docker Engine answers"),
        (("run", "py311-cu130"), 5, "no Docker Engine answers"),
        (("run", "py31*"), 2, "one cell is wanted"),
        (("run", "py35-cu102"), 2, 'no cell "py35-cu102"'),
        (("run", "py311-cpu", "--gpu", "require"), 2, "has no CUDA"),
        (("run", "py311-cu130", "--shm", "0"), 2, "is not a whole number"),
        (("run", "py311-cu130", "--", "--gpu", "nonsense"), 5, "no Docker Engine answers"),
        (("bootstrap", "py311-cu130"), 5, "no Docker Engine answers"),
        (("bootstrap", "--python-prefix", "3.11", "py311-cu130"), 2, "--python-prefix 3.8="),
        (("bootstrap", "--python-prefix", "3.11=/nowhere", "py311-cu130"), 2, "no such folder: /nowhere"),
    ],
)
def test_mistakes_have_an_exit_code_and_a_message(arguments: tuple[str, ...], code: int, said: str) -> None:
    """One message, no traceback; with a next command where there is one."""
    done = forked.build_py(*arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if code == 5:
        assert "next:" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"), [(("py35-cu102",), 2), (("explain", "py39-cu130"), 1), (("py311-cu130",), 5), ((), 0)]
)
def test_a_command_ends_in_a_fork_as_it_does_alone(arguments: tuple[str, ...], code: int) -> None:
    """So that other tests may save the start of a process."""
    alone, fork = build_py(*arguments), forked.build_py(*arguments)
    assert (alone.returncode, alone.stdout, alone.stderr) == (code, fork.stdout, fork.stderr)
    assert fork.returncode == code


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("latest",), "--for"),
        (("latest", "--for", "swarm"), "invalid choice"),
        (("latest", "--for", "kubernetes", "--nodes", "0"), "is not a whole number"),
        (("latest", "--for", "kubernetes", "--gpus", "-1"), "is not a whole number"),
        (("latest", "--for", "kubernetes", "--nodes", "two"), "is not a whole number"),
        (("py35-cu102", "--for", "kubernetes"), 'no cell "py35-cu102"'),
        (("py31*", "--for", "kubernetes"), "one cell is wanted"),
        (("py311-cpu", "--for", "kubernetes", "--gpus", "1"), "has no CUDA"),
        (("latest", "--for", "docker", "--nodes", "2"), "docker has no use for it"),
        (("latest", "--for", "kubernetes", "--image", "a b"), "is not the name of an image"),
        (("latest", "--for", "kubernetes", "--file", "nowhere.py"), "there is no such file"),
        (("latest", "--for", "kubernetes", "--out", "/proc/nowhere/new"), "can't be written"),
        (("latest", "--for", "kubernetes", "--out", "/"), "not an empty folder"),
    ],
)
def test_recipe_that_can_not_be_writes_nothing(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    """Exit code 2, one message, and the current folder is as it was."""
    done = forked.build_py("recipe", *arguments, folder=tmp_path)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_recipe_is_written_where_no_engine_is(tmp_path: Path) -> None:
    """With the image by tag, which is said; a second time it is refused, since the folder is there."""
    done = forked.build_py("recipe", "latest", "--for", "kubernetes", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "recipe-kubernetes").iterdir()} == {
        "job.yaml",
        "storage.yaml",
        "files.yaml",
    }
    assert "image by tag, since its digest is not known: no Docker Engine answers" in done.stderr
    before = (tmp_path / "recipe-kubernetes" / "job.yaml").read_text()
    assert forked.build_py("recipe", "latest", "--for", "kubernetes", "--nodes", "2", folder=tmp_path).returncode == 2
    assert (tmp_path / "recipe-kubernetes" / "job.yaml").read_text() == before


def test_doctor_says_that_the_engine_is_missing() -> None:
    """And ends with the engine's code."""
    closed = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "UV_HTTP_RETRIES": "0"}
    done = forked.build_py("doctor", "--json", **closed)
    assert done.returncode == 5
    findings = {finding["subject"]: finding for finding in json.loads(done.stdout)}
    assert findings["engine"]["state"] == "missing"
    assert findings["index"]["state"] == "missing"


def test_lock_without_a_network_says_so(tmp_path: Path) -> None:
    """A closed proxy stands for no network."""
    matrix = tmp_path / "matrix.yaml"
    matrix.write_text('image: t\nrows:\n  - {python: "3.11", cuda: cpu, torch: "2.13.0"}\n')
    done = forked.build_py("lock", "--matrix-file", str(matrix), HTTPS_PROXY="http://127.0.0.1:9", UV_HTTP_RETRIES="0")
    assert done.returncode == 3, done.stderr
    assert "the package index can't be reached" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [("list",), ("render", "--check")])
def test_quick_stages_are_quick(arguments: tuple[str, ...]) -> None:
    """Under two seconds of processor time, whatever else the machine does: it makes runs longer, and none shorter."""

    def seconds() -> float:
        began = os.times()
        assert build_py(*arguments).returncode == 0
        ended = os.times()
        return ended.children_user - began.children_user + ended.children_system - began.children_system

    assert any(seconds() < 2 for _ in range(5))
