"""The command plan: what building takes, told from locks before anything is fetched."""

import dataclasses
from argparse import Namespace
from collections.abc import Collection
from pathlib import Path

from torchdev.cli.chosen import opened
from torchdev.cli.render import name_unlocked
from torchdev.docgen.project import Project
from torchdev.engine import buildx
from torchdev.engine.client import Engine
from torchdev.image.plan import Plan
from torchdev.matrix.load import Cell
from torchdev.pipeline import capacity
from torchdev.pipeline.capacity import CapacityCheck
from torchdev.pipeline.inventory import Inputs, possible_inputs, present
from torchdev.pipeline.run_lock import Disk
from torchdev.util.errors import EngineError
from torchdev.util.streams import say, show
from torchdev.wheels.host import local_wheels, read_host


def run(options: Namespace, root: Path) -> int:
    """Print what building takes; a disk that does not hold it is refused."""
    project, chosen = opened(options, root)
    found = look_ahead(project, chosen, options.room)
    show(capacity.as_json(found) if options.json else capacity.as_text(found))
    refusal = capacity.refusal(found, prune=options.prune)
    if refusal:
        raise refusal
    name_unlocked(project, chosen, say)
    return 0


def look_ahead(project: Project, cells: "tuple[Cell, ...]", room: "int | None") -> CapacityCheck:
    """What building these cells takes, and whether the engine's disk has room for it, or `room` bytes of it.

    Locks tell it: nothing is fetched, and an engine is asked only for what it has. Cells without lock are not in it;
    if none has one, that is an InputError.
    """
    project.require_locks(cells)
    plans = project.plans(project.by_lock(cells)[0])
    host, wheels = read_host(), {package for plan in plans for package in plan.lock.packages}
    names = {path.name for project in {wheel.name for wheel in wheels} for path in local_wheels(host, project)}
    local = {wheel.sha256 for wheel in wheels if wheel.sha256 and wheel.file in names}
    try:
        engine: Engine | None = Engine()
    except EngineError:
        engine = None
    there: set[str] = set()
    if engine:
        there = present(engine.names(), plans, possible_inputs(engine, Inputs(project.paths), plans))
    return check_capacity(plans, engine, there, local, room)


def check_capacity(
    plans: "tuple[Plan, ...]",
    engine: "Engine | None",
    there: "Collection[str]",
    local: "Collection[str]",
    room: "int | None",
) -> CapacityCheck:
    """The capacity check of an engine's disk, where some layers and wheels are there already.

    Its build cache is asked for only where room is short: that takes time.
    """
    left = Disk(engine.disk() if engine else None, room).left()
    found = capacity.check(plans, local, there, left)
    if engine and left is not None and found.needed > left:
        cache = sum(record.size for record in buildx.records() if not record.shared)
        found = dataclasses.replace(found, cache=cache)
    return found
