"""Files by path: differences are seen, a new folder is there whole or not at all."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from torchdev import trees
from torchdev.errors import InputError

FILES = {"a/run.sh": b"#!/bin/sh\n", "a/b.bin": b"\0\xff", "page.md": b"# Page\n"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with just these files."""
    trees.update(FILES, tmp_path, list(FILES))
    return tmp_path


def test_what_was_written_does_not_differ(root: Path) -> None:
    """Scripts can be run, other files can't."""
    assert trees.differences(FILES, root, ()) == []
    assert [(root / name).stat().st_mode & 0o777 for name in FILES] == [0o755, 0o644, 0o644]


def test_each_difference_is_seen_and_mended(root: Path) -> None:
    """Another text, a missing file, one that can't be run, one that was made before; not what others own."""
    (root / "page.md").write_text("other")
    (root / "a" / "b.bin").unlink()
    (root / "a" / "run.sh").chmod(0o644)
    (root / "a" / "stray").write_text("")
    (root / "a" / "model.pt").write_text("")
    owned = {*FILES, "a/stray", "a/gone"}
    changed = trees.differences(FILES, root, owned)
    assert changed == ["a/b.bin", "a/run.sh", "page.md", "a/stray"]
    assert "a/stray" not in trees.differences(FILES, root, ())
    trees.update(FILES, root, changed)
    assert trees.differences(FILES, root, owned) == []
    assert (root / "a" / "model.pt").exists()


def git(root: Path, *words: str) -> None:
    """A verb of git, as somebody."""
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *words], cwd=root, check=True, capture_output=True)


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_only_what_git_has_may_be_removed(root: Path) -> None:
    """Not what a run leaves, nor what was changed since the commit; nothing where there is no repository."""
    assert trees.committed(root, "a") == frozenset()
    (root / "a" / "n\u00f6te.txt").write_text("")
    git(root, "init")
    git(root, "add", ".")
    git(root, "commit", "-m", "x")
    (root / "a" / "run").mkdir()
    (root / "a" / "run" / "model.pt").write_text("trained")
    assert trees.committed(root, "a") == {"a/run.sh", "a/b.bin", "a/n\u00f6te.txt"}
    (root / "a" / "b.bin").write_text("changed by hand")
    owned = trees.committed(root, "a")
    assert owned == {"a/run.sh", "a/n\u00f6te.txt"}
    trees.update({}, root, trees.differences({}, root, owned))
    left = {path.relative_to(root).as_posix() for path in (root / "a").rglob("*") if path.is_file()}
    assert left == {"a/b.bin", "a/run/model.pt"}


@pytest.mark.parametrize("before", ["nothing", "empty", "parents"])
def test_new_folder_has_the_files(tmp_path: Path, before: str) -> None:
    """Where none is, or an empty one, or not even the folder that it is to be in; nothing is left beside it."""
    folder = tmp_path / "x" / "new" if before == "parents" else tmp_path / "new"
    if before == "empty":
        folder.mkdir()
    trees.create(FILES, folder)
    assert trees.differences(FILES, folder, ()) == []
    assert [path.name for path in folder.parent.iterdir()] == ["new"]
    assert folder.stat().st_mode & 0o777 == 0o755


def test_folder_that_has_files_is_left_alone(root: Path) -> None:
    """And so is a file of that name."""
    for taken in (root, root / "page.md"):
        with pytest.raises(InputError, match="not an empty folder"):
            trees.create({"page.md": b"new"}, taken)
    assert (root / "page.md").read_bytes() == FILES["page.md"]


@pytest.mark.parametrize("target", ["page.md/new", "/proc/nowhere/new"])
def test_folder_that_can_not_be_made_is_an_error(root: Path, target: str) -> None:
    """With the reason; and nothing is written."""
    before = sorted(root.rglob("*"))
    with pytest.raises(InputError, match="can't be written") as caught:
        trees.create(FILES, root / target)
    assert "--out" in caught.value.next_step
    assert sorted(root.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission_is_an_error(root: Path) -> None:
    """A folder that belongs to somebody else."""
    root.chmod(0o555)
    try:
        with pytest.raises(InputError, match="Permission denied"):
            trees.create(FILES, root / "new")
    finally:
        root.chmod(0o755)
