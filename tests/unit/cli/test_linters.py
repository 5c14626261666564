"""The linters: the same for a commit and for `check`, all from torchdev's own environment, none left out."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.conftest import ROOT
from torchdev.cli import linters

OWN = str(ROOT / ".ci" / "own")


def git(folder: Path, *words: str) -> str:
    """What git says in a folder, whatever checkout this process is a hook of."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def test_no_hook_needs_a_network_or_is_never_run() -> None:
    """Each is local, takes no files by name, and is for files that there are."""
    committed = git(ROOT, "ls-files").splitlines()
    found = linters.hooks(ROOT)
    assert {hook["name"] for hook in found} >= {"style", "format", "types", "Dockerfiles", "workflows"}
    for hook in found:
        assert (hook["language"], hook["pass_filenames"]) == ("system", False), hook["id"]
        assert hook["entry"].startswith(".ci/own "), hook["id"]
        assert any(re.search(hook["files"], name) for name in committed), hook["id"]
    assert "repo: https" not in (ROOT / linters.CONFIG).read_text()


def test_dockerfiles_of_all_kinds_are_looked_at() -> None:
    """Those of cells and of substitutes: as many as the globs of the entry name."""
    [entry] = [hook["entry"] for hook in linters.hooks(ROOT) if hook["name"] == "Dockerfiles"]
    globs = shlex.split(shlex.split(entry)[-1])[1:]
    assert {path for glob in globs for path in ROOT.glob(glob)} == {
        *ROOT.glob("images/*/Dockerfile"),
        *ROOT.glob("templates/bootstrap/*.Dockerfile"),
    }
    assert all(list(ROOT.glob(glob)) for glob in globs)


def test_a_checkout_is_left_to_pre_commit(tmp_path: Path) -> None:
    """Over all files, none skipped; what is no checkout of its own has its linters run one by one."""
    shutil.copy(ROOT / linters.CONFIG, tmp_path)
    assert [task.name for task in linters.tasks(tmp_path)] == [hook["name"] for hook in linters.hooks(ROOT)]
    git(tmp_path, "init", "--quiet")
    (tmp_path / "below").mkdir()
    assert not linters.is_checkout(tmp_path / "below")
    [task] = linters.tasks(tmp_path)
    assert task.command == [sys.executable, "-m", "pre_commit", "run", "--all-files"]
    assert task.variables["SKIP"] == ""


def test_there_need_be_no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive may be checked where git is not installed."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert not linters.is_checkout(ROOT)


def _program(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "linter").write_text(f"#!/bin/sh\necho {text}; exit 3\n")
    (folder / "linter").chmod(0o755)


def test_programs_are_those_of_the_own_environment(tmp_path: Path) -> None:
    """Of the active one, else of .venv, else of PATH; its status is passed on."""
    folders = {"path": "tools", "venv": ".venv/bin", "active": "active/bin"}
    environment = {"PATH": f"{tmp_path}/tools:{os.environ['PATH']}"}
    for text, folder in folders.items():
        _program(tmp_path / folder, text)
        if text == "active":
            environment["VIRTUAL_ENV"] = str(tmp_path / "active")
        done = subprocess.run([OWN, "linter"], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert (done.stdout, done.returncode) == (f"{text}\n", 3)
