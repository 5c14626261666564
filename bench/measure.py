"""Runs a command and measures it: wall time, memory of a tree of processes, bytes from the network."""

import contextlib
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torchdev.util.errors import BuildError

EVERY = 0.5
"""Seconds between two looks at the memory."""
PATIENCE = 60
"""Seconds that an interrupted command gets to tidy up."""
TICKS = os.sysconf("SC_CLK_TCK")
WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
TAIL = 15
"""Lines of output that a failure shows."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One command's cost: wall seconds, highest bytes of memory seen, bytes fetched; and what it wrote.

    `others` are the seconds that processors worked for other programs meanwhile: it makes all figures worse.
    """

    seconds: float
    memory: int
    fetched: int
    others: float
    output: str


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command and how it is run: `allowed` are the statuses that are no failure, `limit` the most seconds it gets."""

    words: "Sequence[str]"
    env: "Mapping[str, str]"
    cwd: "Path | None" = None
    allowed: "tuple[int, ...]" = (0,)
    limit: "float | None" = None

    @property
    def shown(self) -> str:
        """Its first words, for messages."""
        return f"{' '.join(self.words[:6])} …"


def run(
    command: Command, log: Path, *, roots: "tuple[int, ...]" = (), received: "Callable[[], int]" = lambda: 0
) -> Measured:
    """Run a command to its end; BuildError with the end of its log if it fails or exceeds its limit.

    Memory is that of the command, of the processes `roots`, and of all their descendants.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    before, own, all_of_them = received(), processor(roots), busy()
    with log.with_suffix(".out").open("w+") as out, log.open("w") as err:
        began = time.perf_counter()
        child = subprocess.Popen(
            command.words,
            cwd=command.cwd,
            env=dict(command.env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        sampler = Sampler((child.pid, *roots))
        try:
            status = _wait(child, command)
            seconds = time.perf_counter() - began
        finally:
            sampler.stop()
        out.seek(0)
        output = out.read()
    if status not in command.allowed:
        tail = "\n".join(f"  {line}" for line in [*output.splitlines(), *log.read_text().splitlines()][-TAIL:])
        raise BuildError(f"{command.shown} failed ({status})\n{tail}", next_step="python build.py doctor")
    others = max(0.0, busy() - all_of_them - (processor(roots) - own))
    return Measured(seconds=seconds, memory=sampler.peak, fetched=received() - before, others=others, output=output)


def _wait(child: "subprocess.Popen[bytes]", command: Command) -> int:
    """The status with which a command ends; one that exceeds its limit, or whose run is interrupted, is stopped."""
    try:
        return child.wait(command.limit)
    except subprocess.TimeoutExpired:
        _stop(child)
        what = f"{command.shown} was stopped: it took more than {command.limit:.0f} s"
        raise BuildError(what, next_step="see docs/bench.md") from None
    except BaseException:
        _stop(child)
        raise


def _stop(child: "subprocess.Popen[bytes]") -> None:
    """Interrupt a command and all that it started; what is left of them after a while, or after its end, is killed."""
    with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(child.pid, signal.SIGINT)
        child.wait(PATIENCE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


class Sampler:
    """Looks at the memory of trees of processes until it is stopped; `peak` is the most it saw, in bytes."""

    def __init__(self, roots: "tuple[int, ...]") -> None:
        self.peak = 0
        self._roots = roots
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._done.wait(EVERY):
            self.peak = max(self.peak, sum(memory_of(pid) for pid in descendants(parents(), self._roots)))

    def stop(self) -> None:
        """Look no more."""
        self._done.set()
        self._thread.join()


def busy() -> float:
    """Seconds that all processors have worked since the machine was started, waiting for disks left out."""
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    values = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    ticks = dict(zip(names, map(int, values), strict=False))
    return sum(ticks[name] for name in ("user", "nice", "system", "irq", "softirq", "steal")) / TICKS


def processor(roots: "Iterable[int]") -> float:
    """Seconds that processors have worked for this process, for `roots`, and for all children of theirs that ended."""
    spent = sum(resource.getrusage(who)[0] + resource.getrusage(who)[1] for who in WHO)
    for pid in roots:
        with contextlib.suppress(OSError):
            fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
            spent += sum(map(int, fields[11:15])) / TICKS
    return spent


def parents() -> dict[int, int]:
    """Every process of this machine and its parent."""
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - several times a second: names alone are enough
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                found[int(name)] = int(Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[1])
    return found


def descendants(parent: "Mapping[int, int]", roots: "Iterable[int]") -> set[int]:
    """The roots and all that come from them."""
    children: dict[int, list[int]] = {}
    for pid, above in parent.items():
        children.setdefault(above, []).append(pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, [])
    return found


def memory_of(pid: int) -> int:
    """Bytes that a process has for itself: anonymous and shared memory, and no files; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in lines if line.startswith(("RssAnon:", "RssShmem:")))
    return sum(int(value.split()[0]) * 1024 for value in fields.values())
