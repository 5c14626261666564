"""How a process ends: its output is written, and any failure is one message with an exit code of its kind.

What the machine refuses is reported as that: a full disk, a read-only folder, no memory. Anything unexpected is a fault
of torchdev: its traceback goes into a log that can be sent. Standard library alone, since a run may end before anything
else is there.
"""

import contextlib
import errno
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from torchdev.util import streams, texts
from torchdev.util.commands import written
from torchdev.util.errors import Exit, InputError, TorchdevError

MACHINE = {
    errno.ENOSPC: "make room: df -h",
    errno.EDQUOT: "make room: quota -s",
    errno.EROFS: "work in a checkout that this user may write to",
    errno.EACCES: "allow this user to read and write there, or work in a checkout of its own",
    errno.EPERM: "allow this user to read and write there, or work in a checkout of its own",
    errno.EMFILE: "allow more open files: ulimit -n 4096",
    errno.ENFILE: "close programs that have many files open",
    errno.ENOMEM: "close other programs, or allow more memory: ulimit -v",
    errno.EIO: "look at the disk: dmesg",
    errno.ENOTDIR: "move it out of the way",
    errno.EISDIR: "move it out of the way",
    errno.EEXIST: "move it out of the way",
    errno.ELOOP: "remove the link that leads back to itself",
    errno.ENAMETOOLONG: "take a shorter name, or a checkout in a shorter path",
    errno.ETXTBSY: "wait for the program that has it open",
    errno.EAGAIN: "close other programs, or allow more processes: ulimit -u",
}
"""Errors of the operating system that are no fault of torchdev, and what to do about them."""
SEND = "send that log to torchdev's developers"


class Interrupts:
    """Raises Ctrl-C as an exception, and remembers it in case an import turns that into another one."""

    def __init__(self) -> None:
        self.came = False

    def listen(self) -> None:
        """Replace the default handler, which ends the process without a message; an ignored signal stays ignored."""
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self.take)

    def take(self, number: int, frame: "FrameType | None") -> None:
        """Note an interrupt, and raise it."""
        self.came = True
        raise KeyboardInterrupt


def ended(run: "Callable[[], int]", root: Path, logs: "Callable[[], Path]") -> int:
    """Run the work of a whole process; returns its exit code. `logs` is the folder for the log of a fault."""
    interrupts = Interrupts()
    threading.excepthook = lambda caught: _tell(told(caught.exc_value or RuntimeError("a thread ended"), root, logs))
    try:
        try:
            interrupts.listen()
            streams.prepare()
            code = run()
        except SystemExit as asked:
            code = asked.code if isinstance(asked.code, int) else int(asked.code is not None)
        streams.flush()
        return code
    except BaseException as error:  # any failure ends in one message
        with contextlib.suppress(KeyboardInterrupt):
            return _told(KeyboardInterrupt() if interrupts.came else error, root, logs)
        return Exit.INTERRUPTED
    finally:
        streams.let_go()


def _told(error: BaseException, root: Path, logs: "Callable[[], Path]") -> int:
    """Report how a run ended; returns its exit code."""
    if isinstance(error, KeyboardInterrupt):
        _tell("interrupted")
        return Exit.INTERRUPTED
    if isinstance(error, streams.ReaderGoneError):
        return Exit.CLOSED
    known = error if isinstance(error, TorchdevError) else refused(error)
    _tell(f"error: {known}" if known else told(error, root, logs))
    return known.code if known else Exit.FAULT


def refused(error: BaseException) -> "TorchdevError | None":
    """An error of the machine as a user's error; None for anything else."""
    if isinstance(error, MemoryError):
        return InputError("there is not enough memory", next_step=MACHINE[errno.ENOMEM])
    if isinstance(error, FileNotFoundError) and error.filename is None and _folder_is_gone():
        return InputError("the current folder is gone", next_step="cd to one that exists")
    if isinstance(error, streams.StreamError) and error.errno == errno.EBADF:
        return InputError("it is closed", where=error.filename, next_step="send it to a file, or to /dev/null")
    if isinstance(error, OSError) and error.errno in MACHINE:
        path = error.filename if error.filename is not None else ""
        where = os.fsdecode(path) if isinstance(path, str | bytes) else ""
        return InputError(os.strerror(error.errno), where=where, next_step=MACHINE[error.errno])
    return None


def _folder_is_gone() -> bool:
    """Whether the current folder was removed, so that no relative path can be resolved."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


@contextlib.contextmanager
def machine() -> "Iterator[None]":
    """Turn errors of the machine in this block into user's errors, for work after which the run goes on."""
    try:
        yield
    except (OSError, MemoryError) as error:
        raise refused(error) or error from None


def told(error: BaseException, root: Path, logs: "Callable[[], Path]") -> str:
    """A fault in one line, with its log; if that can't be written, with its position in the code."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    position = f" ({Path(last[0].filename).name}:{last[0].lineno})" if last else ""
    what = f"error: a fault of torchdev itself: {type(error).__name__}{position}: {without_secrets(error)}"
    log = recorded(error, root, logs)
    return texts.shown(what, 500) + (f"\n  next: {SEND}: {written([str(log)])}" if log else "")


def recorded(error: BaseException, root: Path, logs: "Callable[[], Path]") -> "Path | None":
    """Write the log of a fault beside the other logs, or else into the folder of temporary files."""
    name = time.strftime(f"fault-%Y%m%d-%H%M%S-{os.getpid()}.log")
    with contextlib.suppress(Exception):
        text = _report(error, root)
        for folder in (logs, lambda: Path(tempfile.mkdtemp(prefix="torchdev-"))):
            with contextlib.suppress(OSError):
                target = folder()
                target.mkdir(parents=True, exist_ok=True)
                (target / name).write_text(text, encoding="utf-8", errors="backslashreplace")
                return target / name
    return None


def _report(error: BaseException, root: Path) -> str:
    head = [
        f"torchdev {_version(root)}, Python {platform.python_version()}, {platform.platform()}",
        f"command: {written(sys.argv)}",
        "",
    ]
    return without_secrets("\n".join([*head, *traceback.format_exception(error)]))


def _version(root: Path) -> str:
    """The commit of a checkout, with -dirty if files were changed; empty if git fails."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=10, check=True)
        return done.stdout.strip()
    return "of an unknown commit"


def without_secrets(text: object) -> str:
    """A text whose URLs are reduced to the host: names, passwords and tokens may surround it."""
    return texts.URL_SECRETS.sub(r"\1\3", str(text))


def _tell(text: str) -> None:
    """Print a line, if standard error works."""
    with contextlib.suppress(OSError, ValueError, streams.ReaderGoneError):
        streams.say(text)
