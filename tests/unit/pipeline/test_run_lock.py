"""Taking turns and room on the disk, without an engine; interrupts reach children in good order."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.unit.conftest import ROOT
from torchdev.pipeline.run_lock import Disk, locked
from torchdev.util.errors import BuildError

HOLD = """
import sys, time
from pathlib import Path
from torchdev.pipeline.run_lock import locked
with locked(Path(sys.argv[1]), "cell", lambda: None):
    print("held", flush=True)
    time.sleep(60)
"""


def test_killed_run_frees_its_cell(tmp_path: Path) -> None:
    """Kill -9 leaves nothing that the next run would wait for."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        waited: list[bool] = []
        threading.Timer(0.3, other.kill).start()
        with locked(tmp_path, "cell", lambda: waited.append(True)):
            pass
    assert waited == [True]


def test_names_do_not_meet(tmp_path: Path) -> None:
    """Two cells are worked on at once; a repository's slashes make no folders."""
    with locked(tmp_path, "team/torchdev:a", pytest.fail), locked(tmp_path, "team/torchdev:b", pytest.fail):
        assert len(list(tmp_path.iterdir())) == 2


def test_disk_is_refused_with_figures(tmp_path: Path) -> None:
    """If no other cell will give room back, waiting is no use."""
    with (
        pytest.raises(BuildError, match=r"GB may be written of .* GB free .* 1000000\.0 GB needed"),
        Disk(tmp_path).room("cell", 10**15),
    ):
        pass


def test_second_cell_waits_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the first is done."""
    disk = Disk(tmp_path)
    monkeypatch.setattr(disk, "_free", lambda: 5 * 10**9)
    order: list[str] = []
    entered = threading.Event()

    def first() -> None:
        with disk.room("a", 2 * 10**9):
            entered.set()
            threading.Event().wait(0.3)
            order.append("first done")

    thread = threading.Thread(target=first)
    thread.start()
    entered.wait()
    with disk.room("b", 2 * 10**9):
        order.append("second begins")
    thread.join()
    assert order == ["first done", "second begins"]


def test_limit_is_what_may_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted from what is free at first, never into what is kept free; the only thing known of a remote disk."""
    free = [10 * 10**9]
    monkeypatch.setattr(Disk, "_free", lambda self: free[0])
    disk = Disk(tmp_path, 3 * 10**9)
    assert disk.left() == 3 * 10**9
    free[0] -= 10**9
    assert disk.left() == 2 * 10**9
    assert Disk(tmp_path, 10**15).left() == Disk(tmp_path).left() == 7 * 10**9
    assert Disk(None, 5).left() == 5
    with pytest.raises(BuildError, match=r"0\.0 GB may be written, 1\.0 GB needed"), Disk(None, 5).room("cell", 10**9):
        pass


def test_remote_disk_is_not_judged() -> None:
    """It can't be seen from here."""
    with Disk(None).room("cell", 10**15):
        pass


RUN = """
import sys, threading, time
from torchdev.util import process
process.prepare(print)
lines = []
def work():
    try:
        process.run([sys.executable, "-c", CHILD], lines.append)
    except process.InterruptedRun:
        lines.append("interrupted\\n")
CHILD = '''
import time
try:
    print("started", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("tidied up", flush=True)
'''
thread = threading.Thread(target=work)
thread.start()
while not lines:
    time.sleep(0.05)
process.interrupt_all()
thread.join()
try:
    process.run(["true"], lines.append)
except process.InterruptedRun:
    lines.append("no more")
print("".join(lines))
"""


@pytest.mark.parametrize("ignored", [False, True], ids=["in front", "in the background"])
def test_interrupt_lets_children_tidy_up_and_starts_no_more(ignored: bool) -> None:
    """In a process of its own, since an interrupted run ends; also where a shell has SIGINT ignored for it."""
    shell = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"] if ignored else []
    command = [*shell, sys.executable, "-c", RUN]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split("\n")[:4] == ["started", "tidied up", "interrupted", "no more"]
