"""Contracts of any cell and lock: they say what the lock says, agree with what writes labels, and forget nothing."""

import dataclasses
import json

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wheels.test_properties_lock import pairs
from torchdev.catalog.bases import bases_of
from torchdev.image.contract import make_contract, size_limit, to_text
from torchdev.image.plan import make_plan
from torchdev.matrix.load import Cell
from torchdev.wheels.lock import Lock


@given(pair=pairs())
def test_what_is_written_is_what_is_meant(pair: "tuple[Cell, Lock]") -> None:
    """As JSON, equal each time; it has each package of the lock by its version; torch may add its CUDA variant."""
    contract = make_contract(*pair)
    assert json.loads(to_text(contract)) == contract == make_contract(*pair)
    locked = {package.name: package.version for package in pair[1].packages}
    said = contract["packages"]
    assert {**said, "torch": locked["torch"]} == locked
    assert said["torch"] in (locked["torch"], f"{locked['torch']}+{pair[0].flavour}")
    assert contract["cell"] == pair[0].id


@given(pair=pairs(), image=st.sampled_from(("torchdev", "ghcr.io/owner/torchdev")))
def test_labels_are_those_that_the_plan_writes(pair: "tuple[Cell, Lock]", image: str) -> None:
    """Two sides that do not ask each other say the same of any cell, but for its bases."""
    cell, lock = pair
    labels = make_plan(image, cell, lock, bases_of(cell.python, {}), ()).labels
    assert make_contract(cell, lock)["labels"] == {key: value for key, value in labels.items() if ".base." not in key}


@given(pair=pairs(), size=st.integers(0, 10**12))
def test_limit_of_the_size_grows_with_what_is_installed(pair: "tuple[Cell, Lock]", size: int) -> None:
    """There is none while the size of some wheel is not known; one byte more never lowers it."""
    cell, lock = pair
    unknown = any(package.installed is None for package in lock.packages)
    assert (size_limit(cell, lock) is None) == unknown
    known, more = (
        dataclasses.replace(lock, packages=tuple(dataclasses.replace(p, installed=n) for p in lock.packages))
        for n in (size, size + 1)
    )
    before, after = size_limit(cell, known), size_limit(cell, more)
    assert before is not None
    assert after is not None
    assert before <= after
    assert before >= size * len(lock.packages) // 2


@given(pair=pairs(), number=st.integers(0, 100), version=st.sampled_from(("0.0.1", "99.1")))
def test_another_lock_is_another_contract(pair: "tuple[Cell, Lock]", number: int, version: str) -> None:
    """One version changed anywhere shows."""
    cell, lock = pair
    at = number % len(lock.packages)
    changed = dataclasses.replace(lock.packages[at], version=version)
    other = dataclasses.replace(lock, packages=(*lock.packages[:at], changed, *lock.packages[at + 1 :]))
    same = lock.packages[at].version == version
    assert (make_contract(cell, other) == make_contract(cell, lock)) == same
