"""The backlog: cells still to be built on a small disk, planned as batches."""

from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable

from torchdev.image.plan import Plan
from torchdev.pipeline.estimate import chain, items
from torchdev.pipeline.packing import Cells, Items, plan_batches

Needs = Callable[[str], Items]
"""A function from a cell to what building it would put on the disk now."""


class Backlog:
    """Cells still to be built. Batches are planned once; a batch that no longer fits when it is due is planned again.

    The room and the wheels that are there change with every batch, but few batches stop fitting because of it. So the
    work grows with the cells, and not with cells times batches.
    """

    def __init__(self, plans: "Iterable[Plan]") -> None:
        self._plans = {plan.cell.id: plan for plan in plans}
        self._batches: deque[Cells] = deque()
        # Cells of no batch: at first all of them, later those that were too large for the room at the time.
        self._unplanned: Cells = tuple(self._plans)

    @property
    def left(self) -> Cells:
        """The cells that are left."""
        return tuple(self._plans)

    def take(self, present: "Collection[str]", cached: "Collection[str]", room: "int | None") -> "tuple[Plan, ...]":
        """The next batch; empty if no cell is left, or if none fits. All cells if the room is not known.

        `present` names the layers that are there, `cached` has the sha256 of wheels whose files are there; `room` is in
        bytes.
        """
        batch = self.left if room is None else self._next(lambda cell: items(self._plans[cell], present, cached), room)
        return tuple(self._plans.pop(cell) for cell in batch)

    def _next(self, needs: Needs, room: int) -> Cells:
        while batch := self._due(needs, room):
            found = _together(batch, needs)
            if sum(found.values()) <= room:
                return self._filled(batch, found, needs, room)
            self._plan(batch, needs, room)
        return ()

    def _due(self, needs: Needs, room: int) -> Cells:
        """The first of the planned batches; if none is left, cells that were too large are planned again."""
        if not self._batches:
            unplanned, self._unplanned = self._unplanned, ()
            self._plan(unplanned, needs, room)
        return self._batches.popleft() if self._batches else ()

    def _plan(self, cells: Cells, needs: Needs, room: int) -> None:
        """Plan batches of some cells, to be built before those that are planned already."""
        chains = {cell: chain(self._plans[cell]) for cell in cells}
        found = plan_batches(chains, {cell: needs(cell) for cell in cells}, room)
        self._unplanned += found.too_large
        self._batches.extendleft(reversed(found.batches))

    def _filled(self, batch: Cells, found: "dict[Hashable, int]", needs: Needs, room: int) -> Cells:
        """A batch that puts `found` on the disk, joined by the batches after it that fit beside it."""
        room -= sum(found.values())
        while self._batches:
            more = {name: size for name, size in _together(self._batches[0], needs).items() if name not in found}
            room -= sum(more.values())
            if room < 0:
                break
            batch += self._batches.popleft()
            found |= more
        return batch


def _together(cells: Cells, needs: Needs) -> "dict[Hashable, int]":
    """What some cells put on the disk, each item once."""
    found: dict[Hashable, int] = {}
    for cell in cells:
        found.update(needs(cell))
    return found
