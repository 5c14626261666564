"""The capacity check: the size estimate of some cells, compared with the engine's disk, as batches. Pure."""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass

from torchdev.image.plan import Plan
from torchdev.pipeline.backlog import Backlog
from torchdev.pipeline.estimate import LayerEstimate, estimate_layers, needed, total, wheel_files
from torchdev.pipeline.packing import Batches, Cells
from torchdev.pipeline.run_lock import RESERVE
from torchdev.util import tables
from torchdev.util.errors import BuildError
from torchdev.util.texts import json_text

NAMED = 10
"""An error names at most so many cells."""


@dataclass(frozen=True, kw_only=True)
class CapacityCheck:
    """A size estimate, compared with a disk. `needed` and `room` are bytes: for building, and that may be written.

    `each` has the bytes that each batch needs; `room` is None if the disk can't be seen. `cache` has the bytes of build
    cache that no image uses: a build that was cut off may reuse them, and they can be pruned.
    """

    layers: tuple[LayerEstimate, ...]
    needed: int
    room: "int | None"
    batches: Batches
    each: tuple[int, ...]
    cache: int = 0

    @property
    def enough(self) -> bool:
        """Whether the disk holds all cells at once, as far as is known."""
        return self.room is None or self.needed <= self.room + self.cache


def check(
    plans: "Iterable[Plan]", local: "Collection[str]", present: "Collection[str]", room: "int | None", cache: int = 0
) -> CapacityCheck:
    """Compare a size estimate with the bytes that may be written; `present` names the layers that are there."""
    plans = tuple(plans)
    layers = tuple(estimate_layers(plans, local, present))
    batches, each = _one_by_one(plans, present, room)
    return CapacityCheck(
        layers=layers, needed=needed(plans, present), room=room, batches=batches, each=each, cache=cache
    )


def _one_by_one(
    plans: "tuple[Plan, ...]", present: "Collection[str]", room: "int | None"
) -> "tuple[Batches, tuple[int, ...]]":
    """The batches of a run, and the bytes of each; a batch begins when the one before is removed, except its wheels."""
    backlog, cached, spent = Backlog(plans), set[str](), 0
    batches: list[tuple[Cells, int]] = []
    while batch := backlog.take(present, cached, None if room is None else room - spent):
        batches.append((tuple(plan.cell.id for plan in batch), needed(batch, present, cached)))
        new = {sha: size for sha, size in wheel_files(batch, present).items() if sha not in cached}
        cached |= new.keys()
        spent += sum(new.values())
    return Batches(tuple(cells for cells, _ in batches), backlog.left), tuple(size for _, size in batches)


def refusal(found: CapacityCheck, *, prune: bool) -> "BuildError | None":
    """Why these cells can't be built at once, or with `prune` not even in batches; None if they can."""
    if found.enough or (prune and not found.batches.too_large):
        return None
    assert found.room is not None
    figures = f"{gb(found.needed)} needed while building, {gb(found.room)} may be written, {gb(RESERVE)} are kept free"
    freeing = "docker system df; docker builder prune"
    if found.batches.too_large:
        large, more = found.batches.too_large[:NAMED], len(found.batches.too_large) - NAMED
        names = ", ".join(large) + (f", and {more} more, which plan lists" if more > 0 else "")
        what = f"the engine's disk is too small: {figures}; too large even by itself: {names}"
        return BuildError(what, next_step=f"{freeing}; or leave these cells out")
    count = len(found.batches.batches)
    pruning = f"--prune builds, checks, pushes and removes them in {count} batches"
    step = f"{pruning}; or name fewer cells; or free space: {freeing}"
    return BuildError(f"the engine's disk is too small: {figures}", next_step=step)


def as_text(found: CapacityCheck) -> str:
    """A capacity check for a terminal: a line for each layer, the sums, and the batches if the disk is too small."""
    layers = [
        (layer.name, gb(layer.stored), gb(layer.fetch), f"{_cells(layer.cells)}{'  (there)' if layer.there else ''}")
        for layer in found.layers
    ]
    rows = [tables.text([("LAYER", "STORED", "TO FETCH", "CELLS"), *layers], right=(1, 2))]
    sums = total(list(found.layers))
    rows += [
        "",
        f"{sums.cells} images, {gb(sums.alone)} if each stood alone, {gb(sums.stored)} stored",
        f"still to be stored {gb(sums.missing)}, to be fetched {gb(sums.fetch)}",
        f"needed while building {gb(found.needed)}: what is still to be stored, and the files of its wheels",
    ]
    if found.room is not None:
        verdict = "enough" if found.enough else "too small"
        rows.append(f"the engine's disk has room for {gb(found.room)}, with {gb(RESERVE)} kept free: {verdict}")
        if found.room < found.needed <= found.room + found.cache:
            rows[-1] += f", if {gb(found.cache)} of build cache are used again or pruned (docker builder prune)"
    if len(found.batches.batches) > 1 or found.batches.too_large:
        rows += ["", "with --prune, which removes each batch before the next:", *_batches_text(found)]
    return "\n".join(rows)


def _batches_text(found: CapacityCheck) -> "list[str]":
    lines = [
        f"  batch {number}, {gb(size)}: {', '.join(batch)}"
        for number, (batch, size) in enumerate(zip(found.batches.batches, found.each, strict=True), 1)
    ]
    return [*lines, *(f"  too large by itself: {cell}" for cell in found.batches.too_large)]


def _cells(cells: "tuple[str, ...]") -> str:
    if len(cells) == 1:
        return cells[0]
    return f"{len(cells)} cells: {', '.join(cells[:3])}{', …' if len(cells) > 3 else ''}"


def gb(count: int) -> str:
    """Bytes in GB or MB."""
    return f"{count / 1e9:.2f} GB" if count >= 10_000_000 or not count else f"{count / 1e6:.1f} MB"


def as_json(found: CapacityCheck) -> str:
    """A capacity check as JSON."""
    entry = {
        "layers": [asdict(layer) for layer in found.layers],
        "sum": asdict(total(list(found.layers))),
        "needed": found.needed,
        "room": found.room,
        "enough": found.enough,
        "batches": [{"cells": batch, "needed": n} for batch, n in zip(found.batches.batches, found.each, strict=True)],
        "too_large": list(found.batches.too_large),
    }
    return json_text(entry)
