"""build.py in a fork of this process: what a user's command does, without a start of Python and without its imports."""

import io
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

from tests.unit.conftest import ROOT

NOWHERE = "unix:///nowhere/docker.sock"
"""An engine that does not answer."""


def build_py(*words: str, folder: Path = ROOT, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run build.py with no engine to talk to: its exit code, and what it wrote.

    Some tests start it as a process of its own, as users do; where many ask how one command ends, this is enough.
    """
    command = [str(ROOT / "build.py"), *words]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            _become(command, folder, {"DOCKER_HOST": NOWHERE, **variables}, out.fileno(), err.fileno())
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said = [(file.seek(0), file.read().decode())[1] for file in (out, err)]
    return subprocess.CompletedProcess(command, code, *said)


def _become(command: "list[str]", folder: Path, variables: "dict[str, str]", out: int, err: int) -> None:
    """Run a program as this process, which then ends: nothing of pytest's runs in it."""
    code = 70
    try:
        for number, target in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (err, 2)):
            os.dup2(number, target)
        sys.stdin, sys.stdout, sys.stderr = (
            io.TextIOWrapper(os.fdopen(target, mode), "utf-8", write_through=bool(target))
            for target, mode in enumerate(("rb", "wb", "wb"))
        )
        os.chdir(folder)
        os.environ.update(variables)
        sys.argv, sys.orig_argv = command, [sys.executable, *command]
        runpy.run_path(command[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
