"""Files written whole."""

import fcntl
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.conftest import ROOT
from torchdev.util import files
from torchdev.util.errors import InputError


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
        "import os, pathlib, signal\nfrom torchdev.util import files\n"
        "os.fsync = lambda number: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"files.write(pathlib.Path({str(target)!r}), 'new')\n"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == -9
    assert target.read_text() == "old"
    [leftover] = set(tmp_path.iterdir()) - {target}
    assert leftover.match(files.UNFINISHED)
    files.write(tmp_path / "other.json", "x")
    assert leftover.exists()
    files.write(target, "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"lock.json": "new", "other.json": "x"}


def test_leftovers_are_those_of_dead_writers_of_the_file(tmp_path: Path) -> None:
    """What a writer at work has, what others have named alike, links and folders stay; any name of a file will do."""
    target = tmp_path / ("[a]*" + "b" * 60)
    prefix = f".{target.name[:50]}"
    alive, dead = tmp_path / f"{prefix}.abcdefgh.unfinished", tmp_path / f"{prefix}.12345678.unfinished"
    others = {tmp_path / name for name in (f"{prefix}.unfinished", f"{prefix}.x.unfinished", ".a.12345678.unfinished")}
    for path in (alive, dead, *others, tmp_path / "outside"):
        path.write_text("x")
    link, folder = tmp_path / f"{prefix}.llllllll.unfinished", tmp_path / f"{prefix}.ffffffff.unfinished"
    link.symlink_to(tmp_path / "outside")
    folder.mkdir()
    with alive.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        files.write(target, "new")
    assert set(tmp_path.iterdir()) == {target, alive, link, folder, tmp_path / "outside", *others}
    files.write(target, "newer")
    assert not alive.exists()


def test_writers_at_once_do_not_remove_each_others(tmp_path: Path) -> None:
    """Each finishes, however many there are."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: files.write(tmp_path / "a", str(n)), range(100)))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_git_does_not_see_leftovers() -> None:
    """Since a folder of locks is committed as it is."""
    command = ["git", "check-ignore", "images/x/.lock.json.abcd1234.unfinished"]
    assert subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode == 0
