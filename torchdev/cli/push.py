"""The command push: images that are current and checked, to a registry under all their tags."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from torchdev.cli.chosen import opened
from torchdev.docgen.project import Project
from torchdev.engine.client import Engine
from torchdev.image.plan import Plan
from torchdev.matrix.load import Cell
from torchdev.pipeline import memory
from torchdev.pipeline import push as pushing
from torchdev.pipeline import run as pipeline
from torchdev.pipeline.session import BuildSession, BuildState, Options, Teller, begin, open_session
from torchdev.util.commands import build_py
from torchdev.util.errors import InputError
from torchdev.util.streams import say

Say = Callable[[str], None]


def run(options: Namespace, root: Path) -> int:
    """Push the named cells."""
    project, chosen = opened(options, root)
    push_cells(project, chosen, options.to, say)
    return 0


def push_cells(project: Project, cells: "tuple[Cell, ...]", target: str, say: Say) -> None:
    """Push the tags of cells to a repository; only images that are current and whose checks have passed."""
    plans = project.plans(cells)
    session = open_session(Engine(), project.paths, plans, Options(), Teller(say=say), make=False)
    state = begin(session, plans)
    code = memory.code(project.paths.checkout)
    checked = [(plan, _checked(session, state, plan, code)) for plan in plans]
    for plan, image in checked:
        pushing.push(session, plan, image, target, keep=True)


def _checked(session: BuildSession, state: BuildState, plan: Plan, code: str) -> str:
    """The id of a cell's image that is current and whose checks have passed; InputError if there is none."""
    name, image = pipeline.built(session, state, plan) or ("", None)
    if name != plan.tags[0] or not image or not memory.recall_any(session.paths, plan, image.id, code):
        what = "it has not been built from what is in this checkout, or its checks have not passed"
        raise InputError(what, where=plan.cell.id, next_step=build_py("build", plan.cell.id))
    return image.id
