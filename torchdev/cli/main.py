"""The command line: words to a command's module, which is imported once torchdev's environment is entered.

What runs before that needs the standard library alone.
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
    """Run the command line of this process to its end, with the exit code that it comes to."""
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
    """Whether a file that may not be there is another one; so it is, if none is named."""
    return file is None or os.path.realpath(file) == os.path.realpath(other)


def _interrupt(number: int, frame: object) -> None:
    """SIGTERM, and a terminal that is closed, end a run as Ctrl-C does: in good order."""
    raise KeyboardInterrupt
