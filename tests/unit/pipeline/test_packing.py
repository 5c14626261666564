"""Batches: each fits, nothing is lost, and what shares stays together."""

import itertools
import random
import sys
from collections.abc import Callable, Iterable
from types import FrameType

import pytest

from torchdev.pipeline import packing
from torchdev.pipeline.packing import Batches, plan_batches

Chains = dict[str, tuple[str, ...]]
Items = dict[str, dict[str, int]]


def items_of(chains: Chains, sizes: "dict[str, int]") -> Items:
    """Each cell's layers and their sizes."""
    return {cell: {layer: sizes[layer] for layer in chain} for cell, chain in chains.items()}


def need_of(items: Items) -> "Callable[[Iterable[str]], int]":
    """The sizes of all that some cells have, each once."""
    return lambda cells: sum({name: size for cell in cells for name, size in items[cell].items()}.values())


def forest(seed: int) -> "tuple[Chains, dict[str, int]]":
    """Cells as matrices have them: three levels of branches, of random width and sizes; the same for the same seed."""
    chance = random.Random(seed)
    chains: Chains = {}
    for base in range(chance.randint(1, 3)):
        for cuda in range(chance.randint(1, 4)):
            for top in range(chance.randint(1, 4)):
                chains[f"cell{base}{cuda}{top}"] = (f"b{base}", f"b{base}c{cuda}", f"b{base}c{cuda}t{top}")
    sizes = {layer: chance.randint(1, 9) for chain in chains.values() for layer in chain}
    names = list(chains)
    chance.shuffle(names)
    return {name: chains[name] for name in names}, sizes


SEEDS = range(60)


@pytest.mark.parametrize("room", [5, 12, 20, 40, 100])
def test_each_batch_fits_and_nothing_is_lost(room: int) -> None:
    """Every cell is in exactly one batch, or too large by itself; no batch takes more than the room."""
    for seed in SEEDS:
        chains, sizes = forest(seed)
        items = items_of(chains, sizes)
        need, found = need_of(items), plan_batches(chains, items, room)
        assert sorted([*itertools.chain(*found.batches), *found.too_large]) == sorted(chains), seed
        assert all(batch and need(batch) <= room for batch in found.batches), seed
        assert all(need((cell,)) > room for cell in found.too_large), seed


@pytest.mark.parametrize("room", [5, 12, 20, 40, 100])
def test_cells_that_share_stay_together_where_they_fit(room: int) -> None:
    """For each layer: if all cells that have it fit into one batch, they are in one."""
    for seed in SEEDS:
        chains, sizes = forest(seed)
        items = items_of(chains, sizes)
        need, found = need_of(items), plan_batches(chains, items, room)
        for layer in sizes:
            cells = tuple(cell for cell in chains if layer in chains[cell])
            if need(cells) <= room:
                assert sum(any(cell in batch for cell in cells) for batch in found.batches) == 1, seed


def test_no_two_batches_would_fit_into_one() -> None:
    """Else a batch was for nothing."""
    for seed in SEEDS:
        chains, sizes = forest(seed)
        items = items_of(chains, sizes)
        need = need_of(items)
        for one, other in itertools.combinations(plan_batches(chains, items, 20).batches, 2):
            assert need((*one, *other)) > 20, seed


@pytest.mark.parametrize("room", [12, 20, 40])
def test_wheels_that_branches_have_in_common_count_once(room: int) -> None:
    """Items beside the chains, as files of wheels: batches fit by the bytes of all that is in them, each once."""
    for seed in SEEDS:
        chains, sizes = forest(seed)
        chance = random.Random(f"wheels {seed}")
        items = items_of(chains, sizes)
        for own in items.values():
            own |= {f"wheel {n}": 3 for n in chance.sample(range(6), 2)}
        need, found = need_of(items), plan_batches(chains, items, room)
        assert sorted([*itertools.chain(*found.batches), *found.too_large]) == sorted(chains), seed
        assert all(need(batch) <= room for batch in found.batches), seed
        assert all(need((cell,)) > room for cell in found.too_large), seed


def test_two_branches_fit_since_they_have_a_wheel_in_common() -> None:
    """Counted twice, it would make two batches."""
    chains: Chains = {"a": ("base", "a"), "b": ("base", "b"), "c": ("base", "c")}
    items = {"a": {"base": 1, "x": 2, "wheel": 5}, "b": {"base": 1, "y": 2, "wheel": 5}, "c": {"base": 1, "z": 9}}
    assert plan_batches(chains, items, 10) == Batches((("a", "b"), ("c",)), ())


def steps(cells: int, room: int) -> int:
    """How many lines plan_batches runs, for cells of a hundred branches, each with a layer of its own."""
    chains = {f"c{n}": ("base", f"cuda{n % 100}", f"torch{n % 700}", f"c{n}") for n in range(cells)}
    items: Items = {cell: dict.fromkeys(chain, 3) | {f"wheel {len(cell)}": 2} for cell, chain in chains.items()}
    count = 0

    def line(frame: FrameType, event: str, argument: object) -> object:
        nonlocal count
        count += event == "line"
        return line

    def call(frame: FrameType, event: str, argument: object) -> object:
        return line if frame.f_code.co_filename == packing.__file__ else None

    before = sys.gettrace()
    sys.settrace(call)  # type: ignore[arg-type]
    try:
        plan_batches(chains, items, room)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("room", [14, 40, 1000])
def test_work_grows_with_the_cells(room: int) -> None:
    """Four times the cells take about four times the steps, whether a batch has one cell, several or many."""
    assert steps(4000, room) < 6 * steps(1000, room)


def test_room_for_all_is_one_batch() -> None:
    """In the order of the matrix."""
    chains, sizes = forest(1)
    assert plan_batches(chains, items_of(chains, sizes), 10**9) == Batches((tuple(chains),), ())


def test_cells_that_are_there_need_no_room() -> None:
    """Not even where nothing else fits."""
    chains: Chains = {"there": ("base", "cuda"), "large": ("base", "cuda", "torch")}
    sizes = {"base": 0, "cuda": 0, "torch": 10}
    assert plan_batches(chains, items_of(chains, sizes), 5) == Batches((("there",),), ("large",))


def test_equal_cells_are_no_endless_branch() -> None:
    """Two of the same layers that fit only one by one, as wheels that are counted elsewhere may make it."""
    chains: Chains = {"a": ("base",), "b": ("base",)}
    items = {"a": {"a wheel": 1}, "b": {"another": 1}}
    assert plan_batches(chains, items, 1) == Batches((("a",), ("b",)), ())


def test_nothing_is_no_batch() -> None:
    """No cells, no batches."""
    assert plan_batches({}, {}, 1) == Batches((), ())
