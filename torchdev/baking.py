"""The bake file of this machine: printed, or given to a command together with the secrets that it only names."""

import json
import os
import subprocess
from collections.abc import Callable

from torchdev import builder, buildx
from torchdev.commands import build_py
from torchdev.errors import Exit, InputError
from torchdev.host import Host
from torchdev.matrix import Cell
from torchdev.project import Project
from torchdev.site import Options, open_site
from torchdev.streams import show

Say = Callable[[str], None]
BAKE = ("--", "docker", "buildx", "bake", "--file", "-")
"""What takes a bake file from standard input."""


def bake(project: Project, cells: "tuple[Cell, ...]", options: Options, command: "list[str]", say: Say) -> int:
    """Print the bake file with which `build` would build these cells here; what it refers to is under .torchdev/bake.

    A command, if there is one, gets it on standard input and the secrets in its environment; its exit code is returned.
    """
    text, host = _text(project, cells, options, say)
    if not command:
        show(text)
        return int(Exit.OK)
    environment = {**os.environ, **buildx.VARIABLES, **host.private().variables}
    try:
        return subprocess.run(command, input=text, text=True, env=environment, check=False).returncode
    except OSError as error:
        step = build_py("bake", *(cell.id for cell in cells), *BAKE)
        raise InputError(f"can't be started: {error.strerror}", where=command[0], next_step=step) from None


def _text(project: Project, cells: "tuple[Cell, ...]", options: Options, say: Say) -> "tuple[str, Host]":
    plans = project.plans(cells)
    site = open_site(project.places, plans, options, say)
    for error in site.missing.values():
        raise error
    folder = project.places.work / "bake"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    stands = {ref: stand for plan in plans for ref, stand in site.stands(plan).items()}
    return json.dumps(
        builder.bake_file(plans, site.host, project.places, folder, stands, site.way), indent=2
    ), site.host
