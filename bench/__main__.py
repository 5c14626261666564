"""The bench's command line: `python -m bench` measures; `python -m bench --table FILE` prints what was measured."""

import argparse
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import bases, cells, session, source
from bench.cells import Subject
from bench.contenders import CONTENDERS, Setting
from bench.engine import Site
from bench.network import need_tools, network
from bench.results import Results
from torchdev import process
from torchdev.errors import EngineError, Exit, InputError, TorchdevError

ROOT = Path(__file__).resolve().parent.parent
LOCK = Path("/run/lock/torchdev-bench")
PREFIX = "torchdev-bench-"
DEFAULT = ("py311-cu130-torch2.14.1", "py313-cu130-torch2.14.1", "py311-cu132-torch2.15.0", "py313-cu132-torch2.15.0")


def parser() -> argparse.ArgumentParser:
    """The options."""
    found = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    found.add_argument("--only", default="cold", help="measures, separated by commas")
    found.add_argument("--cells", default="1,4", help="numbers of cells, separated by commas")
    found.add_argument("--cell", action="append", metavar="ID", help="a cell to measure, instead of the default ones")
    found.add_argument("--contenders", default=",".join(CONTENDERS), help="those to compare, separated by commas")
    found.add_argument("--repeat", type=int, default=1, metavar="N", help="repetitions of cold builds")
    found.add_argument("--matrix-file", type=Path, default=ROOT / "matrix.yaml", metavar="FILE")
    found.add_argument("--local-wheels", action="store_true", help="let every contender use this machine's wheels")
    found.add_argument("--work", type=Path, default=Path("/var/tmp"), metavar="FOLDER")
    found.add_argument("--json", type=Path, metavar="FILE", help="write what was measured")
    return found


def main(words: "list[str]") -> int:
    """Measure or print; the exit code."""
    options = parser().parse_args(words)
    process.prepare(interrupt)
    try:
        return measure(options)
    except TorchdevError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(error.code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return int(Exit.INTERRUPTED)


def measure(options: argparse.Namespace) -> int:
    """Do a run."""
    need_tools()
    results = Results()
    host = source.settings(local=options.local_wheels)
    entries = listed(options.matrix_file, options.cell or list(DEFAULT))
    images = options.matrix_file.resolve().parent / "images"
    subjects = tuple(cells.read_subject(images, entry) for entry in entries)
    with alone(), folder(options.work) as work, network() as net:
        site = Site(work, net, source.variables(host, local=options.local_wheels))
        locks = {subject.id: images / subject.id / "lock.json" for subject in subjects}
        matrix = cells.write_matrix(
            cells.own_matrix(cells.read_matrix(options.matrix_file), entries), work / "matrix", locks
        )
        build_py("render", "--matrix-file", str(matrix))
        setting = Setting(site, bases.prepare(site, ROOT, matrix, subjects, say), host, ROOT, matrix)
        counts = tuple(int(n) for n in options.cells.split(","))
        wish = session.Wish(frozenset(options.only.split(",")), counts, options.repeat, tuple(options.contenders.split(",")))
        session.run(results, setting, subjects, wish, say)
    print(results.to_json())
    return 0


def listed(matrix: Path, names: "list[str]") -> "list[dict[str, object]]":
    """The cells of a matrix by name, as build.py lists them."""
    found: list[dict[str, object]] = json.loads(build_py("list", "--matrix-file", str(matrix), "--json", *names))
    by_id = {str(entry["id"]): entry for entry in found}
    return [by_id[name] for name in names if name in by_id] or found


def build_py(*words: str) -> str:
    """What build.py writes; InputError with its words if it fails."""
    done = subprocess.run([sys.executable, str(ROOT / "build.py"), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(done.stderr.strip().removeprefix("error: "))
    return done.stdout


@contextmanager
def alone() -> Iterator[None]:
    """One bench at a time on a machine."""
    with LOCK.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EngineError("another bench runs on this machine", next_step="wait for its end") from None
        yield


@contextmanager
def folder(parent: Path) -> Iterator[Path]:
    """A folder of the bench's own, gone afterwards; what a killed run has left goes first."""
    for left in parent.glob(f"{PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
    path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def interrupt(number: int, frame: object) -> None:
    """A signal ends a run in good order."""
    raise KeyboardInterrupt


def say(text: str) -> None:
    """Progress goes to standard error."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
