"""Child processes that end in good order on an interrupt: each is told to stop, and gets time to tidy up."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")

PATIENCE = 60
"""Seconds that an interrupted child gets to tidy up."""
POLL = 0.2
"""Seconds between two looks for an interrupt."""

_lock = threading.Lock()
_running: "set[subprocess.Popen[str]]" = set()
_stopping = threading.Event()


class InterruptedRun(Exception):
    """The run was interrupted: this child was stopped or never started."""


class TooLong(Exception):
    """A child exceeded its time limit and was stopped."""


def prepare(interrupt: Callable[[int, object], None]) -> None:
    """Have SIGTERM and SIGHUP end the run by `interrupt`, unless they were ignored at the start, as by nohup.

    Where SIGINT is ignored, as in background jobs of a shell script, it has no effect here. It still gets a handler:
    children would inherit that it is ignored, and they are stopped by it.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda number, frame: None)


def run(
    command: "Sequence[str]",
    on_line: Callable[[str], None],
    *,
    cwd: "Path | None" = None,
    env: "Mapping[str, str] | None" = None,
) -> int:
    """Run a command to its end, passing each line of its output to `on_line`; returns its exit status."""
    with _started(command, cwd, {**os.environ, **(env or {})}, subprocess.STDOUT) as child:
        assert child.stdout is not None
        for line in child.stdout:
            on_line(line)
        return child.wait()


def capture(
    command: "Sequence[str]",
    *,
    limit: float,
    cwd: "Path | None" = None,
    env: "Mapping[str, str] | None" = None,
    held: "tuple[int, ...]" = (),
) -> "subprocess.CompletedProcess[str]":
    """Run a command with only these variables to its end, and capture its output; TooLong after `limit` seconds.

    `held` are descriptors that the child keeps open.
    """
    with _started(command, cwd, os.environ if env is None else env, subprocess.PIPE, held) as child:
        try:
            output, errors = child.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            raise TooLong from None
        return subprocess.CompletedProcess(command, child.returncode, output, errors)


@contextlib.contextmanager
def _started(
    command: "Sequence[str]", cwd: "Path | None", env: "Mapping[str, str]", errors: int, held: "tuple[int, ...]" = ()
) -> "Iterator[subprocess.Popen[str]]":
    """A child that interrupt_all reaches, and that is stopped if this context is left before its end."""
    with _lock:
        if _stopping.is_set():
            raise InterruptedRun
        # in a session of its own, so that Ctrl-C reaches it once, by interrupt_all
        child = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            pass_fds=held,
        )
        _running.add(child)
    try:
        yield child
    except BaseException:
        _stop(child)
        raise
    finally:
        with _lock:
            _running.discard(child)
    if _stopping.is_set():
        raise InterruptedRun


def at_once(number: int, work: "Callable[[S], T]", items: "Iterable[S]", *, all_of_them: bool = False) -> "list[T]":
    """The results of work on each item, several at once; after a failure or an interrupt, no other begins.

    `all_of_them`: after a failure the other items are still worked on.
    """
    with ThreadPoolExecutor(number) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            wait(futures, return_when=ALL_COMPLETED if all_of_them else FIRST_EXCEPTION)
        except BaseException:
            interrupt_all()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
    failed = (f.exception() for f in futures if f.done() and not f.cancelled())
    if error := next(filter(None, failed), None):
        raise error
    return [future.result() for future in futures]


def interrupt_all() -> None:
    """Tell every running child to stop; whoever waits for one gets InterruptedRun, and no other is started."""
    _stopping.set()
    with _lock:
        for child in _running:
            _signal(child, signal.SIGINT)


def pause(seconds: float) -> None:
    """Wait, unless the run is interrupted: then InterruptedRun."""
    if _stopping.wait(seconds):
        raise InterruptedRun


def wait_for(event: threading.Event, seconds: float) -> bool:
    """Whether an event comes within some seconds; InterruptedRun as soon as the run is interrupted."""
    end = time.monotonic() + seconds
    while not event.wait(min(POLL, max(0.0, end - time.monotonic()))):
        if _stopping.is_set():
            raise InterruptedRun
        if time.monotonic() >= end:
            return False
    return True


def _stop(child: "subprocess.Popen[str]") -> None:
    _signal(child, signal.SIGINT)
    try:
        child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        _signal(child, signal.SIGKILL)
        child.wait()


def _signal(child: "subprocess.Popen[str]", number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)
