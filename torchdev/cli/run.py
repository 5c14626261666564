"""The command run: a container of a cell, started in the current folder as it should be."""

import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from torchdev.cli.chosen import one, opened
from torchdev.docgen.project import Project
from torchdev.engine import gpus
from torchdev.engine.client import Engine, Image
from torchdev.matrix.load import Cell
from torchdev.recipes import containers
from torchdev.recipes.containers import Start
from torchdev.util import texts
from torchdev.util.commands import build_py
from torchdev.util.errors import EngineError, InputError
from torchdev.util.streams import say
from torchdev.wheels import variables

Say = Callable[[str], None]
CELL_LABEL = "io.torchdev.cell"
"""The label that names the cell of an image; images derived from it have it, too."""


def run(options: Namespace, root: Path) -> int:
    """Become the named cell's container."""
    project, chosen = opened(options, root)
    become(project, one(chosen), options.words, options.gpu, options.shm, say)
    return 0


def become(project: Project, cell: Cell, command: "list[str]", gpu: str, shm: int, say: Say) -> None:
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
    found = engine.image(image)
    if not found:
        raise InputError(f"the engine has no image {image}", where=cell.id, next_step=build_py("build", cell.id))
    refuse_other(found, image, cell)
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


def refuse_other(found: Image, name: str, cell: Cell) -> None:
    """Refuse an image that bears a cell's tag and is not of that cell: any image can be given any name."""
    other = found.labels.get(CELL_LABEL)
    if other != cell.id:
        what = f"{name} is an image of {texts.quoted(other)}" if other else f"{name} is no image of torchdev"
        what += f": something gave that name to {texts.shown(found.id)}"
        raise InputError(what, where=cell.id, next_step=build_py("build", cell.id))


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
    return Start(image=image, user=user.ids, folder=folder, cache=_cache(user.ids, say))


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
