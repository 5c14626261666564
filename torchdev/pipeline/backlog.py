"""Cells that are still to be built on a small disk, and the next wave of them; it remembers the waves it planned."""

from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable

from torchdev.image.plan import Plan
from torchdev.pipeline.estimate import chain, items
from torchdev.pipeline.waves import Cells, Items, plan_waves

Needs = Callable[[str], Items]
"""What building a cell would put on the disk now."""


class Backlog:
    """Cells still to be built. Their waves are planned once; one that does not fit, when it is due, is planned anew.

    Room, and the wheels that are there, change with every wave, but few waves are such that they no longer fit. So the
    work grows with the cells, and not with cells times waves.
    """

    def __init__(self, plans: "Iterable[Plan]") -> None:
        self._plans = {plan.cell.id: plan for plan in plans}
        self._waves: deque[Cells] = deque()
        # Cells of no wave: at first all of them, then those that were too large for the room that there was.
        self._unplanned: Cells = tuple(self._plans)

    @property
    def left(self) -> Cells:
        """The cells that were not taken."""
        return tuple(self._plans)

    def take(self, present: "Collection[str]", cached: "Collection[str]", room: "int | None") -> "tuple[Plan, ...]":
        """The next wave; none, where no cell is left, or none fits. All cells, where the room is not known.

        `present` names the layers that are there, `cached` are sha256 of wheels whose files are; `room` is in bytes.
        """
        wave = self.left if room is None else self._next(lambda cell: items(self._plans[cell], present, cached), room)
        return tuple(self._plans.pop(cell) for cell in wave)

    def _next(self, needs: Needs, room: int) -> Cells:
        while wave := self._due(needs, room):
            found = _together(wave, needs)
            if sum(found.values()) <= room:
                return self._filled(wave, found, needs, room)
            self._plan(wave, needs, room)
        return ()

    def _due(self, needs: Needs, room: int) -> Cells:
        """The first of the planned waves; where none is left, what was too large is planned again."""
        if not self._waves:
            unplanned, self._unplanned = self._unplanned, ()
            self._plan(unplanned, needs, room)
        return self._waves.popleft() if self._waves else ()

    def _plan(self, cells: Cells, needs: Needs, room: int) -> None:
        """Plan waves of some cells, to come before those that are planned already."""
        chains = {cell: chain(self._plans[cell]) for cell in cells}
        found = plan_waves(chains, {cell: needs(cell) for cell in cells}, room)
        self._unplanned += found.too_large
        self._waves.extendleft(reversed(found.waves))

    def _filled(self, wave: Cells, found: "dict[Hashable, int]", needs: Needs, room: int) -> Cells:
        """A wave that puts `found` on the disk, with those after it that fit in beside it now that wheels are there."""
        room -= sum(found.values())
        while self._waves:
            more = {name: size for name, size in _together(self._waves[0], needs).items() if name not in found}
            room -= sum(more.values())
            if room < 0:
                break
            wave += self._waves.popleft()
            found |= more
        return wave


def _together(cells: Cells, needs: Needs) -> "dict[Hashable, int]":
    """What some cells put on the disk, each item once."""
    found: dict[Hashable, int] = {}
    for cell in cells:
        found.update(needs(cell))
    return found
