"""Starts a container of a cell as it should be, and writes the recipes by which other tools do."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torchdev.docgen.project import Project
from torchdev.engine import gpus
from torchdev.engine.client import Engine
from torchdev.image.plan import Plan
from torchdev.matrix.load import Cell
from torchdev.recipes import containers, jobs
from torchdev.recipes import files as recipes
from torchdev.recipes.containers import Start
from torchdev.recipes.jobs import Wishes
from torchdev.util import texts, trees
from torchdev.util.commands import build_py
from torchdev.util.errors import EngineError, InputError
from torchdev.wheels import variables

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
    pushed = [name for name in found.pushed if texts.REFERENCE.matches(name)] if found else []
    if pushed:
        if len(pushed) > 1:
            say(f"it was pushed elsewhere, too; --image takes another: {', '.join(pushed[1:])}")
        return pushed[0]
    why = "it was not pushed from this engine" if found else "this engine does not have it"
    say(f"image by tag, since its digest is not known: {why}")
    return plan.tags[0]


def run(project: Project, cell: Cell, command: "list[str]", gpu: str, shm: int, say: Say) -> None:
    """Become `docker run` of a cell, in the current folder; what the container can't have is said first.

    `gpu` is auto, require or none; `shm` is in GiB. Exit status and signals are then those of docker run.
    """
    image = project.plans((cell,))[0].tags[0]
    if gpu == "require" and not cell.cuda:
        raise InputError(
            f"{cell.id} has no CUDA", where="--gpu require", next_step="take a cell with CUDA, or no --gpu"
        )
    engine, docker = Engine(), shutil.which("docker")
    if not docker:
        raise EngineError("the docker command is missing", next_step=build_py("quickstart"))
    if not engine.image(image):
        raise InputError(f"the engine has no image {image}", where=cell.id, next_step=build_py("build", cell.id))
    given = containers.granted(bool(cell.cuda) and gpu != "none", partial(_attempt, engine, image))
    if given.refusal and gpu == "require":
        raise given.refusal
    for line in _missing(given):
        say(line)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    options = gpus.docker_options(engine.info()) if given.gpu else ()
    start = replace(_start(engine, image, say), gpus=options, limits=given.limits, shm=shm)
    sys.stdout.flush()
    words = containers.arguments(replace(start, terminal=terminal, command=tuple(command)))
    os.execv(docker, ["docker", *words])


def _attempt(engine: Engine, image: str, gpu: bool, limits: tuple[str, ...]) -> "EngineError | None":
    asked = [{"Name": name, "Soft": containers.LIMITS[name], "Hard": containers.LIMITS[name]} for name in limits]
    try:
        with engine.container(image, gpus=gpu, ulimits=asked):
            return None
    except EngineError as error:
        return error


def _missing(given: containers.Granted) -> "list[str]":
    """What the container does not have, and why."""
    refused = [name for name in containers.LIMITS if name not in given.limits]
    lines = [f"without a GPU: {given.refusal}"] if given.refusal else []
    why = "the engine may not change it; it has no such right on this machine"
    return lines + [f"limit on {name} (ulimit) as the engine has it: {why}" for name in refused]


def _start(engine: Engine, image: str, say: Say) -> Start:
    """Who the container's user is, and what it sees of this machine."""
    folder = Path.cwd()
    owner, rootless = folder.stat(), containers.is_rootless(engine.info())
    user = containers.user_for((os.getuid(), os.getgid()), (owner.st_uid, owner.st_gid), rootless=rootless)
    if user.note:
        say(user.note)
    return Start(image, user.ids, folder, _cache(user.ids, say))


def _cache(user: str, say: Say) -> "Path | None":
    """The folder that keeps caches for the next container, writable for its user; None if it can't be made."""
    folder = variables.cache_root(os.environ) / "containers"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:
            os.chown(folder, *map(int, user.split(":")))
    except OSError as error:
        say(f"caches end with the container: {folder}: {error.strerror}")
        return None
    return folder
