"""Batches: for any forest of layers each fits, nothing is lost, what shares stays together; the work that many take."""

import itertools
import sys
from collections.abc import Callable, Iterable
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchdev.pipeline import packing
from torchdev.pipeline.packing import Batches, plan_batches

Chains = dict[str, tuple[str, ...]]
Items = dict[str, dict[str, int]]
WHEEL = 3
"""The size of each wheel."""
ROOMS = st.sampled_from((5, 12, 20, 40, 100)) | st.integers(1, 120)
BRANCHES = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=4), min_size=1, max_size=3)
"""How many cells each branch of each base has."""


@st.composite
def forests(draw: st.DrawFn) -> "tuple[Chains, Items]":
    """Cells as matrices have them, in any order: three levels of branches, of any width; each cell's layers and sizes.

    Layers and cells are numbered.
    """
    chains = {
        f"cell{base}{cuda}{top}": (f"b{base}", f"b{base}c{cuda}", f"b{base}c{cuda}t{top}")
        for base, tops in enumerate(draw(BRANCHES))
        for cuda, count in enumerate(tops)
        for top in range(count)
    }
    layers = sorted({layer for chain in chains.values() for layer in chain})
    drawn = draw(st.lists(st.integers(1, 9), min_size=len(layers), max_size=len(layers)))
    sizes = dict(zip(layers, drawn, strict=True))
    chains = {cell: chains[cell] for cell in draw(st.permutations(list(chains)))}
    return chains, {cell: {layer: sizes[layer] for layer in chain} for cell, chain in chains.items()}


@st.composite
def forests_with_wheels(draw: st.DrawFn) -> "tuple[Chains, Items]":
    """The same, with two of six wheels for each cell beside its layers."""
    chains, items = draw(forests())
    pairs = st.sampled_from(list(itertools.combinations(range(6), 2)))
    for own in items.values():
        own |= {f"wheel {number}": WHEEL for number in draw(pairs)}
    return chains, items


def need_of(items: Items) -> "Callable[[Iterable[str]], int]":
    """The sizes of all that some cells have, each once."""
    return lambda cells: sum({name: size for cell in cells for name, size in items[cell].items()}.values())


@given(forest=forests(), room=ROOMS)
def test_each_batch_fits_and_nothing_is_lost(forest: "tuple[Chains, Items]", room: int) -> None:
    """Every cell is in exactly one batch, or too large by itself; no batch takes more than the room."""
    chains, items = forest
    need, found = need_of(items), plan_batches(chains, items, room)
    assert sorted([*itertools.chain(*found.batches), *found.too_large]) == sorted(chains)
    assert all(batch and need(batch) <= room for batch in found.batches)
    assert all(need((cell,)) > room for cell in found.too_large)


@given(forest=forests(), room=ROOMS)
def test_cells_that_share_stay_together_where_they_fit(forest: "tuple[Chains, Items]", room: int) -> None:
    """For each layer: if all cells that have it fit into one batch, they are in one."""
    chains, items = forest
    need, found = need_of(items), plan_batches(chains, items, room)
    for layer in {layer for chain in chains.values() for layer in chain}:
        cells = tuple(cell for cell in chains if layer in chains[cell])
        if need(cells) <= room:
            assert sum(any(cell in batch for cell in cells) for batch in found.batches) == 1


@given(forest=forests(), room=ROOMS)
def test_no_two_batches_would_fit_into_one(forest: "tuple[Chains, Items]", room: int) -> None:
    """Else a batch was for nothing."""
    chains, items = forest
    need = need_of(items)
    for one, other in itertools.combinations(plan_batches(chains, items, room).batches, 2):
        assert need((*one, *other)) > room


@given(forest=forests_with_wheels(), room=ROOMS)
def test_wheels_that_branches_have_in_common_count_once(forest: "tuple[Chains, Items]", room: int) -> None:
    """Items beside the chains, as files of wheels: batches fit by the bytes of all that is in them, each once."""
    chains, items = forest
    need, found = need_of(items), plan_batches(chains, items, room)
    assert sorted([*itertools.chain(*found.batches), *found.too_large]) == sorted(chains)
    assert all(need(batch) <= room for batch in found.batches)
    assert all(need((cell,)) > room for cell in found.too_large)


@given(forest=forests())
def test_room_for_all_is_one_batch(forest: "tuple[Chains, Items]") -> None:
    """In the order of the matrix."""
    chains, items = forest
    assert plan_batches(chains, items, 10**9) == Batches((tuple(chains),), ())


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


def test_cells_that_are_there_need_no_room() -> None:
    """Not even where nothing else fits."""
    chains: Chains = {"there": ("base", "cuda"), "large": ("base", "cuda", "torch")}
    items = {"there": {"base": 0, "cuda": 0}, "large": {"base": 0, "cuda": 0, "torch": 10}}
    assert plan_batches(chains, items, 5) == Batches((("there",),), ("large",))


def test_equal_cells_are_no_endless_branch() -> None:
    """Two of the same layers that fit only one by one, as wheels that are counted elsewhere may make it."""
    chains: Chains = {"a": ("base",), "b": ("base",)}
    items = {"a": {"a wheel": 1}, "b": {"another": 1}}
    assert plan_batches(chains, items, 1) == Batches((("a",), ("b",)), ())


def test_nothing_is_no_batch() -> None:
    """No cells, no batches."""
    assert plan_batches({}, {}, 1) == Batches((), ())
