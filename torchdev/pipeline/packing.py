"""Packs cells into batches that a disk holds; cells that share most go together. Pure."""

from bisect import bisect_right, insort
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

Cells = tuple[str, ...]
Chains = Mapping[str, Sequence[str]]
"""Each cell's layers, lowest first."""
Items = Mapping[Hashable, int]
"""What building a cell puts on the disk: bytes by name. Equal names of several cells are stored once."""

TRIES = 8
"""How many batches are tried for a merge that only chance could allow: trying all pairs would take too long."""


@dataclass(frozen=True)
class Batches:
    """Cells to build together, batch by batch; and cells that are too large even alone."""

    batches: tuple[Cells, ...]
    too_large: Cells


def plan_batches(chains: Chains, items: "Mapping[str, Items]", room: int) -> Batches:
    """Pack cells into few batches of at most `room` bytes each, keeping cells that share layers together.

    Cells that have a layer in common are in one batch, if one batch holds them. A cell whose layers are all there needs
    nothing, and fits anywhere. It takes about n log n steps for n cells.
    """
    stock = _Stock({cell: items[cell] for cell in chains})
    large = {cell for cell in chains if stock.pile((cell,)).size > room}
    rest = tuple(cell for cell in chains if cell not in large)
    order = {cell: number for number, cell in enumerate(chains)}
    packed = _pack(rest, 0, chains, stock, room) if rest else []
    batches = (tuple(sorted(pile.cells, key=order.__getitem__)) for pile in packed)
    return Batches(
        tuple(sorted(batches, key=lambda batch: order[batch[0]])), tuple(cell for cell in chains if cell in large)
    )


def _pack(cells: Cells, depth: int, chains: Chains, stock: "_Stock", room: int) -> "list[_Pile]":
    """Batches for cells whose chains are equal below `depth`: one, or those of each branch, merged where they fit."""
    whole = stock.pile(cells)
    if len(cells) == 1 or whole.size <= room:
        return [whole]
    branches = _branches(cells, depth, chains)
    while len(branches) == 1:
        depth += 1
        branches = _branches(cells, depth, chains)
    merged = _Merged(stock, room, stock.common(whole))
    for branch in branches:
        for batch in _pack(branch, depth + 1, chains, stock, room):
            merged.add(batch)
    return merged.piles


def _branches(cells: Cells, depth: int, chains: Chains) -> "list[Cells]":
    """The cells by their layer at `depth`. A chain that ends there is a branch of its own, as is each of equal ones."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        name = chains[cell][depth] if depth < len(chains[cell]) else f"end of {cell}"
        found.setdefault(name, []).append(cell)
    return [tuple(branch) for branch in found.values()]


@dataclass
class _Pile:
    """Cells packed together: how many of them have each bundle, and the bytes of all bundles, each counted once."""

    cells: "list[str]"
    counts: "dict[int, int]"
    size: int


class _Stock:
    """All items of all cells, as bundles: items that the same cells have form one bundle, known by a number."""

    def __init__(self, items: "Mapping[str, Items]") -> None:
        holders: dict[Hashable, list[int]] = {}
        bytes_of: dict[Hashable, int] = {}
        for number, own in enumerate(items.values()):
            for name, size in own.items():
                holders.setdefault(name, []).append(number)
                bytes_of[name] = max(size, bytes_of.get(name, 0))
        bundles: dict[tuple[int, ...], int] = {}
        for name, size in bytes_of.items():
            key = tuple(holders[name])
            bundles[key] = bundles.get(key, 0) + size
        self._sizes = list(bundles.values())
        self._holders = [len(key) for key in bundles]
        names = list(items)
        self._bundles: dict[str, list[int]] = {cell: [] for cell in names}
        for bundle, key in enumerate(bundles):
            for number in key:
                self._bundles[names[number]].append(bundle)

    def pile(self, cells: "Iterable[str]") -> _Pile:
        """Some cells put together."""
        cells = list(cells)
        counts: dict[int, int] = {}
        for cell in cells:
            for bundle in self._bundles[cell]:
                counts[bundle] = counts.get(bundle, 0) + 1
        return _Pile(cells, counts, self._bytes(counts))

    def common(self, pile: _Pile) -> int:
        """Bytes that all cells of a pile have in common."""
        return self._bytes(bundle for bundle, count in pile.counts.items() if count == len(pile.cells))

    def own(self, pile: _Pile) -> int:
        """Bytes that no cell outside of a pile has."""
        return self._bytes(bundle for bundle, count in pile.counts.items() if count == self._holders[bundle])

    def together(self, one: _Pile, other: _Pile) -> int:
        """Bytes of two piles merged."""
        small, large = sorted((one, other), key=lambda pile: len(pile.counts))
        return large.size + self._bytes(bundle for bundle in small.counts if bundle not in large.counts)

    def merge(self, one: _Pile, other: _Pile) -> _Pile:
        """Merge two piles, both of which are used up. The work is that of the smaller one."""
        size = self.together(one, other)
        small, large = sorted((one, other), key=lambda pile: len(pile.counts))
        for bundle, count in small.counts.items():
            large.counts[bundle] = large.counts.get(bundle, 0) + count
        large.cells.extend(small.cells)
        large.size = size
        return large

    def _bytes(self, bundles: "Iterable[int]") -> int:
        return sum(self._sizes[bundle] for bundle in bundles)


class _Merged:
    """Batches to which others are added: each joins the fullest one that surely has room, or else stands alone."""

    def __init__(self, stock: _Stock, room: int, common: int) -> None:
        self._stock, self._room, self._common = stock, room, common
        self._made: list[_Pile] = []
        self._order: list[tuple[int, int]] = []

    @property
    def piles(self) -> "list[_Pile]":
        """The batches so far."""
        return [self._made[number] for _, number in self._order]

    def add(self, batch: _Pile) -> None:
        """Add one more batch."""
        index = self._index(batch)
        if index is None:
            number = len(self._made)
            self._made.append(batch)
        else:
            _, number = self._order.pop(index)
            self._made[number] = batch = self._stock.merge(self._made[number], batch)
        insort(self._order, (batch.size, number))

    def _index(self, batch: _Pile) -> "int | None":
        """The index, from the emptiest to the fullest, of the batch that has room for another one."""
        sure = bisect_right(self._order, (self._room - batch.size + self._common, inf)) - 1
        if sure >= 0:
            return sure
        own = self._stock.own(batch)
        for index, (size, number) in enumerate(self._order[:TRIES]):
            if size + own > self._room:
                break
            if self._stock.together(self._made[number], batch) <= self._room:
                return index
        return None
