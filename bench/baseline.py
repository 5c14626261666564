"""The commit that today's checks and quickstart are held to: a clone in the bench's folder, with its own .venv."""

import subprocess
import sys
from pathlib import Path

from bench.engine import Engine, Workspace
from bench.results import EARLIER
from torchdev.util.errors import EngineError

BUNDLE = "torchdev.bundle"
INSTALL = ("-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary=:all:", "--requirement")


def bundle(workspace: Workspace, root: Path) -> Path:
    """A file that `git clone` takes, with the history of the checkout; EngineError where that hasn't the commit.

    A clone of the folder itself would be refused to root, whom it doesn't belong to.
    """
    file = workspace.work / BUNDLE
    if not file.exists():
        step = "git fetch --unshallow, in a clone of torchdev"
        if _git(root, "cat-file", "-e", f"{EARLIER}^{{commit}}").returncode:
            raise EngineError(f"this checkout's git does not know commit {EARLIER}", next_step=step)
        if _git(root, "rev-parse", "--is-shallow-repository").stdout.strip() != "false":
            raise EngineError("this checkout is a shallow clone, of which no clone can be made", next_step=step)
        done = _git(root, "bundle", "create", "--quiet", str(file.resolve()), "HEAD")
        if done.returncode:
            raise EngineError(f"git bundle failed: {done.stderr.strip()}", next_step=step)
    return file


def checkout(workspace: Workspace, root: Path) -> Path:
    """The files of that commit in a folder of their own."""
    folder = workspace.fresh(EARLIER) / "torchdev"
    for words in (
        ("clone", "--quiet", "--no-checkout", str(bundle(workspace, root)), str(folder)),
        ("-C", str(folder), "checkout", "--quiet", "--detach", EARLIER),
    ):
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise EngineError(f"git {words[0]} failed: {done.stderr.strip()}", next_step="git fsck")
    return folder


def program(engine: Engine, folder: Path) -> "tuple[str, ...]":
    """The command that starts the `build.py` of a checkout in a .venv of its own, which is made here."""
    python = folder / ".venv" / "bin" / "python"
    engine.run([sys.executable, "-m", "venv", str(folder / ".venv")])
    engine.run([str(python), *INSTALL, str(folder / "requirements.txt")])
    return str(python), str(folder / "build.py")


def _git(root: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = ["git", "-c", f"safe.directory={root}", "-C", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)
