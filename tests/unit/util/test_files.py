"""Files written whole."""

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
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


def test_a_temporary_folder_goes_with_its_run_or_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a kill nobody holds it; one that a child of the killed run still holds stays, and so do others."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("torchdev-uv-killed", "torchdev-fault", "torchdev-uv-held"):
        (tmp_path / name / "cache").mkdir(parents=True)
    (tmp_path / "torchdev-uv-link").symlink_to(tmp_path / "torchdev-fault")
    (tmp_path / "torchdev-uv-file").touch()
    held = os.open(tmp_path / "torchdev-uv-held", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with files.temporary("torchdev-uv-") as (folder, descriptor), files.temporary("torchdev-uv-") as (other, _):
        assert folder.is_dir()
        assert other != folder
        child = subprocess.Popen(["sleep", "60"], pass_fds=(descriptor,))
        (folder / "page").touch()
    assert {path.name for path in tmp_path.iterdir()} == {
        "torchdev-fault", "torchdev-uv-held", "torchdev-uv-link", "torchdev-uv-file",
    }  # fmt: skip
    assert (tmp_path / "torchdev-fault" / "cache").is_dir()
    child.kill()
    child.wait()
    os.close(held)


def test_a_child_that_outlives_its_run_keeps_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was killed can't stop it; it still writes there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = (
        "import os, subprocess, sys; from torchdev.util import files\n"
        "with files.temporary('torchdev-uv-') as (folder, held):\n"
        "    print(subprocess.Popen(['sleep', '60'], pass_fds=(held,), stdout=-3, stderr=-3).pid, folder, flush=True)\n"
        "    os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)}, cwd=ROOT, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    child, folder = done.stdout.split()
    with files.temporary("torchdev-uv-"):
        assert Path(folder).is_dir()
    os.kill(int(child), signal.SIGKILL)
    end = time.monotonic() + 30
    while Path(folder).exists() and time.monotonic() < end:
        with files.temporary("torchdev-uv-"):
            time.sleep(0.05)
    assert not Path(folder).exists()
