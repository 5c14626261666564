"""The command build: cells to built, checked and tagged images, a failed one without harm to the others."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from torchdev.cli.chosen import of_builder, opened
from torchdev.cli.plan import outlook
from torchdev.cli.results import finish
from torchdev.docgen.project import Project, without_lock
from torchdev.engine.client import Engine
from torchdev.matrix.load import Cell
from torchdev.pipeline import batches, capacity, display
from torchdev.pipeline.report import Result, State
from torchdev.pipeline.session import Options, open_site
from torchdev.util import trees
from torchdev.util.errors import Exit
from torchdev.util.streams import say

Say = Callable[[str], None]


def run(options: Namespace, root: Path) -> int:
    """Build what the command line names; the exit code that the worst result stands for."""
    project, chosen = opened(options, root)
    return finish(build_cells(project, chosen, how(options), say), options.json)


def how(options: Namespace) -> Options:
    """How to build, as the command line says."""
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


def build_cells(project: Project, cells: "tuple[Cell, ...]", options: Options, say: Say) -> "list[Result]":
    """Build, check and tag cells; one that fails does not stop the others."""
    locked, unlocked = project.by_lock(cells)
    if not locked:
        return [_without_lock(cell) for cell in unlocked]
    trees.check([project.image_tree()])
    plans = project.plans(locked)
    refusal = capacity.refusal(outlook(project.paths, plans, Engine(), (), options.room), prune=options.prune)
    if refusal:
        raise refusal
    with display.shown(say, verbose=options.verbose) as view:
        site = open_site(project.paths, plans, options, view.say, report=view.note)
        return [*batches.run(site, plans), *map(_without_lock, unlocked)]


def _without_lock(cell: Cell) -> Result:
    return Result(cell.id, State.FAILED, error=str(without_lock((cell,))), code=Exit.INPUT)
