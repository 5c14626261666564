"""The command bake: prints the bake file of this machine, or pipes it to a command that also gets the secrets."""

import os
import subprocess
import tempfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from torchdev.cli.chosen import of_builder, opened
from torchdev.docgen.project import Project
from torchdev.engine import buildx
from torchdev.engine.client import Engine
from torchdev.matrix.load import Cell
from torchdev.pipeline import bake as builder
from torchdev.pipeline.inventory import Inputs
from torchdev.pipeline.session import Options, Teller, open_session
from torchdev.util.commands import build_py
from torchdev.util.errors import Exit, InputError
from torchdev.util.streams import say, show
from torchdev.util.texts import json_text
from torchdev.wheels.host import Host

Say = Callable[[str], None]
BAKE = ("--", "docker", "buildx", "bake", "--file", "-")
"""A command that reads a bake file from standard input."""


def run(options: Namespace, root: Path) -> int:
    """Print the bake file of the named cells, or run the command behind -- with it; its exit code."""
    project, chosen = opened(options, root)
    return bake(project, chosen, Options(**of_builder(options)), options.words, say)


def bake(project: Project, cells: "tuple[Cell, ...]", options: Options, command: "list[str]", tell: Say) -> int:
    """Print the bake file with which `build` would build these cells here; its contexts are under .torchdev/bake.

    A command, if one is given, gets the file on standard input and the secrets in its environment; returns its exit
    code.
    """
    text, host = _text(project, cells, options, tell)
    if not command:
        show(text)
        return int(Exit.OK)
    try:
        return _given(text, command, host)
    except OSError as error:
        step = build_py("bake", *(cell.id for cell in cells), *BAKE)
        raise InputError(f"can't be started: {error.strerror}", where=command[0], next_step=step) from None


def _given(text: str, command: "list[str]", host: Host) -> int:
    """Run a command with a bake file on standard input and the secrets in its environment; returns its exit code.

    Secrets are removed from what it writes on standard error.
    """
    environment = {**os.environ, **buildx.VARIABLES, **host.private().variables}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        file.write(text)
        file.seek(0)
        with subprocess.Popen(
            command, env=environment, stdin=file, stderr=subprocess.PIPE, text=True, errors="replace"
        ) as child:
            for line in child.stderr or ():
                say(host.clean(line.rstrip("\n")))
    return child.returncode


def _text(project: Project, cells: "tuple[Cell, ...]", options: Options, tell: Say) -> "tuple[str, Host]":
    plans = project.plans(cells)
    session = open_session(Engine(), project.paths, plans, options, Teller(say=tell))
    for error in session.missing.values():
        raise error
    folder = project.paths.work / "bake"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    return json_text(builder.bake_file(session, Inputs(project.paths), plans, folder)), session.host
