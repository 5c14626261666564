"""The entry: parses the command line and runs the module of the command, once torchdev's environment is entered.

Everything before that needs the standard library alone.
"""

import argparse
import importlib
import os
import sys
from pathlib import Path

from torchdev.cli import arguments, environment
from torchdev.image.paths import Paths
from torchdev.util import faults, terminal
from torchdev.util.commands import STARTED


def start(root: Path) -> None:
    """Run this process's command line and exit with its exit code."""
    terminal.guard()
    environment.begin()
    sys.exit(faults.ended(lambda: main(root, sys.argv[1:]), root, lambda: logs(root)))


def main(root: Path, words: "list[str]") -> int:
    """Run one command; the exit code. `root` is the checkout."""
    matrix = root / "matrix.yaml"
    top, commands = arguments.parser(matrix)
    words = words or ["--help"]
    if words[0] not in (*commands, "-h", "--help", "--version"):
        words = ["build", *words]
    own, behind = arguments.split(words)
    options = top.parse_args(own, argparse.Namespace(words=behind))
    STARTED.matrix_file = "" if _same(options.matrix_file, matrix) else str(options.matrix_file)
    arguments.refuse(top, options)
    environment.enter(root, words)
    from torchdev.util import process

    process.prepare(_interrupt)
    return int(importlib.import_module(options.module).run(options, root))


def logs(root: Path) -> Path:
    """The folder for logs of this run."""
    return Paths(root, Path(STARTED.matrix_file or root / "matrix.yaml")).work / "logs"


def _same(file: "Path | None", other: Path) -> bool:
    """Whether two paths name the same file, which need not exist; also true if no file is named."""
    return file is None or os.path.realpath(file) == os.path.realpath(other)


def _interrupt(number: int, frame: object) -> None:
    """Handle SIGTERM and a closed terminal as Ctrl-C: the run ends in good order."""
    raise KeyboardInterrupt
