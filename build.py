#!/usr/bin/env python3
"""torchdev's command line: one call into the package per stage, failures to exit codes.

What runs before environment.enter needs no package, and this file is read by older Pythons too: to be told so.
"""

import signal
import sys

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until faults.ended listens: imports take a while

if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts this may have an older one
    older = "error: {} is Python {}.{}; torchdev needs 3.11 or newer\n  next: start it with one, as {}; {}\n"
    move = "if this is the Python of .venv, move .venv away before"
    sys.stderr.write(older.format(sys.executable, *sys.version_info[:2], "python3.11 build.py", move))
    sys.exit(2)

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent
MATRIX = ROOT / "matrix.yaml"
if str(ROOT) not in sys.path:  # python -P and -I leave the folder of a program out
    sys.path.insert(0, str(ROOT))

from torchdev.cli import arguments, environment  # noqa: E402 - found by the line above
from torchdev.image.paths import Places  # noqa: E402
from torchdev.util import faults, terminal  # noqa: E402
from torchdev.util.commands import STARTED  # noqa: E402
from torchdev.util.streams import say, show  # noqa: E402

if TYPE_CHECKING:
    from torchdev.docgen.project import Project
    from torchdev.matrix.load import Cell
    from torchdev.pipeline.capacity import Outlook
    from torchdev.pipeline.report import Result
    from torchdev.pipeline.session import Options


def main(words: "list[str]") -> int:
    """Run one stage; the exit code."""
    top, stages = arguments.parser(MATRIX)
    words = words or ["--help"]
    if words[0] not in (*stages, "-h", "--help"):
        words = ["build", *words]
    own, command = arguments.split(words)
    options = top.parse_args(own, argparse.Namespace(words=command))
    STARTED.matrix_file = "" if same(options.matrix_file, MATRIX) else str(options.matrix_file)
    if options.stage == "build" and named(options) == options.matrix:
        both = "name cells, or --matrix, not both"
        top.error(both if options.matrix else "name a cell, or build every cell with --matrix")
    if command[:1] == [""]:
        top.error("the command behind -- is empty")
    if options.stage == "build" and options.push_to and options.no_test:
        top.error("--push-to pushes what has passed its checks; leave --no-test out")
    environment.enter(ROOT, words)
    from torchdev.util import process

    process.prepare(interrupt)
    return run(options)


def run(options: argparse.Namespace) -> int:
    """Call the stage's function; the exit code."""
    if options.stage == "explain":
        return answer(options)
    if options.stage == "doctor":
        from torchdev.cli import doctor

        findings = doctor.examine(ROOT)
        show(doctor.as_json(findings) if options.json else doctor.as_text(findings))
        return doctor.exit_code(findings)
    if options.stage == "catalog":
        from torchdev.cli import stages

        stages.refresh_catalog(say, accept_removed=options.accept_removed)
        return 0
    if options.stage == "check":
        from torchdev.cli import check, quickstart

        extent = "quick" if options.quick else "full" if options.full else "usual"
        return check.run(ROOT, quickstart.Consent(options.yes), say, check.Extent(extent))
    return of_cells(options)


def of_cells(options: argparse.Namespace) -> int:
    """Call the function of a stage that works on cells of a matrix; the exit code.

    What talks to engines takes half a second to import, and most stages talk to none.
    """
    from torchdev.cli import render
    from torchdev.docgen.project import open_project

    project = open_project(ROOT, options.matrix_file)
    groups = [*options.group, "default"] if getattr(options, "matrix", False) else options.group
    chosen = project.matrix.select([*options.cells, *options.select], groups)
    if options.stage in ("list", "render"):
        write(options, project, chosen)
        return 0
    from torchdev.cli import stages

    if options.stage == "plan":
        code = tell(stages.look_ahead(project, chosen, options.room), options)
        render.name_unlocked(project, chosen, say)
        return code
    if options.stage == "build":
        return finish(stages.build_cells(project, chosen, how(options), say), options.json)
    if options.stage == "test":
        return test(options, project, chosen)
    if options.stage == "bake":
        from torchdev.cli import bake
        from torchdev.pipeline.session import Options

        return bake.bake(project, chosen, Options(**by(options)), options.words, say)
    if options.stage in ("recipe", "run"):
        start(options, project, chosen)
        return 0
    if options.stage == "quickstart":
        from torchdev.cli import quickstart

        cells = chosen if named(options) else chosen[:1]
        return quickstart.quickstart(project, cells, quickstart.Consent(options.yes), say)
    write(options, project, chosen)
    return 0


def test(options: argparse.Namespace, project: "Project", chosen: "tuple[Cell, ...]") -> int:
    """Check images that were built before; the exit code."""
    from torchdev.cli import stages
    from torchdev.util import files

    if options.junit:
        files.check_place(options.junit)
    results = stages.test_cells(project, chosen, options.gpu, say, controls=options.controls)
    if options.junit:
        stages.write_junit(options.junit, results)
    return finish(results, options.json)


def start(options: argparse.Namespace, project: "Project", chosen: "tuple[Cell, ...]") -> None:
    """Start a container, or write what other tools start it by."""
    from torchdev.cli import run as launch

    cell = launch.one(chosen)
    if options.stage == "run":
        launch.run(project, cell, options.words, options.gpu, options.shm, say)
    wishes = launch.wishes(options.kind, options.file, {wish: getattr(options, wish) for wish in arguments.RECIPE})
    launch.write_recipe(project, cell, wishes, options.image or "", options.out, say)


def answer(options: argparse.Namespace) -> int:
    """Print an explanation; the exit code says yes or no."""
    from torchdev.catalog import explain, ids
    from torchdev.catalog.axes import AXES
    from torchdev.matrix import load
    from torchdev.util.errors import Exit

    if options.cell and not ids.wishes(options.cell):
        aliases = load.load(options.matrix_file).aliases
        options.cell = aliases[options.cell].id if options.cell in aliases else options.cell
    wishes = {axis: getattr(options, axis) for axis in AXES if getattr(options, axis)}
    said = explain.answer(options.cell, wishes)
    show(explain.as_json(said) if options.json else explain.as_text(said))
    return int(Exit.OK if said.possible else Exit.NO)


def tell(found: "Outlook", options: argparse.Namespace) -> int:
    """Print what building takes; a disk that does not hold it is refused."""
    from torchdev.pipeline import capacity

    show(capacity.as_json(found) if options.json else capacity.as_text(found))
    refusal = capacity.refusal(found, prune=options.prune)
    if refusal:
        raise refusal
    return 0


def write(options: argparse.Namespace, project: "Project", chosen: "tuple[Cell, ...]") -> None:
    """Call a stage that writes files, images of bases, or text."""
    if options.stage == "list":
        return show(listing(options, project, chosen))
    if options.stage == "render":
        from torchdev.cli import render

        return render.render_images(project, check=options.check, say=say)
    from torchdev.cli import stages

    if options.stage == "lock" and options.bases:
        stages.lock_bases(project, say)
    elif options.stage == "lock":
        stages.lock_cells(project, chosen, say)
    elif options.stage == "push":
        stages.push_cells(project, chosen, options.to, say)
    elif options.stage == "bootstrap":
        stages.bootstrap_bases(project, chosen, options.python_prefix, say)


def listing(options: argparse.Namespace, project: "Project", chosen: "tuple[Cell, ...]") -> str:
    """The cells, groups of them for CI, or all that can exist; for a terminal or as JSON."""
    from torchdev.catalog import grid
    from torchdev.pipeline import report

    if options.grid:
        return grid.as_json() if options.json else grid.as_text()
    if options.shard_by:
        return report.shards_json(chosen) if options.json else report.shards_text(chosen)
    return (report.cells_json if options.json else report.cells_text)(project.matrix, chosen)


def logs() -> Path:
    """The folder for logs of this run."""
    return Places(ROOT, Path(STARTED.matrix_file or MATRIX)).work / "logs"


def same(file: "Path | None", other: Path) -> bool:
    """Whether a file that may not be there is another one; so it is, if none is named."""
    return file is None or os.path.realpath(file) == os.path.realpath(other)


def named(options: argparse.Namespace) -> bool:
    """Whether the command line names any cells."""
    return bool(options.cells or options.select or options.group)


def how(options: argparse.Namespace) -> "Options":
    """The command line's wishes on how to build."""
    from torchdev.pipeline.session import Options

    return Options(
        test=not options.no_test,
        gpu=options.gpu,
        allow_bootstrap=not options.no_bootstrap,
        verbose=options.verbose,
        rebuild=options.rebuild,
        jobs=options.jobs,
        push_to=options.push_to or "",
        prune=options.prune,
        room=options.room,
        **by(options),
    )


def by(options: argparse.Namespace) -> "dict[str, Any]":
    """The command line's wishes on the builder and its cache."""
    return {
        "builder": options.builder or "",
        "cache_from": tuple(options.cache_from),
        "cache_to": options.cache_to or "",
    }


def finish(results: "list[Result]", as_json: bool) -> int:
    """Print results; the exit code that the worst of them stands for."""
    from torchdev.cli import stages
    from torchdev.pipeline import report

    found = stages.stored(results)
    if as_json:
        show(report.results_json(results, found))
    else:
        show("\n" + report.results_text(results))
        if found and found.images > 1:
            show("\n" + report.storage_text(found))
    return report.exit_code(results)


def interrupt(number: int, frame: object) -> None:
    """SIGTERM, and a terminal that is closed, end a run as Ctrl-C does: in good order."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    terminal.guard()
    environment.begin()
    sys.exit(faults.ended(lambda: main(sys.argv[1:]), ROOT, logs))
