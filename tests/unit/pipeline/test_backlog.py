"""What is still to be built: each batch fits when it is due, and planning takes no longer for more batches."""

import dataclasses

import pytest

from torchdev.image.plan import Layer, Plan
from torchdev.pipeline import backlog
from torchdev.pipeline.backlog import Backlog
from torchdev.pipeline.estimate import needed, wheel_files


def copies(first: Plan, count: int) -> "list[Plan]":
    """Cells of other Pythons, each with wheels of its own."""

    def own(layer: Layer, number: int) -> Layer:
        wheels = (dataclasses.replace(p, sha256=f"{p.sha256}-{number}") for p in layer.packages)
        return dataclasses.replace(layer, packages=tuple(wheels))

    def one(number: int) -> Plan:
        cell = dataclasses.replace(first.cell, python=f"3.{number}")
        return dataclasses.replace(first, cell=cell, layers=tuple(own(layer, number) for layer in first.layers))

    return [one(number) for number in range(100, 100 + count)]


def ids(plans: "tuple[Plan, ...]") -> "list[str]":
    """The cells of a batch."""
    return [plan.cell.id for plan in plans]


def test_every_cell_is_taken_once_and_fits(first: Plan) -> None:
    """Wheels stay on the disk after their batch, so there is less room with each."""
    plans = copies(first, 7)
    room, cached, taken = needed(plans[:3], ()), set[str](), list[str]()
    left = Backlog(plans)
    while batch := left.take((), cached, room):
        assert needed(batch, (), cached) <= room
        files = wheel_files(batch, ())
        cached, room = cached | files.keys(), room - sum(files.values())
        taken += ids(batch)
    assert (sorted(taken), left.left) == (sorted(plan.cell.id for plan in plans), ())


def test_without_a_known_disk_all_is_one_batch(first: Plan) -> None:
    """Then there is nothing more."""
    left = Backlog(copies(first, 3))
    assert len(left.take((), (), None)) == 3
    assert left.take((), (), None) == ()


def test_a_batch_that_no_longer_fits_is_planned_anew(first: Plan) -> None:
    """Somebody else has filled the disk meanwhile: two batches instead of one; and one again, when there is room."""
    one, two, three, four = plans = copies(first, 4)
    left = Backlog(plans)
    assert ids(left.take((), (), needed([one, two], ()))) == ids((one, two))
    assert ids(left.take((), (), needed([three], ()))) == ids((three,))
    assert left.take((), (), needed([four], ()) - 1) == ()
    assert left.left == (four.cell.id,)
    assert ids(left.take((), (), needed([four], ()))) == ids((four,))


def test_cells_that_were_too_large_are_tried_again(first: Plan) -> None:
    """After those that fit, in one batch where there is room by then."""
    small, *large = copies(first, 3)
    large = [dataclasses.replace(plan, layers=(grown(plan.layers[0]), *plan.layers[1:])) for plan in large]
    left = Backlog([*large, small])
    assert ids(left.take((), (), needed([small], ()))) == ids((small,))
    assert ids(left.take((), (), needed(large, ()))) == ids(tuple(large))


def grown(layer: Layer) -> Layer:
    """The layer with a wheel that unpacks to much more."""
    first, *others = layer.packages
    return dataclasses.replace(layer, packages=(dataclasses.replace(first, installed=10**12), *others))


def test_batches_are_merged_when_wheels_are_there(first: Plan) -> None:
    """What is fetched needs no room any more: batches that were planned apart go together."""
    one, two, three = plans = copies(first, 3)
    left = Backlog(plans)
    room = needed([one], ())
    assert ids(left.take((), (), room)) == ids((one,))
    assert ids(left.take((), wheel_files([two, three], ()), 2 * room)) == ids((two, three))


@pytest.mark.parametrize("count", [10, 80])
def test_planning_does_not_multiply(first: Plan, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every cell it is asked only a few times what it needs, however many batches there are."""
    asked = 0
    real = backlog.items

    def counted(*arguments: object) -> object:
        nonlocal asked
        asked += 1
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(backlog, "items", counted)
    plans = copies(first, count)
    left, batches = Backlog(plans), 0
    while left.take((), (), needed(plans[:1], ())):
        batches += 1
    assert batches == count
    assert asked <= 4 * count
