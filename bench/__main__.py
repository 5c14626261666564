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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import bases, cells, disk, predicted, session, source, table
from bench.cells import Subject
from bench.contenders import Setting
from bench.engine import Workspace, engine, info
from bench.network import need_tools, network
from bench.options import DEFAULT, FIFTY, PREDICTED, ROOT, parser, selected
from bench.results import Results, from_json
from bench.session import Selection
from torchdev.util import process
from torchdev.util.errors import EngineError, Exit, InputError, TorchdevError

LOCK = Path("/run/lock/torchdev-bench")
PREFIX = "torchdev-bench-"
"""Of the folder in which everything happens."""


def main(words: "list[str]") -> int:
    """Measure or print; the exit code."""
    options = parser().parse_args(words)
    process.prepare(interrupt)
    try:
        if options.table:
            return show(read(options.table), options.page)
        return measure(options)
    except TorchdevError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(error.code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return int(Exit.INTERRUPTED)


def show(results: Results, page: "Path | None") -> int:
    """Print what was measured, or write it into a page."""
    if page:
        text = page.read_text(encoding="utf-8") if page.is_file() else ""
        if table.BEGIN not in text or table.END not in text:
            raise InputError("it has no marks for the table", where=str(page), next_step="--page docs/bench.md")
        page.write_text(table.in_page(text, results), encoding="utf-8")
    else:
        print(table.as_text(results), end="")
    return int(Exit.OK)


def read(file: Path) -> Results:
    """What a run has written."""
    try:
        return from_json(file.read_text(encoding="utf-8"), str(file))
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror}", where=str(file), next_step="python -m bench") from None


def measure(options: argparse.Namespace) -> int:
    """Do a run, print its table and write its JSON; the exit code says whether all was measured."""
    selection = selected(options)
    need_tools()
    host = source.settings(local=options.local_wheels)
    subjects, entries, listed = chosen(options)
    built = subjects[: max(selection.counts)]
    results = Results()

    def save() -> None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(results.to_json(), encoding="utf-8")

    with locked(), network() as net:
        clear(options.work)
        disk.check(options.work, disk.needed(built, selection.measures, selection.contenders))
        with folder(options.work) as work:
            workspace = Workspace(work, net, source.variables(host, local=options.local_wheels))
            matrix = own_matrix(options.matrix_file, work / "matrix", subjects, entries)
            # The 50 cells have the Pythons of all cells that are named, be they built or not.
            made = bases.prepare(workspace, ROOT, matrix, subjects if FIFTY in selection.measures else built, say)
            setting = Setting(workspace=workspace, bases=made, host=host, root=ROOT, matrix=matrix)
            begin(results, setting, options, built, selection)
            session.run(results, setting, subjects, selection, say, save)
            if PREDICTED in selection.measures:
                foretell(results, setting, subjects, options.matrix_file, listed)
    save()
    print(table.as_text(results), end="")
    say(f"written to {options.json}")
    return int(Exit.BUILD if results.missing else Exit.OK)


def chosen(
    options: argparse.Namespace,
) -> "tuple[tuple[Subject, ...], list[dict[str, Any]], list[dict[str, Any]]]":
    """The cells to measure with their locks, and as build.py lists them; then all cells of the matrix."""
    listed = json.loads(build_py("list", "--matrix-file", str(options.matrix_file), "--json"))
    names = options.cell or DEFAULT
    by_name = {name: entry for entry in listed for name in (entry["id"], *entry["aliases"])}
    if unknown := [name for name in names if name not in by_name]:
        raise InputError(f"no cell of this name: {unknown[0]}", where="--cell", next_step="python build.py list")
    entries = [by_name[name] for name in names]
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
    selection: Selection,
) -> None:
    """Write down where and with what this run measures, and what torchdev predicts for it."""
    with engine(setting.workspace, "begin", setting.bases.data) as own:
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
        if PREDICTED in selection.measures:
            for count in selection.counts:
                predicted.same(results, setting, own, subjects[:count])


def foretell(
    results: Results, setting: Setting, subjects: "tuple[Subject, ...]", file: Path, listed: "list[dict[str, Any]]"
) -> None:
    """What eight cells would take, once it is known what naive images have beside their wheels."""
    try:
        with engine(setting.workspace, "eight", setting.bases.data) as own:
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
def locked() -> Iterator[None]:
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
