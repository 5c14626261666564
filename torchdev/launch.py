"""Starts a container of a cell as it should be, and writes the recipes by which other tools do."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torchdev import jobs, recipes, trees
from torchdev.engine import Engine
from torchdev.errors import EngineError, InputError
from torchdev.jobs import Wishes
from torchdev.matrix import Cell
from torchdev.plan import Plan
from torchdev.project import Project

Say = Callable[[str], None]


def one(cells: "tuple[Cell, ...]") -> Cell:
    """The only one of some cells; InputError if there are more."""
    if len(cells) == 1:
        return cells[0]
    raise InputError(f"one cell is wanted, not {len(cells)}", next_step=f"name one: {cells[0].id}")


def wishes(kind: str, files: "list[Path]", others: "dict[str, Any]") -> Wishes:
    """What the command line asks of a recipe; the named files are read."""
    return Wishes(kind, files=_read(files), **others)


def _read(paths: "list[Path]") -> "dict[str, bytes] | None":
    found: dict[str, bytes] = {}
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError as error:
            step = "name a file that can be read"
            raise InputError(f"{path}: {error.strerror}", where="--file", next_step=step) from None
        if path.name in found:
            raise InputError(f"two files have the name {path.name}", where="--file", next_step="rename one")
        found[path.name] = data
    return found or None


def write_recipe(project: Project, cell: Cell, wished: Wishes, image: str, folder: "Path | None", say: Say) -> None:
    """Write the files of a recipe into a new folder, which is recipe-KIND unless another is named."""
    plan = project.plans((cell,))[0]
    if image:
        jobs.check_image(image)
    job = jobs.make_job(cell, wished, image, project.job_files())
    job = job if image else replace(job, image=_image(plan, say))
    files = recipes.make(job, project.places.templates)
    target = folder or Path(f"recipe-{wished.kind}")
    trees.create(files, target)
    for name in files:
        say(f"{target / name}")
    say(f"image: {job.image}")
    if wished.kind in jobs.CLUSTER and "/" not in job.image:
        say(f"a cluster has no {job.image} unless it is loaded there; else push it, or name it with --image")


def _image(plan: Plan, say: Say) -> str:
    """The name of a plan's image: by digest if it was pushed, else the local tag, and why."""
    try:
        found = Engine().image(plan.tags[0])
    except EngineError as error:
        say(f"image by tag, since its digest is not known: {error.what}")
        return plan.tags[0]
    if found and found.pushed:
        return found.pushed[0]
    why = "it was not pushed from this engine" if found else "this engine does not have it"
    say(f"image by tag, since its digest is not known: {why}")
    return plan.tags[0]
