"""The earlier commit: had from a checkout's own git, or named as missing with the reason."""

import subprocess
from pathlib import Path

import pytest

from bench import baseline
from bench.contenders import Setting
from torchdev.util.errors import EngineError


def git(folder: Path, *words: str) -> str:
    """Run git as somebody without settings."""
    who = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "init.defaultBranch=main")
    command = ["git", *who, "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> "tuple[Path, str]":
    """A repository of two commits, and the name of the first."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet")
    for text in ("first", "second"):
        (folder / "file").write_text(text)
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "--message", text)
    return folder, git(folder, "rev-parse", "--short=7", "HEAD~1")


def test_a_checkout_is_of_that_commit(
    setting: Setting, repository: "tuple[Path, str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files, in the bench's folder; the repository stays as it was."""
    folder, first = repository
    monkeypatch.setattr(baseline, "EARLIER", first)
    before = git(folder, "for-each-ref"), git(folder, "worktree", "list")
    found = baseline.checkout(setting.site, folder)
    assert (found / "file").read_text() == "first"
    assert setting.site.work in found.parents
    assert (git(folder, "for-each-ref"), git(folder, "worktree", "list")) == before
    assert baseline.bundle(setting.site, folder) == setting.site.work / baseline.BUNDLE


def test_a_commit_that_is_not_there_is_told(setting: Setting, repository: "tuple[Path, str]", tmp_path: Path) -> None:
    """Neither in a repository of others, nor in a folder without git."""
    for folder in (repository[0], tmp_path):
        with pytest.raises(EngineError, match=f"does not know commit {baseline.EARLIER}"):
            baseline.checkout(setting.site, folder)


def test_a_shallow_clone_is_told(
    setting: Setting, repository: "tuple[Path, str]", monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It may know the commit, and still no clone can be made of it."""
    folder, _ = repository
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{folder}", "shallow")
    shallow = tmp_path / "shallow"
    monkeypatch.setattr(baseline, "EARLIER", git(shallow, "rev-parse", "HEAD"))
    with pytest.raises(EngineError, match="shallow"):
        baseline.checkout(setting.site, shallow)
