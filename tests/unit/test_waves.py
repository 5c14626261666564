"""Waves: each fits, nothing is lost, and what shares stays together."""

import itertools
import random
from collections.abc import Callable

import pytest

from torchdev.waves import Cells, Waves, plan_waves

Chains = dict[str, tuple[str, ...]]


def need_of(chains: Chains, sizes: "dict[str, int]") -> Callable[[Cells], int]:
    """The sizes of all layers that some cells have, each once."""
    return lambda cells: sum(sizes[layer] for layer in {layer for cell in cells for layer in chains[cell]})


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


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("room", [5, 12, 20, 40, 100])
def test_each_wave_fits_and_nothing_is_lost(seed: int, room: int) -> None:
    """Every cell is in exactly one wave, or too large by itself; no wave takes more than the room."""
    chains, sizes = forest(seed)
    need = need_of(chains, sizes)
    found = plan_waves(chains, need, room)
    assert sorted([*itertools.chain(*found.waves), *found.too_large]) == sorted(chains)
    assert all(wave and need(wave) <= room for wave in found.waves)
    assert all(need((cell,)) > room for cell in found.too_large)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("room", [5, 12, 20, 40, 100])
def test_cells_that_share_stay_together_where_they_fit(seed: int, room: int) -> None:
    """For each layer: if all cells that have it fit into one wave, they are in one."""
    chains, sizes = forest(seed)
    need = need_of(chains, sizes)
    found = plan_waves(chains, need, room)
    for layer in sizes:
        cells = tuple(cell for cell in chains if layer in chains[cell])
        if need(cells) <= room:
            assert sum(any(cell in wave for cell in cells) for wave in found.waves) == 1


@pytest.mark.parametrize("seed", range(60))
def test_no_two_waves_would_fit_into_one(seed: int) -> None:
    """Else a wave was for nothing."""
    chains, sizes = forest(seed)
    need = need_of(chains, sizes)
    for one, other in itertools.combinations(plan_waves(chains, need, 20).waves, 2):
        assert need((*one, *other)) > 20


def test_room_for_all_is_one_wave() -> None:
    """In the order of the matrix."""
    chains, sizes = forest(1)
    assert plan_waves(chains, need_of(chains, sizes), 10**9) == Waves((tuple(chains),), ())


def test_cells_that_are_there_need_no_room() -> None:
    """Not even where nothing else fits."""
    chains: Chains = {"there": ("base", "cuda"), "large": ("base", "cuda", "torch")}
    sizes = {"base": 0, "cuda": 0, "torch": 10}
    assert plan_waves(chains, need_of(chains, sizes), 5) == Waves((("there",),), ("large",))


def test_equal_cells_are_no_endless_branch() -> None:
    """Two of the same layers that fit only one by one, as wheels that are counted elsewhere may make it."""
    chains: Chains = {"a": ("base",), "b": ("base",)}
    assert plan_waves(chains, len, 1) == Waves((("a",), ("b",)), ())


def test_nothing_is_no_wave() -> None:
    """No cells, no waves."""
    assert plan_waves({}, len, 1) == Waves((), ())
