"""Locks: what makes them stale, which wheel is chosen, how they are written."""

import json
from pathlib import Path

from torchdev.matrix.load import Cell
from torchdev.wheels import lock as locks
from torchdev.wheels import lockfile
from torchdev.wheels.lock import Lock


def test_lock_survives_writing_and_reading(tmp_path: Path, cell: Cell, lock: Lock) -> None:
    """What is written is read back equal."""
    path = tmp_path / "lock.json"
    path.write_text(locks.to_text(lock))
    assert lockfile.read_lock(path, cell) == lock


def test_one_package_a_line(lock: Lock) -> None:
    """So that one changed version is one changed line."""
    lines = locks.to_text(lock).splitlines()
    assert sum('"sha256"' in line for line in lines) == len(lock.packages) + 1
    json.loads("\n".join(lines))


def test_requirement_admits_one_wheel(lock: Lock) -> None:
    """Version and hash, as pip and uv read them."""
    assert lock.packages[0].requirement == f"cuda-bindings==13.5.0 --hash=sha256:{'ab' * 32}"


def test_wheels_that_do_not_depend_on_python_are_known_by_their_tags(lock: Lock) -> None:
    """py3-none wheels are shared, cp311 ones are not."""
    kinds = {package.name: package.any_python for package in lock.packages}
    assert kinds["nvidia-cublas"]
    assert not kinds["torch"]
    assert not kinds["cuda-bindings"]
