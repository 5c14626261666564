"""Standard output and error of this process; a failure to write there is an error.

Standard library alone, since they are needed first.
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
"""The file descriptor of standard error."""
NOTICE = 5.0
"""Seconds of silence before a message says what the run waits for."""
OUTPUT, ERROR = "standard output", "standard error"


class ReaderGoneError(Exception):
    """The reader of the output has closed it, as `head` does when it has enough."""


class StreamError(OSError):
    """A stream that can't be written, as an error about a file with the stream's name."""


def prepare() -> None:
    """Ensure three streams that accept every text, however this process was started.

    A closed standard output stays unwritable, because results would be lost; progress may be lost.
    """
    while (opened := os.open(os.devnull, os.O_RDWR)) <= HIGHEST:
        pass  # a stream was closed; files that are opened later must not get its descriptor
    os.close(opened)
    sys.stdout = sys.stdout or _closed()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # the process's own are TextIOWrapper


def show(text: str) -> None:
    """Print a result to standard output, which has results only."""
    _write(sys.stdout, OUTPUT, f"{text}\n")


def say(text: str) -> None:
    """Print progress to standard error."""
    _write(sys.stderr, ERROR, f"{texts.printable(text)}\n")


@contextlib.contextmanager
def waiting(what: str, at_most: float) -> Iterator[None]:
    """If the wait is long, print once to standard error what is waited for, and for how many seconds at most."""

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
    """Write buffered output."""
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
    """Discard what Python would try to write again at its end, and complain about."""
    for number, stream in ((1, sys.stdout), (HIGHEST, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def _closed() -> TextIO:
    """A standard output that fails like a closed one, on a descriptor that no other file can get."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 1)
    return os.fdopen(1, "w", encoding="utf-8")


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")
