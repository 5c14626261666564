"""Locks: what makes them stale, which wheel is chosen, how they are written."""

import dataclasses
import json
from pathlib import Path

import pytest

from torchdev import lock as locks
from torchdev.errors import InputError
from torchdev.lock import Lock
from torchdev.matrix import Cell


def test_lock_survives_writing_and_reading(tmp_path: Path, cell: Cell, lock: Lock) -> None:
    """What is written is read back equal."""
    path = tmp_path / "lock.json"
    path.write_text(locks.to_text(lock))
    assert locks.read_lock(path, cell) == lock


def test_one_package_a_line(lock: Lock) -> None:
    """So that one changed version is one changed line."""
    lines = locks.to_text(lock).splitlines()
    assert sum('"sha256"' in line for line in lines) == len(lock.packages) + 1
    json.loads("\n".join(lines))


@pytest.mark.parametrize("field", [{"requirements": ("torch==2.13.0",)}, {"python": "3.12"}, {"flavour": "cu126"}])
def test_stale_lock_names_the_command(tmp_path: Path, cell: Cell, lock: Lock, field: dict[str, object]) -> None:
    """A lock made for other inputs is refused."""
    path = tmp_path / "lock.json"
    path.write_text(locks.to_text(lock))
    changed = dataclasses.replace(cell, **field)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="stale") as caught:
        locks.read_lock(path, changed)
    assert caught.value.next_step == f"python build.py lock {changed.id}"


@pytest.mark.parametrize("text", ["", "{}", '{"packages": 1}', "[]"])
def test_malformed_lock_is_an_input_error(tmp_path: Path, cell: Cell, text: str) -> None:
    """No traceback, whatever stands in the file."""
    path = tmp_path / "lock.json"
    path.write_text(text)
    with pytest.raises(InputError, match="not a lock"):
        locks.read_lock(path, cell)


def test_missing_lock_names_the_command(tmp_path: Path, cell: Cell) -> None:
    """A cell without a lock says how to get one."""
    with pytest.raises(InputError, match="no lock yet"):
        locks.read_lock(tmp_path / "lock.json", cell)


def test_requirement_admits_one_wheel(lock: Lock) -> None:
    """Version and hash, as pip and uv read them."""
    assert lock.packages[0].requirement == f"cuda-bindings==13.5.0 --hash=sha256:{'ab' * 32}"


def test_wheels_that_do_not_depend_on_python_are_known_by_their_tags(lock: Lock) -> None:
    """py3-none wheels are shared, cp311 ones are not."""
    kinds = {package.name: package.any_python for package in lock.packages}
    assert kinds["nvidia-cublas"]
    assert not kinds["torch"]
    assert not kinds["cuda-bindings"]
