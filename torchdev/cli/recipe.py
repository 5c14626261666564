"""The command recipe: the files by which Docker, Compose, editors or Kubernetes start a cell."""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torchdev.cli import arguments
from torchdev.cli.chosen import one, opened
from torchdev.cli.run import refuse_other
from torchdev.docgen.project import Project
from torchdev.engine.client import Engine
from torchdev.image.plan import Plan
from torchdev.matrix.load import Cell
from torchdev.recipes import files as recipes
from torchdev.recipes import jobs
from torchdev.recipes.jobs import RecipeOptions
from torchdev.util import files, texts, trees
from torchdev.util.errors import EngineError, InputError
from torchdev.util.streams import say

Say = Callable[[str], None]


def run(options: Namespace, root: Path) -> int:
    """Write a recipe of the named cell."""
    project, chosen = opened(options, root)
    cell = one(chosen)
    asked = recipe_options(options.kind, options.file, {key: getattr(options, key) for key in arguments.RECIPE})
    write_recipe(project, cell, asked, options.image or "", options.out, say)
    return 0


def recipe_options(kind: str, paths: "list[Path]", others: "dict[str, Any]") -> RecipeOptions:
    """What the command line asks of a recipe; the named files are read."""
    return RecipeOptions(kind=kind, files=_read(paths), **others)


def _read(paths: "list[Path]") -> "dict[str, bytes] | None":
    found: dict[str, bytes] = {}
    for path in paths:
        try:
            data = files.read(path)
        except (FileNotFoundError, InputError) as error:
            why = error.what if isinstance(error, InputError) else "there is no such file"
            step = "name a file that can be read"
            raise InputError(f"{path}: {why}", where="--file", next_step=step) from None
        if path.name in found:
            raise InputError(f"two files have the name {path.name}", where="--file", next_step="rename one")
        found[path.name] = data
    return found or None


def write_recipe(
    project: Project, cell: Cell, asked: RecipeOptions, image: str, folder: "Path | None", say: Say
) -> None:
    """Write the files of a recipe into a new folder, which is recipe-KIND unless another is named."""
    plan = project.plans((cell,))[0]
    if image:
        jobs.check_image(image)
    job = jobs.make_job(cell, asked, image, project.job_files())
    job = job if image else replace(job, image=_image(plan, say))
    made = recipes.make(job, project.paths.templates)
    target = folder or Path(f"recipe-{asked.kind}")
    trees.create(made, target)
    for name in made:
        say(f"{target / name}")
    say(f"image: {job.image}")
    if asked.kind in jobs.CLUSTER and "/" not in job.image:
        say(f"a cluster does not have {job.image}: load it there, push it, or name a pushed one with --image")


def _image(plan: Plan, say: Say) -> str:
    """The name of a plan's image: by digest if it was pushed, else the local tag, and why."""
    try:
        found = Engine().image(plan.tags[0])
    except EngineError as error:
        say(f"image by tag, since its digest is not known: {error.what}")
        return plan.tags[0]
    if found:
        refuse_other(found, plan.tags[0], plan.cell)
    pushed = [name for name in found.pushed if texts.REFERENCE.matches(name)] if found else []
    if pushed:
        if len(pushed) > 1:
            say(f"it was pushed elsewhere, too; --image takes another: {', '.join(pushed[1:])}")
        return pushed[0]
    why = "it was not pushed from this engine" if found else "this engine does not have it"
    say(f"image by tag, since its digest is not known: {why}")
    return plan.tags[0]
