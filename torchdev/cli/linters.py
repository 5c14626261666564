"""The linters of .pre-commit-config.yaml: run by pre-commit in a git checkout, elsewhere one after another."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from torchdev.cli.testgroups import Task
from torchdev.util import positions

CONFIG = ".pre-commit-config.yaml"


def tasks(root: Path) -> "list[Task]":
    """All linters over all files: one group where pre-commit can run them, else a group for each.

    The variable SKIP, which excludes hooks from a commit, has no effect here.
    """
    own = {"VIRTUAL_ENV": sys.prefix, "PRE_COMMIT_HOME": str(root / ".torchdev" / "pre-commit"), "SKIP": ""}
    if is_checkout(root):
        return [Task("linters", [sys.executable, "-m", "pre_commit", "run", "--all-files"], own)]
    return [Task(hook["name"], shlex.split(hook["entry"]), own) for hook in hooks(root)]


def hooks(root: Path) -> "list[dict[str, Any]]":
    """Every hook of the file, in its order."""
    found = positions.read_own(root / CONFIG)
    return [hook for repo in found["repos"] for hook in repo["hooks"]]


def is_checkout(root: Path) -> bool:
    """Whether a folder is the top of a git checkout that git may read, and not an unpacked archive."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return False
    return done.returncode == 0 and Path(done.stdout.rstrip("\n")) == root.resolve()
