"""Child processes that an interrupt reaches in good order: each is told to stop, and waited for while it tidies up."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PATIENCE = 60
"""Seconds that a child gets to tidy up after it was interrupted."""

_lock = threading.Lock()
_running: "set[subprocess.Popen[str]]" = set()
_stopping = threading.Event()


class InterruptedRun(Exception):
    """The run was interrupted, so this child was stopped or never started."""


def prepare(interrupt: Callable[[int, object], None]) -> None:
    """Have SIGTERM and SIGHUP end the run by `interrupt`, unless whoever started it had them ignored, as nohup does.

    Where SIGINT is ignored, as for the background jobs of a shell script, it stays without effect here; but it gets a
    handler, since what is ignored is ignored by children too, and they are stopped by it.
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
    """Run a command to its end, each line of its output to `on_line`; its exit status."""
    with _lock:
        if _stopping.is_set():
            raise InterruptedRun
        # In a session of its own, so that Ctrl-C reaches it by way of interrupt_all alone, and only once.
        child = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        _running.add(child)
    try:
        assert child.stdout is not None
        for line in child.stdout:
            on_line(line)
        status = child.wait()
    except BaseException:
        _stop(child)
        raise
    finally:
        with _lock:
            _running.discard(child)
    if _stopping.is_set():
        raise InterruptedRun
    return status


def interrupt_all() -> None:
    """Tell every running child to stop; those who wait for one get InterruptedRun, and no other is started."""
    _stopping.set()
    with _lock:
        for child in _running:
            _signal(child, signal.SIGINT)


def pause(seconds: float) -> None:
    """Wait, unless the run is interrupted: then InterruptedRun."""
    if _stopping.wait(seconds):
        raise InterruptedRun


def _stop(child: "subprocess.Popen[str]") -> None:
    _signal(child, signal.SIGINT)
    try:
        child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        _signal(child, signal.SIGKILL)


def _signal(child: "subprocess.Popen[str]", number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)
