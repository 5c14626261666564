"""Locking many cells: one that fails stops no other, what was written stays, a lock is replaced whole or not at all."""

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.conftest import ROOT, make_package
from torchdev.catalog import bases
from torchdev.cli import lock as locking
from torchdev.docgen.project import Project
from torchdev.image.paths import Paths
from torchdev.matrix.load import Cell, Matrix
from torchdev.util import files, jsonfile, process
from torchdev.util.errors import BuildError, Exit, InputError
from torchdev.wheels import lock as locks
from torchdev.wheels import lockfile, pytorch, resolve
from torchdev.wheels.host import Host
from torchdev.wheels.lock import Lock, inputs_digest

TEXT = """\
image: torchdev
companions: []
rows:
  - {python: ["3.11", "3.12", "3.13"], cuda: cu130, torch: "2.13.0"}
"""
Resolve = Callable[[Cell, Host, "dict[str, int]"], Lock]


@pytest.fixture
def project(tmp_path: Path, matrix_of: Callable[[str], Matrix]) -> Project:
    """A matrix of three cells without locks."""
    return Project(Paths(tmp_path, tmp_path / "matrix.yaml"), matrix_of(TEXT))


@pytest.fixture
def resolved(lock: Lock, monkeypatch: pytest.MonkeyPatch) -> "dict[str, Exception]":
    """Cell to the error that its resolution ends with; the others get a lock, the small one made theirs."""
    errors: dict[str, Exception] = {}

    def found(cell: Cell, host: Host, known: "dict[str, int]", asked: "pytorch.Asked | None" = None) -> Lock:
        if cell.id in errors:
            raise errors[cell.id]
        tag = cell.python.replace(".", "")
        packages = tuple(
            dataclasses.replace(p, file=p.file.replace("cp311", f"cp{tag}"))
            for p in (
                *lock.packages,
                locks.Package(
                    name="setuptools",
                    version="80",
                    file="setuptools-80-py3-none-any.whl",
                    sha256="0" * 64,
                    size=1,
                    installed=1,
                ),
            )
        )
        listed = tuple(sorted(packages, key=lambda package: package.name))
        return dataclasses.replace(lock, cell=cell.id, python=cell.python, inputs=inputs_digest(cell), packages=listed)

    monkeypatch.setattr(resolve, "resolve", found)
    monkeypatch.setattr(locking, "read_host", Host)
    return errors


def written(project: Project) -> "list[str]":
    """The cells that have a lock."""
    return [c.id for c in project.matrix.cells if (project.images / c.id / "lock.json").exists()]


def test_a_cell_that_fails_stops_no_other(project: Project, resolved: "dict[str, Exception]") -> None:
    """It is named with what is to be typed, whatever the kind of its failure; the exit code is that of locks."""
    cells, said = project.matrix.cells, list[str]()
    resolved[cells[0].id] = InputError("no cuDNN", where="matrix.yaml:4:5")
    resolved[cells[1].id] = BuildError("the index is silent", where=cells[1].id)
    with pytest.raises(BuildError) as caught:
        locking.lock_cells(project, cells, said.append)
    assert written(project) == [cells[2].id]
    assert caught.value.code is Exit.BUILD
    assert caught.value.next_step == f"python build.py lock {cells[0].id} {cells[1].id}"
    assert sum("no cuDNN" in line for line in said) == sum("silent" in line for line in said) == 1


def test_a_lock_that_can_not_be_written_is_told_before_it_is_made(
    project: Project, resolved: "dict[str, Exception]", monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Resolving takes minutes: no index is asked, whatever is in the way, and for whichever cell."""
    monkeypatch.setattr(resolve, "resolve", lambda *_: pytest.fail("resolved"))
    cells = project.matrix.cells
    (project.images / cells[2].id / "lock.json").mkdir(parents=True)
    with pytest.raises(InputError, match=f"{cells[2].id}/lock.json: it exists and is no plain file"):
        locking.lock_cells(project, cells, print)
    (project.images / cells[2].id / "lock.json").rmdir()
    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    with pytest.raises(InputError, match=r"lock.json: can't be written: Read-only file system") as caught:
        locking.lock_cells(project, cells, print)
    assert "checkout that this user may write to" in caught.value.next_step


def read_only(**_: object) -> None:
    """Of a file system that is mounted so."""
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_the_failure_of_one_cell_is_told_once(project: Project, resolved: "dict[str, Exception]") -> None:
    """As the command's own, with its exit code."""
    cell, said = project.matrix.cells[0], list[str]()
    resolved[cell.id] = InputError("no cuDNN", where="matrix.yaml:4:5")
    with pytest.raises(InputError, match="no cuDNN"):
        locking.lock_cells(project, (cell,), said.append)
    assert said == []


def test_a_fault_of_our_own_stops_no_other(project: Project, resolved: "dict[str, Exception]") -> None:
    """It is raised when the others are done."""
    cells = project.matrix.cells
    resolved[cells[0].id] = AssertionError("a fault")
    with pytest.raises(AssertionError, match="a fault"):
        locking.lock_cells(project, cells, lambda text: None)
    assert written(project) == [cells[1].id, cells[2].id]


def test_what_could_not_be_read_back_is_not_written(
    project: Project, resolved: "dict[str, Exception]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock that was there stays, if an index gives what is no lock of the cell."""
    cell = project.matrix.cells[0]
    locking.lock_cells(project, (cell,), lambda text: None)
    path = project.images / cell.id / "lock.json"
    before, good = path.read_bytes(), resolve.resolve
    for name, field, value in (
        ("torch", "version", "2.13.0 \n"),
        ("torch", "installed", 10**30),
        ("filelock", "file", "filelock-4.2-py3-none-win32.whl"),
        ("triton", "sha256", None),
        ("triton", "sha256", "no hash"),
    ):

        def bad(
            cell: Cell,
            host: Host,
            known: "dict[str, int]",
            asked: "pytorch.Asked | None" = None,
            of: str = name,
            change: object = (field, value),
        ) -> Lock:
            key, new = change  # type: ignore[misc]
            found = good(cell, host, known)
            packages = (dataclasses.replace(p, **{key: new}) if p.name == of else p for p in found.packages)
            return dataclasses.replace(found, packages=tuple(packages))

        monkeypatch.setattr(resolve, "resolve", bad)
        with pytest.raises(BuildError, match="no lock of this cell"):
            locking.lock_cells(project, (cell,), lambda text: None)
        assert path.read_bytes() == before


@pytest.mark.parametrize("place", ["images", "images/cell", "images/cell to nothing", "images to itself", "a file"])
def test_no_lock_is_written_through_a_link(
    project: Project, resolved: "dict[str, Exception]", tmp_path: Path, place: str
) -> None:
    """In the words of render, before anything is resolved; nothing is written where the link leads."""
    cells, outside = project.matrix.cells, tmp_path / "outside"
    outside.mkdir()
    folder = project.images if place.startswith("images to") or place == "images" else project.images / cells[1].id
    folder.parent.mkdir(exist_ok=True)
    if place == "a file":
        folder.write_text("x")
    else:
        folder.symlink_to({"images/cell to nothing": outside / "none", "images to itself": folder}.get(place, outside))
    with pytest.raises(InputError, match="can't be written, and nothing was") as caught:
        locking.lock_cells(project, cells, lambda text: None)
    name = "images" if folder == project.images else f"images/{cells[1].id}"
    assert f"{name}{' is not a folder' if place == 'a file' else ' is a link'}" in caught.value.what
    assert caught.value.next_step == "move away what is there, then: python build.py lock"
    assert list(outside.iterdir()) == []
    if folder == project.images:
        with pytest.raises(InputError, match=r"images/bases\.json: images is a link"):
            locking.lock_bases(project, lambda text: None)
    else:
        locking.lock_cells(project, cells[:1], lambda text: None)
        assert written(project) == [cells[0].id]


def test_a_lock_is_replaced_and_never_written_through(
    project: Project, resolved: "dict[str, Exception]", tmp_path: Path
) -> None:
    """A link in its place, or a file of another mode, gives way to a file as git has it; one that is equal stays."""
    cell = project.matrix.cells[0]
    path, target = project.images / cell.id / "lock.json", tmp_path / "elsewhere.json"
    path.parent.mkdir(parents=True)
    target.write_text("not ours")
    path.symlink_to(target)
    said = list[str]()
    locking.lock_cells(project, (cell,), said.append)
    assert target.read_text() == "not ours"
    assert not path.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o644
    inode = path.stat().st_ino
    locking.lock_cells(project, (cell,), said.append)
    assert path.stat().st_ino == inode
    assert sum("unchanged" in line for line in said) == 1
    assert [entry.name for entry in path.parent.iterdir()] == ["lock.json"]


def test_a_folder_in_a_locks_place_is_told(project: Project, resolved: "dict[str, Exception]") -> None:
    """And nothing half is left beside it."""
    cell = project.matrix.cells[0]
    path = project.images / cell.id / "lock.json"
    path.mkdir(parents=True)
    with pytest.raises(InputError, match="exists and is no plain file"):
        locking.lock_cells(project, (cell,), lambda text: None)
    assert [entry.name for entry in path.parent.iterdir()] == ["lock.json"]


def test_every_lock_that_is_written_can_be_read(project: Project, resolved: "dict[str, Exception]") -> None:
    """And all three are."""
    locking.lock_cells(project, project.matrix.cells, lambda text: None)
    for cell in project.matrix.cells:
        assert lockfile.read_lock(project.images / cell.id / "lock.json", cell).cell == cell.id


def test_work_that_fails_starts_no_other_unless_all_are_wanted() -> None:
    """The first failure is raised, in the order of the items."""
    seen = list[int]()

    def work(item: int) -> int:
        seen.append(item)
        time.sleep(0.005)
        if item in (1, 3):
            raise ValueError(item)
        return item * 2

    assert process.at_once(2, work, (0, 2, 4)) == [0, 4, 8]
    with pytest.raises(ValueError, match="1"):
        process.at_once(1, work, range(100))
    assert len(seen) < 60
    seen.clear()
    with pytest.raises(ValueError, match="1"):
        process.at_once(1, work, range(100), all_of_them=True)
    assert len(seen) == 100


def test_an_interrupt_of_work_cancels_what_has_not_begun() -> None:
    """And tells what runs."""
    code = (
        "import os, signal, threading, time\n"
        "from torchdev.util import process\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # whoever started the tests may ignore it
        "threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
        "try:\n"
        "    process.at_once(2, lambda item: process.pause(60), range(1000))\n"
        "except KeyboardInterrupt:\n"
        "    print('stopped')\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.stderr) == ("stopped\n", "")


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_lock_survives_a_kill_at_any_moment(
    project: Project, resolved: "dict[str, Exception]", monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Whatever of the writing has been done by then: the old one is there, whole."""
    cell = project.matrix.cells[0]
    path = project.images / cell.id / "lock.json"
    path.parent.mkdir(parents=True)
    path.write_text("the old one")
    pid = os.fork()
    if pid == 0:
        names = {"write": "fdopen", "fsync": "fsync", "rename": "rename"}
        monkeypatch.setattr(os, names[call], lambda *arguments, **options: os.kill(os.getpid(), signal.SIGKILL))
        monkeypatch.setattr(Path, "replace", lambda *arguments: os.kill(os.getpid(), signal.SIGKILL))
        locking._write_lock(project, resolve.resolve(cell, Host(), {}), cell)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    assert path.read_text() == "the old one"


def unresolved(lock: Lock) -> Lock:
    """The lock as a run makes it for which the PyTorch index was silent: its torch has no hash."""
    torch = next(p for p in lock.packages if p.name == "torch")
    return with_torch(lock, dataclasses.replace(torch, sha256=None, size=None, installed=None))


def with_torch(lock: Lock, torch: locks.Package) -> Lock:
    """A lock with another torch."""
    return dataclasses.replace(lock, packages=tuple(torch if p.name == "torch" else p for p in lock.packages))


@pytest.fixture
def legacy(matrix_of: Callable[[str], Matrix], tmp_path: Path) -> "tuple[Project, Cell, Lock]":
    """A cell whose torch is on the PyTorch index alone, and its whole lock."""
    rows = 'image: t\ncompanions: []\npackages: []\nrows:\n  - {python: "3.11", cuda: cpu, torch: "2.13.0"}\n'
    project = Project(Paths(tmp_path, tmp_path / "matrix.yaml"), matrix_of(rows))
    cell = project.matrix.cells[0]
    file = Path(__file__).parents[2] / "cpu" / "images" / cell.id / "lock.json"
    found = locks_of(file)
    own = tuple(p for p in found.packages if p.name != "numpy")
    return project, cell, dataclasses.replace(found, inputs=inputs_digest(cell), packages=own)


def locks_of(file: Path) -> Lock:
    """A lock as it is written, whatever it is of."""
    return jsonfile.parse(file.read_bytes(), lockfile._ADAPTER)


def test_runs_at_once_lose_no_hash(legacy: "tuple[Project, Cell, Lock]") -> None:
    """One whose index was silent does not write over what the other has found, whichever of them is last."""
    project, cell, whole = legacy
    path = project.images / cell.id / "lock.json"
    with ThreadPoolExecutor(8) as pool:
        made = [whole, *[unresolved(whole)] * 20]
        list(pool.map(lambda one: locking._write_lock(project, one, cell), made))
    assert lockfile.read_lock(path, cell) == whole
    assert "unchanged" in locking._write_lock(project, unresolved(whole), cell)


def test_processes_at_once_leave_whole_locks(legacy: "tuple[Project, Cell, Lock]") -> None:
    """Two that write, each another version, until they are killed: who reads meanwhile has one of the two."""
    project, cell, whole = legacy
    tool = next(p for p in whole.packages if p.name == "filelock")
    newer = dataclasses.replace(tool, version="99.0", file="filelock-99.0-py3-none-any.whl")
    other = dataclasses.replace(whole, packages=tuple(newer if p.name == "filelock" else p for p in whole.packages))
    path = project.images / cell.id / "lock.json"
    locking._write_lock(project, whole, cell)
    writers = []
    for one in (whole, other):
        pid = os.fork()
        if pid == 0:
            while True:
                locking._write_lock(project, one, cell)
        writers.append(pid)
    seen: set[str | None] = set()
    begin = time.monotonic()
    while time.monotonic() < begin + 1 or (len(seen) < 2 and time.monotonic() < begin + 30):
        seen.add(lockfile.read_lock(path, cell).version("filelock"))
    for pid in writers:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert seen == {tool.version, "99.0"}
    assert lockfile.read_lock(path, cell) in (whole, other)
    locking._write_lock(project, other, cell)
    locking._write_lock(project, whole, cell)  # one of the two has something to write, and removes what was left
    assert [file.name for file in path.parent.iterdir()] == ["lock.json"]


def test_a_build_does_not_write_over_a_lock_that_is_newer(legacy: "tuple[Project, Cell, Lock]") -> None:
    """It completes the one that it began with, or none: somebody may have locked meanwhile."""
    project, cell, whole = legacy
    path = project.images / cell.id / "lock.json"
    path.parent.mkdir(parents=True)
    path.write_text(locks.to_text(unresolved(whole)))
    lockfile.complete(path, unresolved(whole), whole, cell)
    assert lockfile.read_lock(path, cell) == whole
    with pytest.raises(BuildError, match="has changed since this run began"):
        lockfile.complete(path, unresolved(whole), unresolved(whole), cell)
    path.unlink()
    with pytest.raises(InputError, match="no lock yet"):
        lockfile.complete(path, unresolved(whole), whole, cell)
    assert not path.exists()


def test_digests_of_runs_at_once_are_all_noted(tmp_path: Path) -> None:
    """Each reads what is there and adds its own."""
    path, names = tmp_path / "bases.json", [f"python:3.{minor}-slim-bookworm" for minor in range(6, 16)]
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda name: bases.write_digests(path, path, {name: f"sha256:{'0' * 64}"}), names))
    assert sorted(bases.read_digests(path)) == sorted(names)


def test_a_folder_that_another_run_holds_is_waited_for(legacy: "tuple[Project, Cell, Lock]") -> None:
    """Such as by render, which writes there, too."""
    project, cell, whole = legacy
    path = project.images / cell.id / "lock.json"
    with ThreadPoolExecutor(1) as pool:
        with files.locked(project.images):
            done = pool.submit(locking._write_lock, project, whole, cell)
            time.sleep(0.2)
            assert not path.exists()
        assert done.result(10).startswith(cell.id)


def lacking(lock: Lock, cell: Cell) -> Lock:
    """The small lock as a cell's whose PyTorch has no hash yet, since nobody could ask its index."""
    torch, tag = f"{cell.torch}+{cell.flavour}", f"cp{cell.python.replace('.', '')}"
    file = f"torch-{torch}-{tag}-{tag}-manylinux_2_28_x86_64.whl"
    own = locks.Package(
        name="torch", version=torch, file=file, sha256=None, size=None, installed=None, origin=locks.PYTORCH
    )
    others = (dataclasses.replace(p, file=p.file.replace("cp311", tag)) for p in lock.packages if p.name != "torch")
    packages = tuple(
        sorted((own, *others, make_package("setuptools", "80", "py3-none-any")), key=lambda package: package.name)
    )
    return dataclasses.replace(lock, cell=cell.id, python=cell.python, inputs=inputs_digest(cell), packages=packages)


def test_locks_are_completed_before_building_begins(
    project: Project, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written, rendered and told; of one that can't be, the reason is returned, and its files stay."""
    project = dataclasses.replace(project, paths=Paths(ROOT, project.paths.matrix_file))
    one, other, whole = project.matrix.cells
    for cell in (one, other):
        files.write(project.paths.lock(cell.id), locks.to_text(lacking(lock, cell)))
    found = lacking(lock, whole)
    hashed = tuple(dataclasses.replace(p, sha256="ab" * 32, size=1, installed=1) for p in found.packages)
    files.write(project.paths.lock(whole.id), locks.to_text(dataclasses.replace(found, packages=hashed)))
    asked, said = list[str](), list[str]()

    def complete(unfinished: Lock, cell: Cell, host: Host, asking: pytorch.Asked) -> Lock:
        asked.append(cell.id)
        if cell == other:
            raise BuildError("the PyTorch index is silent")
        packages = tuple(dataclasses.replace(p, sha256="ab" * 32, size=1, installed=1) for p in unfinished.packages)
        return dataclasses.replace(unfinished, packages=packages)

    monkeypatch.setattr(resolve, "complete", complete)
    monkeypatch.setattr(locking, "read_host", Host)
    failed = locking.complete_locks(project, project.matrix.cells, said.append)
    assert {cell: error.what for cell, error in failed.items()} == {other.id: "the PyTorch index is silent"}
    assert sorted(asked) == sorted((one.id, other.id))
    assert not project.lock(one).unresolved
    assert project.lock(other).unresolved
    assert project.paths.dockerfile(one.id).exists()
    assert not project.paths.dockerfile(other.id).exists()
    assert said == [f"{one.id}: its lock is complete now; commit images/"]


def test_whole_locks_need_no_settings(project: Project, lock: Lock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is asked where nothing lacks."""
    monkeypatch.setattr(locking, "read_host", lambda: pytest.fail("it was asked for"))
    assert locking.complete_locks(project, (), lambda text: None) == {}
