"""The command test: the checks, run against images that were built and tagged before."""

import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from torchdev.cli.chosen import opened
from torchdev.cli.results import finish, stored
from torchdev.docgen.project import Project
from torchdev.engine.client import Engine
from torchdev.matrix.load import Cell
from torchdev.pipeline import memory
from torchdev.pipeline.report import Result, State, headline, results_junit, verdicts_text
from torchdev.pipeline.run_lock import locked
from torchdev.pipeline.session import lock_dir_of
from torchdev.pipeline.verify import Outcome
from torchdev.util import files
from torchdev.util.commands import build_py
from torchdev.util.errors import Exit, InputError
from torchdev.util.streams import say

Say = Callable[[str], None]


def run(options: Namespace, root: Path) -> int:
    """Check the named cells' images; the exit code that the worst result stands for."""
    project, chosen = opened(options, root)
    if options.junit:
        files.check_output(options.junit)
    engine = Engine()
    results = check_images(project, chosen, options.gpu, say, engine, controls=options.controls)
    if options.junit:
        files.write(options.junit, results_junit(results))
    return finish(results, stored(results, engine), as_json=options.json)


def check_images(
    project: Project, cells: "tuple[Cell, ...]", gpu: str, say: Say, engine: Engine, *, controls: bool
) -> "list[Result]":
    """Check images that were built and tagged before; `controls`: even those controls of which a pass is remembered."""
    results = []
    for plan in project.plans(cells):
        began = time.perf_counter()
        image = engine.image(plan.tags[0])
        if not image:
            what = f"the engine has no image {plan.tags[0]}"
            raise InputError(what, where=plan.cell.id, next_step=build_py("build", plan.cell.id))
        with locked(lock_dir_of(engine), plan.candidate, lambda: say("another run works on this cell; waiting")):
            verdicts = memory.checked(project.paths, plan, image.id, gpu, controls=controls)
        say(f"{plan.cell.id}\n{verdicts_text(verdicts)}")
        failed = any(verdict.outcome is Outcome.FAIL for verdict in verdicts)
        state, code = (State.FAILED, Exit.CHECK) if failed else (State.CHECKED, Exit.OK)
        seconds = time.perf_counter() - began
        results.append(
            Result(
                cell=plan.cell.id,
                state=state,
                image=image,
                tags=plan.tags,
                verdicts=verdicts,
                error=headline(verdicts) if failed else "",
                code=code,
                seconds=seconds,
            )
        )
    return results
