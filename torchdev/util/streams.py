"""Standard output and error of this process: what can't be written there is an error that says so.

Standard library alone, since they are needed before there is more.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from torchdev.util import texts

HIGHEST = 2
"""The number of standard error."""
NOTICE = 5.0
"""Seconds of silence after which it is told what is waited for."""
OUTPUT, ERROR = "standard output", "standard error"


class ReaderGoneError(Exception):
    """Who read the output has closed it, as `head` does when it has enough."""


class StreamError(OSError):
    """A stream that can't be written to, as an error about a file that has the stream's name."""


def prepare() -> None:
    """Have three streams, whatever this process was started with, that take every text.

    What was closed stays unwritable if it is standard output, since results would be lost; progress may be.
    """
    while (opened := os.open(os.devnull, os.O_RDWR)) <= HIGHEST:
        pass  # one was closed, and files that are opened later must not take its place
    os.close(opened)
    sys.stdout = sys.stdout or _closed()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # the process's own are TextIOWrapper


def show(text: str) -> None:
    """Print a result on standard output, which holds results alone."""
    _write(sys.stdout, OUTPUT, f"{text}\n")


def say(text: str) -> None:
    """Tell of progress on standard error."""
    _write(sys.stderr, ERROR, f"{texts.printable(text)}\n")


@contextlib.contextmanager
def waiting(what: str, at_most: float) -> Iterator[None]:
    """Tell once on standard error what is waited for, and for how many seconds at most, if the wait is not short."""

    def tell() -> None:
        with contextlib.suppress(OSError, ReaderGoneError):
            say(f"waiting for {what} ({at_most:g} seconds at most)")

    timer = threading.Timer(NOTICE, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def flush() -> None:
    """Write what is still held back."""
    _write(sys.stdout, OUTPUT, "")
    _write(sys.stderr, ERROR, "")


def _write(stream: TextIO, name: str, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        raise ReaderGoneError(name) from None
    except OSError as error:
        raise StreamError(error.errno, os.strerror(error.errno or 0), name) from None


def let_go() -> None:
    """Leave nothing that Python's own end would try to write again, and complain about."""
    for number, stream in ((1, sys.stdout), (HIGHEST, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def _closed() -> TextIO:
    """Standard output that fails as a closed one does, on a descriptor that no other file can get."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 1)
    return os.fdopen(1, "w", encoding="utf-8")


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")
