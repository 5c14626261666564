"""The command build: builds, checks and tags the images of cells; a failed cell does not stop the others."""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from torchdev.cli.chosen import of_builder, opened
from torchdev.cli.lock import complete_locks
from torchdev.cli.plan import check_capacity
from torchdev.cli.results import finish, stored
from torchdev.docgen.project import Project, without_lock
from torchdev.engine.client import Engine
from torchdev.matrix.load import Cell
from torchdev.pipeline import batches, capacity, display
from torchdev.pipeline.inventory import Inputs, possible_inputs, present
from torchdev.pipeline.report import Result, State, Storage
from torchdev.pipeline.session import Options, Teller, begin, open_session
from torchdev.util import trees
from torchdev.util.errors import Exit
from torchdev.util.streams import say

Say = Callable[[str], None]


def run(options: Namespace, root: Path) -> int:
    """Build the cells that the command line names; returns the exit code of the worst result."""
    project, chosen = opened(options, root)
    built = build_cells(project, chosen, how(options), say)
    return finish(built.results, built.storage, as_json=options.json)


def how(options: Namespace) -> Options:
    """The build options that the command line gives."""
    return Options(
        test=not options.no_test,
        gpu=options.gpu,
        allow_bootstrap=not options.no_bootstrap,
        verbose=options.verbose,
        rebuild=options.rebuild,
        jobs=options.jobs,
        push_to=options.push_to or "",
        prune=options.prune,
        room=options.room,
        **of_builder(options),
    )


@dataclass(frozen=True)
class Built:
    """The results of some cells, and the storage that their images take on the engine."""

    results: "list[Result]"
    storage: "Storage | None" = None


def build_cells(
    project: Project, cells: "tuple[Cell, ...]", options: Options, say: Say, engine: "Engine | None" = None
) -> Built:
    """Build, check and tag cells; a failed cell does not stop the others. Incomplete locks are completed first."""
    locked, unlocked = project.by_lock(cells)
    if not locked:
        return Built([_without_lock(cell) for cell in unlocked])
    trees.check([project.image_tree()])
    engine = engine or Engine()
    incomplete = complete_locks(project, locked, say)
    plans, inputs, names = project.plans(locked), Inputs(project.paths), engine.names()
    there = present(names, plans, possible_inputs(engine, inputs, plans))
    if refusal := capacity.refusal(check_capacity(plans, engine, there, (), options.room), prune=options.prune):
        raise refusal
    with display.shown(say, verbose=options.verbose) as view:
        teller = Teller(say=view.say, report=view.note)
        session = replace(open_session(engine, project.paths, plans, options, teller), incomplete=incomplete)
        results = batches.run(session, plans, begin(session, plans, names, inputs))
    return Built([*results, *map(_without_lock, unlocked)], stored(results, engine))


def _without_lock(cell: Cell) -> Result:
    return Result(cell=cell.id, state=State.FAILED, error=str(without_lock((cell,))), code=Exit.INPUT)
