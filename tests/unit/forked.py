"""Programs in forks of this process: what a user's command does, without a start of Python and without its imports.

Some tests start them as processes of their own, as users do, and hold that a fork ends as they do; where many ask how
one command ends, a fork is enough, and takes a tenth of the processor's time.
"""

import importlib
import io
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from tests.unit.conftest import ROOT
from torchdev.image import render
from torchdev.matrix.load import load
from torchdev.recipes import files as recipes
from torchdev.wheels import pip_settings

NOWHERE = "unix:///nowhere/docker.sock"
"""An engine that does not answer."""
Ended = subprocess.CompletedProcess


def build_py(
    *words: str, folder: Path = ROOT, begin: "Callable[[], object]" = lambda: None, **variables: str
) -> "Ended[str]":
    """Run build.py with no engine to talk to: its exit code, and what it wrote.

    `begin` is called in the fork before it: it may close standard streams, or put others in their places.
    """
    _imported_for_build_py()
    command = [str(ROOT / "build.py"), *words]
    environment = {**os.environ, "DOCKER_HOST": NOWHERE, **variables}

    def program() -> None:
        pip_settings._start = Pip  # type: ignore[assignment] # in the fork alone
        runpy.run_path(command[0], run_name="__main__")

    return run(command, program, environment, folder, begin)


class Pip:
    """`python -m pip config WORD`, which is asked for pip's settings, in the place of the process that it is."""

    def __init__(self, word: str, environment: "Mapping[str, str]") -> None:
        _imported_for_pip()
        pip = lambda: runpy.run_module("pip", run_name="__main__", alter_sys=True)  # noqa: E731
        self.done = run(["pip", "config", word], pip, environment)
        self.returncode = self.done.returncode

    def communicate(self, timeout: "float | None" = None) -> "tuple[str, str]":
        """What it has written."""
        return self.done.stdout, self.done.stderr


def python(code: str) -> "Ended[str]":
    """Run `python -c`."""
    return run(["-c"], lambda: exec(code, {"__name__": "__main__"}), os.environ)


def run(
    command: "list[str]",
    program: "Callable[[], object]",
    environment: "Mapping[str, str]",
    folder: Path = ROOT,
    begin: "Callable[[], object]" = lambda: None,
) -> "Ended[str]":
    """Run a program as a fork, with a command line, variables and a current folder."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            _become(command, program, dict(environment), folder, (out.fileno(), err.fileno(), begin))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said = [(file.seek(0), file.read().decode(errors="replace"))[1] for file in (out, err)]
    return Ended(command, code, *said)


def _become(
    command: "list[str]",
    program: "Callable[[], object]",
    environment: "dict[str, str]",
    folder: Path,
    streams: "tuple[int, int, Callable[[], object]]",
) -> None:
    """Run a program as this process, which then ends: nothing of pytest's runs in it."""
    code = 70
    out, err, begin = streams
    try:
        os.chdir(folder)
        for number, target in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (err, 2)):
            os.dup2(number, target)
        begin()
        sys.stdin, sys.stdout, sys.stderr = map(_stream, range(3))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv, sys.orig_argv = command, [sys.executable, *command]
        program()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        flushed = [_flushed(stream) for stream in (sys.stdout, sys.stderr)]
        code = code if all(flushed) else FLUSH_FAILED
        os._exit(code)


FLUSH_FAILED = 120
"""Python's own exit code where the last that a standard stream holds can't be written."""


def _stream(number: int) -> "io.TextIOWrapper | None":
    """A standard stream as Python opens it; None, as there, if it is closed."""
    try:
        os.fstat(number)
    except OSError:
        return None
    file = os.fdopen(number, "wb" if number else "rb", closefd=False)  # those of the parent would close it, too
    return io.TextIOWrapper(file, "utf-8", write_through=number == 2)


def _flushed(stream: "io.TextIOWrapper | None") -> bool:
    try:
        if stream is not None:
            stream.flush()
    except OSError:
        return False
    return True


@cache
def _imported_for_build_py() -> None:
    """What commands import, and compute from the catalog, is the same for each: a fork finds it done."""
    for module in (ROOT / "torchdev" / "cli").glob("[a-z]*.py"):
        importlib.import_module(f"torchdev.cli.{module.stem}")
    load(ROOT / "matrix.yaml")
    for filters in ((), (recipes.FILTERS,)):
        templates = render.environment(ROOT / "templates", *filters)  # as they are asked for: it is cached so
        for name in templates.list_templates(extensions=["j2"]):
            if bool(filters) == name.startswith(f"{recipes.FOLDER}/"):
                templates.get_template(name)


@cache
def _imported_for_pip() -> None:
    for module in ("pip._internal.cli.main", "pip._internal.commands.configuration"):
        importlib.import_module(module)
