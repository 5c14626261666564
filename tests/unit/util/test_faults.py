"""However a run ends, it is told in a line: the machine's refusals as that, a fault with a log; never a traceback."""

import errno
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit import forked
from tests.unit.conftest import ROOT
from torchdev.util import faults
from torchdev.util.errors import Exit, InputError

PROGRAM = shlex.join([sys.executable, str(ROOT / "build.py")])
RAISING = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from torchdev.util import faults
def run():
    {code}
    return 0
sys.exit(faults.ended(run, Path({root!r}), lambda: Path({logs!r})))
"""
Begin = Callable[[], object]


def shell(line: str) -> "subprocess.CompletedProcess[str]":
    """Run a line of bash, in which $B is build.py; the exit code is that of build.py."""
    command = ["bash", "-o", "pipefail", "-c", line.replace("$B", PROGRAM)]
    return subprocess.run(command, capture_output=True, text=True, errors="replace")


def ending(code: str, logs: Path) -> "subprocess.CompletedProcess[str]":
    """A process whose work is some code."""
    return forked.python(RAISING.format(root=str(ROOT), code=code, logs=str(logs)))


def closed(*streams: int) -> Begin:
    """What `>&-` does in a shell."""
    return lambda: [os.close(stream) for stream in streams]


def full(stream: int) -> Begin:
    """What `> /dev/full` does in a shell."""
    return lambda: os.dup2(os.open("/dev/full", os.O_WRONLY), stream)


def unread(*streams: int) -> Begin:
    """What `| true` does in a shell, if the reader ends first."""

    def begin() -> None:
        reading, writing = os.pipe()
        os.close(reading)
        for stream in streams:
            os.dup2(writing, stream)

    return begin


def holds(done: "subprocess.CompletedProcess[str]", codes: "tuple[int, ...]", said: str) -> None:
    """It ended with one of these codes, said something, and showed no sign of a traceback."""
    assert done.returncode in codes, done.stderr
    assert said in done.stdout + done.stderr
    for sign in ("Traceback", "Exception ignored", "BrokenPipe", "UnicodeEncodeError"):
        assert sign not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("line", "codes", "said"),
    [
        ("$B list --json | head -c 1", (Exit.CLOSED, Exit.OK), "["),  # who wins the race is the kernel's to say
        ("$B --help | true", (Exit.CLOSED, Exit.OK), ""),
        ("$B --help > /dev/full", (Exit.INPUT,), "standard output: No space left on device"),
        ("$B list >&- 2>&- <&-", (Exit.INPUT,), ""),
        ("$B --help >&-", (Exit.INPUT,), "standard output: it is closed"),
        ("PYTHONIOENCODING=ascii $B list --matrix-file \u00e9.yaml", (Exit.INPUT,), "no such file"),
        ("PYTHONIOENCODING=latin-1 PYTHONUNBUFFERED=1 $B explain $'\\xe2\\x82\\xac'", (Exit.INPUT,), "cell's id"),
        ("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 $B list | cat", (Exit.OK,), "py311"),
    ],
)
def test_no_end_is_a_traceback(line: str, codes: "tuple[int, ...]", said: str) -> None:
    """A closed pipe, a full disk, closed streams, an encoding without the character, as a shell makes them."""
    holds(shell(line), codes, said)


@pytest.mark.parametrize(
    ("words", "begin", "code", "said"),
    [
        ("--help", closed(1), Exit.INPUT, "standard output: it is closed"),
        ("--help", full(1), Exit.INPUT, "standard output: No space left on device"),
        ("--help", unread(1), Exit.CLOSED, ""),
        ("explain py39-cu130", unread(1), Exit.CLOSED, ""),
        ("list --json", unread(1), Exit.CLOSED, ""),
        ("nosuch", unread(1, 2), Exit.INPUT, ""),
        ("list", full(1), Exit.INPUT, "standard output: No space left on device"),
        ("nosuch", full(2), Exit.INPUT, ""),
        ("list", closed(0, 1, 2), Exit.INPUT, ""),
        ("list", closed(1), Exit.INPUT, "standard output: it is closed"),
        ("list --json", closed(1), Exit.INPUT, "standard output: it is closed"),
        ("explain py39-cu130", closed(1), Exit.INPUT, "standard output: it is closed"),
        ("nosuch", closed(1), Exit.INPUT, "nosuch"),
        ("nosuch", closed(2), Exit.INPUT, ""),
        ("list", closed(2), Exit.OK, "py311"),
        ("list --matrix-file /proc/self/mem", closed(), Exit.INPUT, "/proc/self/mem"),
        ("list --matrix-file /", closed(), Exit.INPUT, "not a file"),
        ("list --matrix-file build.py/matrix.yaml", closed(), Exit.INPUT, "no such file"),
        ("list --matrix-file \udcff.yaml", closed(), Exit.INPUT, "no such file"),
    ],
)
def test_no_command_ends_with_a_traceback(words: str, begin: Begin, code: Exit, said: str) -> None:
    """The same of every kind of command; those that are in both lists end in a fork as they do in a shell."""
    holds(forked.build_py(*words.split(), begin=begin), (code,), said)


GONE = "error: the current folder is gone\n  next: cd to one that exists\n"


def gone(folder: Path, words: str) -> "subprocess.CompletedProcess[str]":
    """Run build.py in a folder that was there when its shell, if it had one, went into it."""
    folder.mkdir()
    return forked.build_py(*words.split(), folder=folder, begin=lambda: folder.rmdir())


@pytest.mark.parametrize(
    "words",
    [
        "list --matrix-file m.yaml",
        "list --matrix-file ../m.yaml",
        "render --check --matrix-file m.yaml",
        "plan --matrix-file m.yaml",
        "lock --matrix-file m.yaml",
        "list --matrix-file=./deep/er/m.yaml",
        "lock latest",
    ],
)
def test_a_current_folder_that_is_gone_is_told(words: str, tmp_path: Path) -> None:
    """Whatever asks first where it is."""
    done = gone(tmp_path / "gone", words)
    assert "a fault of torchdev" not in done.stderr
    assert (done.returncode, done.stdout) == (Exit.INPUT, "")
    assert done.stderr.endswith(GONE)


def test_python_starts_in_a_folder_that_is_gone(tmp_path: Path) -> None:
    """A shell leaves its name in a variable; Python itself may ask for it, and so does what is imported."""
    gone = tmp_path / "gone"
    done = shell(f"mkdir {gone} && cd {gone} && rmdir {gone} && $B list --matrix-file m.yaml")
    assert (done.returncode, done.stdout) == (Exit.INPUT, "")
    assert done.stderr.endswith(GONE)


def test_a_current_folder_that_is_gone_is_not_asked_for_in_vain(tmp_path: Path) -> None:
    """What needs none goes on."""
    done = gone(tmp_path / "gone", "list")
    assert (done.returncode, done.stderr) == (Exit.OK, "")


def test_a_closed_pipe_is_no_answer() -> None:
    """The exit code is its own, and not that of no: the reader is gone before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, str(ROOT / "build.py"), "explain", "py39-cu130"], stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (Exit.CLOSED, b"")


@pytest.mark.parametrize(
    ("code", "said", "status"),
    [
        ("raise MemoryError", "not enough memory", Exit.INPUT),
        ("open('/nowhere' * 2000)", "File name too long", Exit.INPUT),
        (f"raise OSError({errno.ENOSPC}, 'x', '/a b')", "/a b: No space left on device", Exit.INPUT),
        (f"raise OSError({errno.EROFS}, 'x', b'/a')", "/a: Read-only file system", Exit.INPUT),
        (f"raise OSError({errno.EDQUOT}, 'x')", "Disk quota exceeded", Exit.INPUT),
        ("import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (3, 3)); open('/dev/null')", "Too many open", Exit.INPUT),
        ("raise KeyboardInterrupt", "interrupted", Exit.INTERRUPTED),
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT)", "interrupted", Exit.INTERRUPTED),
    ],
)
def test_what_the_machine_refuses_is_no_fault(code: str, said: str, status: Exit, tmp_path: Path) -> None:
    """One line and what to do, without a log."""
    done = ending(code, tmp_path)
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("run()", "RecursionError"),
        ("import nowhere_at_all", "ModuleNotFoundError"),
        ("assert False, 'https://me:hunter2@host.example/t0ken/x?auth=t0ken'", "https://host.example"),
        ("raise BaseException('odd')", "BaseException"),
        ("raise ExceptionGroup('several', [ValueError('a')])", "ExceptionGroup"),
        ("open('/nowhere/at/all')", "FileNotFoundError"),
        ("raise UnicodeDecodeError('utf-8', b'\\xff', 0, 1, 'odd\\x1b[31m')", "UnicodeDecodeError"),
    ],
)
def test_a_fault_is_one_line_with_a_log(code: str, said: str, tmp_path: Path) -> None:
    """The log has the traceback, the version and the command line, and neither file nor output a password."""
    done = ending(code, tmp_path / "logs")
    assert done.returncode == Exit.FAULT, done.stderr
    [log] = (tmp_path / "logs").iterdir()
    text = log.read_text()
    assert said in done.stderr
    assert str(log) in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert "Traceback" not in done.stderr
    assert "Traceback" in text
    assert "Python 3." in text
    for secret in ("hunter2", "t0ken", "\x1b"):
        assert secret not in done.stderr
    assert "hunter2" not in text.partition("File")[0]


def test_a_log_that_can_not_be_written_is_elsewhere(tmp_path: Path) -> None:
    """In the folder of temporary files; what is in the way stays."""
    (tmp_path / ".torchdev").write_text("a file")
    done = ending("1 / 0", tmp_path / ".torchdev" / "logs")
    assert done.returncode == Exit.FAULT
    log = Path(shlex.split(done.stderr.rpartition(": ")[2])[0])
    assert "ZeroDivisionError" in log.read_text()
    log.unlink()
    log.parent.rmdir()


@pytest.mark.parametrize("after", [0.02, 0.1, 0.4])
def test_an_interrupt_while_modules_are_read(after: float) -> None:
    """Is told in a word, or ends the process without one."""
    child = subprocess.Popen([sys.executable, "-c", START, str(ROOT)], stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout
    child.stdout.readline()
    time.sleep(after)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert said in (b"", b"interrupted\n")
    assert child.returncode in (Exit.INTERRUPTED, -signal.SIGINT, Exit.OK)


START = """
import signal, sys
def listening(*words):
    signal.signal = own
    own(*words)
    print("begins", flush=True)
signal.signal(signal.SIGINT, signal.default_int_handler)
own, signal.signal = signal.signal, listening
sys.argv = [sys.argv[1] + "/build.py", "doctor"]
code = compile(open(sys.argv[0]).read(), sys.argv[0], "exec")
names = {"__name__": "__main__", "__file__": sys.argv[0]}
exec(code, names)
"""
"""Tells when build.py has said what an interrupt does: before that it is Python's own."""


def test_errors_of_the_user_stay_theirs() -> None:
    """What is no refusal of the machine is none."""
    assert faults.refused(ValueError("x")) is None
    assert faults.refused(FileNotFoundError(errno.ENOENT, "x", "y")) is None
    assert isinstance(faults.refused(PermissionError(errno.EACCES, "x", "y")), InputError)
