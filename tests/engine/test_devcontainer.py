"""The dev container recipe, started by @devcontainers/cli: `up` and `exec`, for root and for another user."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from tests.image.test_use import wheel
from tests.unit.conftest import ROOT
from torchdev.image.plan import Plan

CLI = "@devcontainers/cli@0.89.0"
UID = 4321
"""Of a user that neither this machine nor the image knows."""
SOCKET = Path("/var/run/docker.sock")
AS_ANOTHER = 'mount --bind "$0" /etc/passwd && exec setpriv --reuid {uid} --regid {uid} --groups {groups} "$@"'
"""In a mount namespace, so that the user is there for one command only: the CLI asks for its name."""


@dataclass(frozen=True)
class Caller:
    """Who starts the dev container, from a workspace of theirs."""

    uid: int
    prefix: tuple[str, ...]
    cli: str
    workspace: Path
    home: Path

    def run(self, verb: str, *words: str) -> "subprocess.CompletedProcess[str]":
        """A verb of the CLI on the workspace."""
        command = [*self.prefix, self.cli, verb, "--workspace-folder", str(self.workspace), *words]
        environment = {**os.environ, "HOME": str(self.home)}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    def inside(self, script: str) -> "list[str]":
        """The lines that a script prints in the dev container."""
        done = self.run("exec", "bash", "-euc", script)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()


@pytest.fixture(scope="module")
def cli() -> "Iterator[str]":
    """The CLI, installed by npm into a folder of its own; a skip where that can't be."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed, by which @devcontainers/cli is")
    with for_all() as folder:
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), CLI]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"npm can't install {CLI}: {done.stderr.strip().splitlines()[-1]}")
        yield str(folder / "node_modules" / ".bin" / "devcontainer")


@contextmanager
def for_all() -> "Iterator[Path]":
    """A folder that other users reach; pytest's own are for its user alone."""
    with tempfile.TemporaryDirectory(prefix="torchdev-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def place() -> "Iterator[Path]":
    """Such a folder for one test."""
    with for_all() as folder:
        yield folder


@pytest.fixture(params=["root", "another user"])
def caller(request: pytest.FixtureRequest, small: Plan, cli: str, place: Path) -> "Iterator[Caller]":
    """A user with the recipe in a git repository; what they start is removed."""
    uid, prefix = os.getuid(), ()
    if request.param == "root" and uid:
        pytest.skip("needs root")
    if request.param != "root" and not uid:
        uid, prefix = UID, another(place)
    workspace, home = place / "workspace", place / "home"
    home.mkdir()
    recipe = [sys.executable, "build.py", "recipe", small.cell.id, "--matrix-file", "tests/cpu/matrix.yaml"]
    recipe += ["--for", "devcontainer", "--out", str(workspace)]
    subprocess.run(recipe, cwd=ROOT, check=True, capture_output=True)
    workspace.chmod(0o755)
    (workspace / "tiny-1.0-py3-none-any.whl").write_bytes(wheel("tiny", "1.0"))
    subprocess.run(["git", "init", "--quiet", str(workspace)], check=True)
    if uid != os.getuid():
        subprocess.run(["chown", "-R", f"{uid}:{uid}", str(workspace), str(home)], check=True)
    yield Caller(uid, prefix, cli, workspace, home)
    remove(workspace)


def another(place: Path) -> "tuple[str, ...]":
    """The command that runs another as a user with uid and gid UID, who may use the engine's socket; or a skip."""
    if not (shutil.which("unshare") and shutil.which("setpriv")):
        pytest.skip("unshare and setpriv are not installed")
    passwd = place / "passwd"
    passwd.write_text(f"{Path('/etc/passwd').read_text()}caller:x:{UID}:{UID}::{place}:/bin/sh\n")
    groups = SOCKET.stat().st_gid if SOCKET.exists() else UID
    return ("unshare", "--mount", "sh", "-c", AS_ANOTHER.format(uid=UID, groups=groups), str(passwd))


def remove(workspace: Path) -> None:
    """The containers of a workspace, and the image that the CLI made to change the uid."""
    client = docker.from_env()
    for container in client.containers.list(all=True, filters={"label": f"devcontainer.local_folder={workspace}"}):
        name = container.attrs["Config"]["Image"]
        container.remove(force=True)
        if name.startswith("vsc-"):
            client.images.remove(name)


WORK = """
id -u; id -nG
touch written; stat -c %u written
python -c 'import torch; print(float(torch.ones(3).sum()))'
pip install --quiet --no-index ./tiny-1.0-py3-none-any.whl
python -c 'import tiny; print(tiny.__name__)'
uv pip install --quiet --offline --no-index --reinstall ./tiny-1.0-py3-none-any.whl
git add written
git -c user.name=me -c user.email=me@localhost commit --quiet --message one
git log --format=%s
mkdir -p "$(pip cache dir)"
uv cache dir
python - << 'END'
import torch
from torch._inductor.codecache import cache_dir
print(cache_dir(), bool(torch.allclose(torch.compile(torch.sin)(torch.ones(9)), torch.ones(9).sin())))
END
tr '\\0' ' ' < /proc/1/cmdline | head -n 1
"""


@pytest.mark.full
def test_up_and_exec(caller: Caller) -> None:
    """The user has the uid of the caller, writes, computes, installs, commits and compiles, without a GPU."""
    up = caller.run("up")
    assert up.returncode == 0, up.stdout + up.stderr
    said = json.loads(up.stdout.splitlines()[-1])
    assert (said["outcome"], said["remoteUser"], said["remoteWorkspaceFolder"]) == ("success", "dev", "/workspace")
    if caller.uid == 0:
        # Root's uid is not given to anyone: dev stays 1000, and writes by group 0, where that may.
        assert caller.inside("touch /workspace/refused 2> /dev/null && echo written || echo refused") == ["refused"]
        places = [caller.workspace, caller.home / ".cache" / "torchdev" / "containers"]
        subprocess.run(["chmod", "-R", "g=u", *map(str, places)], check=True)
    uid = caller.uid or 1000
    identity, groups, owner, total, tiny, commit, uv, compiled, first = caller.inside(WORK)
    assert (identity, groups, owner) == (str(uid), "dev root", str(uid))
    assert (total, tiny, commit) == ("3.0", "tiny", "one")
    assert uv == "/cache/uv"
    assert compiled == "/cache/inductor True"
    assert "docker-init" in first
    assert (caller.workspace / "written").stat().st_uid == uid


@pytest.mark.full
def test_another_uid_than_the_label_says_shows(caller: Caller) -> None:
    """The checks above can fail: where the uid is not changed, a workspace of someone else's can't be written."""
    if caller.uid in (0, 1000):
        pytest.skip("the image's user has this uid, or none gets it")
    file = caller.workspace / ".devcontainer" / "devcontainer.json"
    text = file.read_text()
    assert '"updateRemoteUserUID": true' in text
    file.write_text(text.replace('"updateRemoteUserUID": true', '"updateRemoteUserUID": false'))
    assert caller.run("up").returncode == 0
    assert caller.run("exec", "sh", "-c", "id -u; touch /workspace/written").returncode != 0
    assert not (caller.workspace / "written").exists()
