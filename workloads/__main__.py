"""Run all workloads that this installation and machine can run, each in a process of its own; print a table.

    python -m workloads                        # on the CPU, and on a GPU where there is one
    python -m workloads --gpu require          # without a usable GPU: fail
    python -m workloads --controls             # each with its negative control, which must be noticed
    python -m workloads --json lstm compile    # two of them, for a program

A workload passes, fails, or is not run, with the reason. Those of torchvision and torchaudio are run where these are
installed, or where they are named. Exit status: 0 if all passed, 1 if one failed, 2 if none failed but some were not
run.
"""

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, NamedTuple

NAMES = (
    "autograd", "libraries", "dynamic", "cnn", "lstm", "transformer", "gan", "amp",
    "compile", "loader", "save", "ddp", "vision", "audio",
)  # fmt: skip
PART = {"vision": "torchvision", "audio": "torchaudio"}
"""What a workload is about, where that is a distribution of its own, which not every release of PyTorch has."""
PASS, FAIL, NOT_RUN = "pass", "fail", "not-run"
PATIENCE = 300
"""Seconds for one workload."""


class Ended(NamedTuple):
    """How a program ended: its exit status, or None if it had to be killed, and what it wrote."""

    status: "int | None"
    output: str
    errors: str

    @property
    def last_words(self) -> str:
        """The last line on standard error that says something."""
        return (self.errors.strip().splitlines() or ["it said nothing"])[-1].strip()


class Row(NamedTuple):
    """A line of the table: `why` is the reason of a failure or of not having run, or the measured values."""

    workload: str
    device: str
    outcome: str
    why: str
    seconds: float


def start(module: str, arguments: "list[str]") -> Ended:
    """Run a module of this package to its end; after PATIENCE seconds, kill it with all that it started."""
    made = subprocess.Popen(
        [sys.executable, "-B", "-m", module, *arguments],
        cwd=str(Path(__file__).resolve().parent.parent),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        start_new_session=True,
    )
    try:
        output, errors = made.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(made.pid, signal.SIGKILL)
        made.communicate()
        return Ended(None, "", f"it had not ended after {PATIENCE} s")
    return Ended(made.returncode, output, errors)


def judge(ended: Ended, device: str, control: bool) -> "tuple[str, str]":
    """Outcome and reason of a workload's end; with its control, what must be seen is a missed limit."""
    if ended.status == 2:
        return NOT_RUN, ended.last_words.replace("can't run: ", "")
    try:
        result = json.loads(ended.output)
    except ValueError:
        return FAIL, ended.last_words
    if not result["device"].startswith(device):
        return FAIL, f"it ran on {result['device']}"
    found = ", ".join(f"{name} {_worst(values)}" for name, values in result["measured"].items())
    right = (1, False) if control else (0, True)
    if (ended.status, result["reached"]) == right:
        return PASS, found
    return FAIL, f"the control was not noticed: {found}" if control else f"{found}; wanted {result['limits']}"


def run_one(name: str, device: str, control: bool) -> Row:
    """Run a workload on a device."""
    began = time.perf_counter()
    ended = start(f"workloads.{name}", ["--device", device, *(["--control"] if control else [])])
    return Row(name, device, *judge(ended, device, control), round(time.perf_counter() - began, 1))


def listed() -> "list[str]":
    """The workloads of what is installed."""
    return [name for name in NAMES if name not in PART or importlib.util.find_spec(PART[name])]


def why_no_gpu(mode: str) -> str:
    """Why nothing is run on a GPU; empty if it is."""
    if mode == "none":
        return "--gpu none was given"
    ended = start("workloads.harness", ["--device", "cuda"])
    return "" if ended.status == 0 else ended.last_words.replace("can't run: ", "")


def run_all(names: "list[str]", mode: str, control: bool, say: "Callable[[Row], None]") -> "list[Row]":
    """Run workloads on the CPU, then on the GPU or not, as `mode` says: auto, require or none."""
    refusal, rows = why_no_gpu(mode), []
    for device in ("cpu", "cuda"):
        for name in names:
            if device == "cuda" and refusal:
                row = Row(name, device, FAIL if mode == "require" else NOT_RUN, refusal, 0.0)
            else:
                row = run_one(name, device, control)
            rows.append(row)
            say(row)
    return rows


def headline(rows: "list[Row]") -> str:
    """How many passed, failed and were not run."""
    count = [sum(row.outcome == outcome for row in rows) for outcome in (PASS, FAIL, NOT_RUN)]
    return "{} passed, {} failed, {} not run".format(*count)


def exit_status(rows: "list[Row]") -> int:
    """The worst outcome: 1 for a failure, else 2 for what was not run, else 0."""
    outcomes = {row.outcome for row in rows}
    return 1 if FAIL in outcomes else 2 if NOT_RUN in outcomes else 0


def show(row: Row) -> None:
    """Print a line of the table."""
    print(f"{row.outcome:<7}  {row.device:<4}  {row.workload:<11}  {row.seconds:>5.1f} s  {row.why}", flush=True)


def main(arguments: "list[str] | None" = None) -> int:
    """Parse the command line, run, print the table or JSON; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m workloads", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; without any, all that can be")
    parser.add_argument("--gpu", choices=("auto", "require", "none"), default="auto")
    parser.add_argument("--controls", action="store_true", help="spoil each run; passes if that is noticed")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(NAMES))
    if unknown:
        parser.error(f"no such workload: {', '.join(unknown)}")
    if importlib.util.find_spec("torch") is None:
        parser.error("torch is not installed")
    quiet = (lambda _: None) if options.json else show
    rows = run_all(options.names or listed(), options.gpu, options.controls, quiet)
    if options.json:
        print(json.dumps({"headline": headline(rows), "workloads": [row._asdict() for row in rows]}))
    else:
        print(headline(rows))
    return exit_status(rows)


def _worst(values: "list[object]") -> str:
    """A value, or the range of several."""
    if len(set(values)) == 1 or not all(isinstance(value, (int, float)) for value in values):
        return str(values[0])
    return f"{min(values)} to {max(values)}"


if __name__ == "__main__":
    sys.exit(main())
