"""Measures torchdev against a naive build and the floor, on an engine of its own; or prints what was measured."""

import argparse
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import bases, cells, disk, predicted, session, source, table
from bench.cells import Subject
from bench.contenders import CONTENDERS, Setting
from bench.engine import Site, engine, info
from bench.network import need_tools, network
from bench.results import Results, from_json
from bench.session import MEASURES, Wish
from torchdev import process
from torchdev.errors import EngineError, Exit, InputError, TorchdevError

ROOT = Path(__file__).resolve().parent.parent
LOCK = Path("/run/lock/torchdev-bench")
PREFIX = "torchdev-bench-"
"""Of the folder in which everything happens."""
DEFAULT = ("py311-cu130-torch2.14.1", "py313-cu130-torch2.14.1", "py311-cu132-torch2.15.0", "py313-cu132-torch2.15.0")
"""Two Pythons in two CUDA sets."""
PREDICTED = "predicted"
ALL = (*MEASURES, PREDICTED)


def parser() -> argparse.ArgumentParser:
    """The options."""
    found = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, epilog="docs/bench.md says what each figure means"
    )
    add = found.add_argument
    add("--table", type=Path, metavar="FILE", help="measure nothing: print the table of what FILE says was measured")
    add("--only", default=",".join(ALL), metavar="A,B", help=f"measure only these, of: {', '.join(ALL)}")
    add("--cells", default="1,4", metavar="N,M", help="with so many cells; default: 1,4")
    add("--cell", action="append", metavar="CELL", help=f"a cell, instead of {', '.join(DEFAULT)}; may be repeated")
    add("--contenders", default=",".join(CONTENDERS), metavar="A,B", help="compare only these")
    add("--repeat", type=int, default=1, metavar="N", help="build cold N times, in alternating order; default: once")
    add("--json", type=Path, default=ROOT / ".torchdev" / "bench.json", metavar="FILE", help="where results go")
    add("--work", type=Path, default=Path("/var/tmp"), metavar="FOLDER", help="where images and engines are kept")
    add("--matrix-file", type=Path, default=ROOT / "matrix.yaml", metavar="FILE", help="where the cells are")
    add("--local-wheels", action="store_true", help="let all take wheels from this machine's own folders, too")
    return found


def main(words: "list[str]") -> int:
    """Measure or print; the exit code."""
    options = parser().parse_args(words)
    process.prepare(interrupt)
    try:
        if options.table:
            print(table.as_text(read(options.table)), end="")
            return int(Exit.OK)
        return measure(options)
    except TorchdevError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(error.code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return int(Exit.INTERRUPTED)


def read(file: Path) -> Results:
    """What a run has written."""
    try:
        return from_json(file.read_text(encoding="utf-8"), str(file))
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror}", where=str(file), next_step="python -m bench") from None


def measure(options: argparse.Namespace) -> int:
    """Do a run, print its table and write its JSON; the exit code says whether all was measured."""
    wish = wished(options)
    need_tools()
    host = source.settings(local=options.local_wheels)
    subjects, entries, listed = chosen(options, max(wish.counts))
    results = Results()

    def save() -> None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(results.to_json(), encoding="utf-8")

    with alone():
        clear(options.work)
        disk.check(options.work, disk.needed(subjects, wish.measures))
        with folder(options.work) as work, network() as net:
            site = Site(work, net, source.variables(host, local=options.local_wheels))
            matrix = own_matrix(options.matrix_file, work / "matrix", subjects, entries)
            made = bases.prepare(site, ROOT, matrix, subjects, say)
            setting = Setting(site, made, host, ROOT, matrix)
            begin(results, setting, options, subjects, listed, wish)
            session.run(results, setting, subjects, wish, say, save)
            if PREDICTED in wish.measures:
                foretell(results, setting, subjects, options.matrix_file, listed)
    save()
    print(table.as_text(results), end="")
    say(f"written to {options.json}")
    return int(Exit.BUILD if results.missing else Exit.OK)


def wished(options: argparse.Namespace) -> Wish:
    """What the options ask for; InputError where they name something that is not there."""
    measures, who = words_of(options.only, ALL, "--only"), words_of(options.contenders, CONTENDERS, "--contenders")
    try:
        counts = tuple(sorted({int(count) for count in options.cells.split(",")}))
    except ValueError:
        counts = (0,)
    most = len(options.cell or DEFAULT)
    if counts[0] < 1 or counts[-1] > most or options.repeat < 1:
        what = f"numbers from 1 to {most}, the cells that are named, and --repeat from 1"
        raise InputError(what, where="--cells", next_step="python -m bench --cells 1,4")
    return Wish(frozenset(measures), counts, options.repeat, tuple(c for c in CONTENDERS if c in who))


def words_of(text: str, known: "Sequence[str]", option: str) -> "list[str]":
    """The words of an option that takes several."""
    found = text.split(",")
    if unknown := [word for word in found if word not in known]:
        what = f"{', '.join(unknown)}: not one of {', '.join(known)}"
        raise InputError(what, where=option, next_step="python -m bench --help")
    return found


def chosen(
    options: argparse.Namespace, count: int
) -> "tuple[tuple[Subject, ...], list[dict[str, Any]], list[dict[str, Any]]]":
    """The cells to measure with their locks, and as build.py lists them; then all cells of the matrix."""
    listed = json.loads(build_py("list", "--matrix-file", str(options.matrix_file), "--json"))
    names = options.cell or DEFAULT
    by_name = {name: entry for entry in listed for name in (entry["id"], *entry["aliases"])}
    if unknown := [name for name in names if name not in by_name]:
        raise InputError(f"no cell of this name: {unknown[0]}", where="--cell", next_step="python build.py list")
    entries = [by_name[name] for name in names][:count]
    images = options.matrix_file.resolve().parent / "images"
    return tuple(cells.read_subject(images, entry) for entry in entries), entries, listed


def own_matrix(file: Path, target: Path, subjects: "tuple[Subject, ...]", entries: "list[dict[str, Any]]") -> Path:
    """A matrix of the measured cells alone, rendered."""
    images = file.resolve().parent / "images"
    locks = {subject.id: images / subject.id / "lock.json" for subject in subjects}
    matrix = cells.write_matrix(cells.own_matrix(cells.read_matrix(file), entries), target, locks)
    build_py("render", "--matrix-file", str(matrix))
    return matrix


def begin(
    results: Results,
    setting: Setting,
    options: argparse.Namespace,
    subjects: "tuple[Subject, ...]",
    listed: "list[dict[str, Any]]",
    wish: Wish,
) -> None:
    """Write down where and with what this run measures, and what torchdev predicts for it."""
    with engine(setting.site, "begin", setting.bases.data) as own:
        said = info(own)
        results.about = {
            "when": time.strftime("%Y-%m-%d"),
            "commit": subprocess.run(
                ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
            ).stdout.strip(),
            "machine": f"{said['NCPU']} cores, {said['MemTotal'] / 1e9:.0f} GB memory, Linux {said['KernelVersion']}",
            "engine": f"Docker {said['ServerVersion']}, {said['Driver']}, an own one for each measurement",
            "bases": setting.bases.origin,
            "load average before": f"{os.getloadavg()[0]:.1f}",
            "wheels": "network and folders of this machine" if options.local_wheels else "network",
            "cells": ", ".join(subject.id for subject in subjects),
        }
        if PREDICTED in wish.measures:
            for count in wish.counts:
                predicted.same(results, setting, own, subjects[:count])


def foretell(
    results: Results, setting: Setting, subjects: "tuple[Subject, ...]", file: Path, listed: "list[dict[str, Any]]"
) -> None:
    """What eight cells would take, once it is known what naive images have beside their wheels."""
    try:
        with engine(setting.site, "eight", setting.bases.data) as own:
            predicted.eight(results, setting, own, subjects, file, listed)
    except TorchdevError as error:
        results.missing["predicted, 8 cells"] = str(error)


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


def clear(parent: Path) -> None:
    """Remove the folders of runs that were killed; no other bench runs while this one holds the lock."""
    for left in parent.glob(f"{PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)


@contextmanager
def folder(parent: Path) -> Iterator[Path]:
    """A folder of the bench's own, gone afterwards."""
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
