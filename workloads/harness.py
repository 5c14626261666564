"""What all workloads share: their arguments, their limits, one line of JSON, and what their exit status means.

    0  every measured value kept its limit, on every seed
    1  one did not; or the program broke off, and then there is a traceback and no JSON
    2  it can't run as asked: there is no such device, or a part of PyTorch is missing; standard error says which

Nothing is ever moved from a GPU to the CPU: a device that can't be used ends the program before it prints anything.
`python -m workloads.harness --device cuda` tries a device, and prints its name.
"""

import argparse
import atexit
import json
import math
import os
import resource
import shutil
import sys
import tempfile
import time
from inspect import signature
from pathlib import Path
from typing import Callable, NamedTuple

import torch

PASSED, MISSED, CANNOT_RUN = 0, 1, 2


class CannotRun(Exception):
    """What was asked for does not exist here; the text says what is missing."""


class Limit(NamedTuple):
    """What a measured value must be: `>=` or `<=` a bound. NaN keeps no limit."""

    relation: str
    bound: float

    def kept(self, value: float) -> bool:
        """Whether a value is within the limit."""
        return value >= self.bound if self.relation == ">=" else value <= self.bound


def nothing(_: object) -> None:
    """The hook of a workload that needs nothing special."""


class Workload(NamedTuple):
    """A program that measures something for a seed, and the limits of what it measures.

    `measure` gets the parsed options (`device`, `seeds`, `control`) and one seed, and returns values by name: numbers
    for all names that have a limit; whatever else helps to understand them. `control` is the option that spoils the run
    in such a way that a limit must be missed. `needs` raises CannotRun for options that can't be served here.
    `summarise` may add to the result.
    """

    measure: "Callable[[argparse.Namespace, int], dict[str, object]]"
    limits: "dict[str, Limit]"
    control: str
    spoils: str
    gpu_limits: "tuple[tuple[str, Limit], ...]" = ()
    needs: "Callable[[argparse.Namespace], None]" = nothing
    add_arguments: "Callable[[argparse.ArgumentParser], None]" = nothing
    summarise: "Callable[[dict[str, object]], dict[str, object]]" = dict
    seeds: "tuple[int, ...]" = (0,)


def device(text: str) -> torch.device:
    """The device that a command line names; a ValueError for other kinds than cpu and cuda."""
    try:
        found = torch.device(text)
    except RuntimeError:
        raise ValueError(text) from None
    if found.type not in ("cpu", "cuda"):
        raise ValueError(text)
    return found


def require(wanted: torch.device) -> None:
    """Compute something on a device; CannotRun with PyTorch's own words if that fails."""
    try:
        torch.ones(2, device=wanted).sum().item()
    except (RuntimeError, AssertionError) as error:
        raise CannotRun(f"no usable GPU: {str(error).strip().splitlines()[0]}") from None


def name_of(used: torch.device) -> str:
    """What the hardware calls itself: the GPU's product name, or cpu."""
    return torch.cuda.get_device_name(used) if used.type == "cuda" else "cpu"


def make_scratch() -> Path:
    """A folder for all that is written, removed when the program ends; in /dev/shm if no usual place can be written.

    Torch itself leaves a folder for compiled code even where nothing is compiled.
    """
    try:
        parent = tempfile.gettempdir()
    except FileNotFoundError:
        parent = "/dev/shm"
    folder = tempfile.mkdtemp(dir=parent)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    os.environ.update(TORCHINDUCTOR_CACHE_DIR=folder, TRITON_CACHE_DIR=str(Path(folder, "triton")))
    return Path(folder)


def load_saved(path: Path, wanted: torch.device) -> object:
    """What torch.save left, by the reader that runs no code where there is one: PyTorch before 1.13 has none."""
    safe = {"weights_only": True} if "weights_only" in signature(torch.load).parameters else {}
    return torch.load(path, map_location=wanted, **safe)


def parse(workload: Workload, description: str, arguments: "list[str] | None") -> argparse.Namespace:
    """The options that all workloads have, and those of this one."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", default="cpu", type=device, help="cpu, cuda or cuda:N; never changed in silence")
    parser.add_argument("--seeds", default=list(workload.seeds), type=int, nargs="+", metavar="N")
    parser.add_argument(
        workload.control, "--control", dest="control", action="store_true", help=f"must fail: {workload.spoils}"
    )
    workload.add_arguments(parser)
    return parser.parse_args(arguments)


def run(workload: Workload, options: argparse.Namespace) -> "dict[str, object]":
    """Measure once per seed. `seconds` is wall time, `peak_mib` the largest process's resident memory."""
    require(options.device)
    workload.needs(options)
    make_scratch()
    # Threads add numbers in another order on each machine; and where they lack a core, all wait for the last: on two
    # busy cores, two of them took ten times as long as one.
    torch.set_num_threads(1)
    began = time.perf_counter()
    runs = [workload.measure(options, seed) for seed in options.seeds]
    limits = dict(workload.limits)
    limits.update(workload.gpu_limits if options.device.type == "cuda" else ())
    usage = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    result = {
        "torch": str(torch.__version__),
        "device": str(options.device),
        "device_name": name_of(options.device),
        "seeds": options.seeds,
        "control": options.control,
        "measured": {name: [_shown(values[name]) for values in runs] for name in runs[0]},
        "limits": {name: "{} {:g}".format(*limit) for name, limit in limits.items()},
        "reached": all(limit.kept(values[name]) for name, limit in limits.items() for values in runs),
        "seconds": round(time.perf_counter() - began, 1),
        "peak_mib": max(usage) // 1024,
    }
    return workload.summarise(result)


def main(workload: Workload, description: str, arguments: "list[str] | None" = None) -> int:
    """Parse the command line, run, print one line of JSON; the exit status."""
    options = parse(workload, description.splitlines()[0], arguments)
    try:
        result = run(workload, options)
    except CannotRun as error:
        return refuse(error)
    print(json.dumps(result))
    return PASSED if result["reached"] else MISSED


def refuse(error: CannotRun) -> int:
    """Say on standard error why it can't run; the exit status for that."""
    print(f"can't run: {error}", file=sys.stderr)
    return CANNOT_RUN


def leave(status: int) -> None:
    """End a process with a status, but without Python's own end, in which threads that PyTorch left can abort it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _shown(value: object) -> object:
    """A number as JSON has it: four significant digits, and no NaN."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.4g}") if math.isfinite(value) else str(value)


def _try_device(arguments: "list[str] | None" = None) -> int:
    parser = argparse.ArgumentParser(description="Try a device, and print its name.")
    parser.add_argument("--device", required=True, type=device)
    wanted = parser.parse_args(arguments).device
    try:
        require(wanted)
    except CannotRun as error:
        return refuse(error)
    print(name_of(wanted))
    return PASSED


if __name__ == "__main__":
    sys.exit(_try_device())
