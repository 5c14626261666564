"""Programs that run as forks of one process (tests/image/programs/forked.py) run as Python would run them."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.image.programs.forked import CANNOT_FORK
from tests.unit.conftest import ROOT

FORKED = str(ROOT / "tests" / "image" / "programs" / "forked.py")
TORCH = "class cuda: is_initialized = staticmethod(lambda: {asked})\nvalue = 1\n{more}\n"
Ask = Callable[..., "subprocess.CompletedProcess[str]"]


def serve(folder: Path, *, asked: bool = False, more: str = "") -> "subprocess.CompletedProcess[str]":
    """Start the process that forks, with a torch of the test's own."""
    (folder / "torch.py").write_text(TORCH.format(asked=asked, more=more))
    variables = {**os.environ, "PYTHONPATH": str(folder), "FORKED_SOCKET": str(folder / "socket")}
    command = [sys.executable, "-B", FORKED, "--serve"]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which all programs run."""
    return tmp_path_factory.mktemp("forked")


@pytest.fixture(scope="module")
def ask(home: Path) -> "Iterator[Ask]":
    """Have a program run by a fork; the process that forks is ended afterwards."""
    started = serve(home)
    assert started.returncode == 0, started.stderr

    def end(*arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
        variables = {**os.environ, "FORKED_SOCKET": str(home / "socket"), "OWN": "x"}
        command = [sys.executable, "-IS", FORKED, *arguments]
        return subprocess.run(
            command, **{"cwd": home, "env": variables, "capture_output": True, "text": True, **options}
        )

    parent = int(end("-c", "import os; print(os.getppid())").stdout)
    yield end
    os.kill(parent, signal.SIGKILL)


def test_a_program_has_what_python_would_give_it(ask: Ask, home: Path) -> None:
    """Folder, variables, arguments, standard streams; the name __main__; modules beside it."""
    (home / "own.py").write_text("import sys, os, beside\nprint(__name__, sys.argv[1:], beside.__name__, os.getcwd())")
    (home / "beside.py").write_text("")
    told = f"__main__ ['a', '--b'] beside {home}\n"
    assert ask("-m", "own", "a", "--b").stdout == told
    assert ask(str(home / "own.py"), "a", "--b").stdout == told
    script = "import os, sys; print(sys.argv, os.environ['OWN'], 'FORKED' in globals(), input())"
    assert ask("-c", script, "a", input="said\n").stdout == "['-c', 'a'] x False said\n"


@pytest.mark.parametrize(("program", "status"), [
    ("pass", 0), ("import sys; sys.exit(3)", 3), ("raise ValueError('wrong')", 1), ("import sys; sys.exit('wrong')", 1),
    ("import os; os.kill(os.getpid(), 9)", 137), ("import os; os._exit(7)", 7),
    ("import atexit; atexit.register(print, 'at the end')", 0),
])  # fmt: skip
def test_its_end_is_its_own(ask: Ask, program: str, status: int) -> None:
    """As Python's own end would be: status, traceback, what is registered for the end."""
    done = ask("-c", program)
    assert done.returncode == status
    assert ("wrong" in done.stderr) == ("wrong" in program)
    assert done.stdout == ("at the end\n" if "atexit" in program else "")


def test_programs_do_not_see_each_other(ask: Ask) -> None:
    """What one changes in torch, in its variables or its folder, the next has as it was."""
    assert ask("-c", "import torch, os; torch.value = 2; os.environ['OWN'] = 'y'; os.chdir('/')").returncode == 0
    assert ask("-c", "import torch, os; print(torch.value, os.environ['OWN'])").stdout == "1 x\n"


@pytest.mark.parametrize("spoiled", [
    {"asked": True},
    {"more": "import threading, time; threading.Thread(target=time.sleep, args=(5,), daemon=True).start()"},
])  # fmt: skip
def test_what_forks_could_not_use_is_refused(tmp_path: Path, spoiled: "dict[str, object]") -> None:
    """A torch that asks CUDA, or starts a thread, when it is imported."""
    done = serve(tmp_path, **spoiled)  # type: ignore[arg-type]
    assert done.returncode == CANNOT_FORK
    assert "could not use a GPU" in done.stderr


def test_nobody_who_forks_is_an_error(tmp_path: Path) -> None:
    """A program is not run by Python itself instead."""
    variables = {**os.environ, "FORKED_SOCKET": str(tmp_path / "none")}
    done = subprocess.run([sys.executable, FORKED, "-c", "print(1)"], env=variables, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")


def test_a_torch_that_can_not_be_imported_is_another_error(tmp_path: Path) -> None:
    """Then nothing takes the place of forks."""
    assert serve(tmp_path, more="raise OSError").returncode == 1
