"""Files written whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.conftest import ROOT
from torchdev import files
from torchdev.errors import InputError


def test_a_file_gets_content_and_mode(tmp_path: Path) -> None:
    """In folders that are not there yet, and in the place of another file."""
    target = tmp_path / "a" / "b"
    for content, mode in (("é", 0o644), (b"\x00", 0o755), ("x", 0o600)):
        files.write(target, content, mode)
        assert target.read_bytes() == (content.encode() if isinstance(content, str) else content)
        assert target.stat().st_mode & 0o777 == mode
    assert [path.name for path in target.parent.iterdir()] == ["b"]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """What it points at stays as it is."""
    (tmp_path / "outside").write_text("precious")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "outside")
    files.write(link, "new")
    assert (tmp_path / "outside").read_text() == "precious"
    assert link.read_text() == "new"
    assert not link.is_symlink()


def test_what_was_there_outlives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing unfinished is left beside it."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    target = tmp_path / "lock.json"
    target.write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"lock\.json: can't be written: No space left"):
        files.write(target, "new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_was_there_outlives_a_kill(tmp_path: Path) -> None:
    """SIGKILL just before the new file takes its place."""
    target = tmp_path / "lock.json"
    target.write_text("old")
    program = (
        "import os, pathlib, signal\nfrom torchdev import files\n"
        "os.fsync = lambda number: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"files.write(pathlib.Path({str(target)!r}), 'new')\n"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == -9
    assert target.read_text() == "old"
