"""Cells into waves, each of which a disk holds; those that share most go together. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Cells = tuple[str, ...]
Need = Callable[[Cells], int]
"""The bytes that building some cells together takes on the disk; never less for more cells."""


@dataclass(frozen=True)
class Waves:
    """Cells to build together, wave by wave; and those that are too large by themselves."""

    waves: tuple[Cells, ...]
    too_large: Cells


def plan_waves(chains: "Mapping[str, Sequence[str]]", need: Need, room: int) -> Waves:
    """As few waves as come of keeping together what shares; each takes at most `room` bytes.

    `chains` names each cell's layers, lowest first. Cells that have a layer in common are in one wave, if together they
    fit into one. Cells of which all is there need nothing, and fit anywhere.
    """
    if chains and need(tuple(chains)) <= room:
        return Waves((tuple(chains),), ())
    too_large = tuple(cell for cell in chains if need((cell,)) > room)
    rest = tuple(cell for cell in chains if cell not in too_large)
    waves = _pack(rest, 0, chains, need, room) if rest else []
    order = {cell: number for number, cell in enumerate(chains)}
    ordered = (tuple(sorted(wave, key=order.__getitem__)) for wave in waves)
    return Waves(tuple(sorted(ordered, key=lambda wave: order[wave[0]])), too_large)


def _pack(cells: Cells, depth: int, chains: "Mapping[str, Sequence[str]]", need: Need, room: int) -> "list[Cells]":
    """Waves for cells whose chains are equal below `depth`: one, or those of each branch, merged where they fit."""
    if len(cells) == 1 or need(cells) <= room:
        return [cells]
    branches: dict[str, Cells] = {}
    for cell in cells:
        # A chain that ends here is a branch of its own, as is each of several equal ones.
        name = chains[cell][depth] if depth < len(chains[cell]) else f"end of {cell}"
        branches[name] = (*branches.get(name, ()), cell)
    merged: list[Cells] = []
    for branch in branches.values():
        for wave in _pack(branch, depth + 1, chains, need, room):
            fit = next((n for n, other in enumerate(merged) if need((*other, *wave)) <= room), None)
            if fit is None:
                merged.append(wave)
            else:
                merged[fit] = (*merged[fit], *wave)
    return merged
