#!/usr/bin/env python3
"""torchdev's command line: one call into the package per stage, failures to exit codes.

This file and torchdev/environment.py need only Python 3.11, so that they can explain what is missing.
"""

import argparse
import os
import re
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from torchdev import environment

if TYPE_CHECKING:
    from torchdev.matrix import Cell
    from torchdev.pipeline import Options
    from torchdev.project import Project
    from torchdev.report import Result

ROOT = Path(__file__).resolve().parent
HALF = max(1, (os.cpu_count() or 1) // 2)
WISHES = {
    "python": "3.11",
    "cuda": "cu130",
    "torch": "2.9.1 or 2.9",
    "cudnn": "9.20",
    "variant": "devel",
    "arch": "arm64",
    "gpu": "V100 or 7.0",
    "driver": "535",
    "glibc": "2.28",
}
"""What explain can be asked, and an example of each."""
DESCRIPTION = """\
Build PyTorch development images from matrix.yaml, and prove that each is what its tag says.

  python build.py --matrix              build, check and tag the cells of the group default
  python build.py py311-cu130           build, check and tag one cell
  python build.py --select '*-cu130-*'  build, check and tag those that match
  python build.py quickstart            install what is missing here, build one cell, train a CNN in it
"""
EPILOG = """\
exit codes: 0 done, 1 explain says no, 2 invalid input, 3 a build or lock failed, 4 a check failed, 5 no engine,
130 interrupted

cells are named by id (py311-cu130-torch2.13.0), shorter tag (py311-cu130, latest) or glob ('py31*'); see: build.py list
"""


def positive(text: str) -> int:
    """A whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def parser() -> "tuple[argparse.ArgumentParser, Collection[str]]":
    """The command line, and the names of its stages."""
    raw = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(prog="build.py", description=DESCRIPTION, epilog=EPILOG, formatter_class=raw)
    stages = top.add_subparsers(dest="stage", metavar="STAGE", title="stages")

    def stage(name: str, text: str) -> argparse.ArgumentParser:
        sub = stages.add_parser(
            name, help=text, description=text[0].upper() + text[1:] + ".", epilog=EPILOG, formatter_class=raw
        )
        sub.add_argument("--matrix-file", type=Path, default=ROOT / "matrix.yaml", help="instead of matrix.yaml")
        sub.set_defaults(cells=[], select=[], group=[])
        return sub

    def cells(sub: argparse.ArgumentParser, default: str = "every cell") -> None:
        sub.add_argument("cells", nargs="*", metavar="CELL", help=f"id, tag or glob; default: {default}")
        sub.add_argument("--select", action="append", default=[], metavar="GLOB", help="cells whose id matches")
        sub.add_argument("--group", action="append", default=[], metavar="NAME", help="cells of a group of the matrix")

    def machine_readable(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--json", action="store_true", help="write JSON to standard output")

    def gpu(sub: argparse.ArgumentParser) -> None:
        text = "auto: GPU checks are not-run where there is none; require: then they fail"
        sub.add_argument("--gpu", choices=("auto", "require", "none"), default="auto", help=text)

    build = stage("build", "build, check and tag cells (the default stage)")
    cells(build, "none; see --matrix")
    build.add_argument("--matrix", action="store_true", help="the matrix's group default; every cell: --group all")
    build.add_argument("--rebuild", action="store_true", help="build again what has not changed")
    build.add_argument(
        "--jobs", type=positive, default=HALF, metavar="N", help="cells at once; default: half the cores"
    )
    build.add_argument("--no-test", action="store_true", help="tag without running the checks")
    build.add_argument("--no-bootstrap", action="store_true", help="fail if no registry has the official bases")
    build.add_argument("--verbose", action="store_true", help="show BuildKit's log; it is kept in .torchdev/logs")
    gpu(build)
    machine_readable(build)
    listing = stage("list", "list the cells of the matrix")
    cells(listing)
    listing.add_argument("--shard-by", choices=("cuda",), help="list groups that share most, to be built together")
    machine_readable(listing)
    listing.add_argument("--grid", action="store_true", help="list all that can exist instead: Python by CUDA")
    explaining = stage("explain", "say whether a combination can exist; if not, why, and what is nearest")
    explaining.add_argument(
        "cell", nargs="?", metavar="CELL", help="an id or short tag, in this matrix or not; or an alias of it"
    )
    for axis, example in WISHES.items():
        explaining.add_argument(f"--{axis}", metavar="X", help=f"such as {example}")
    for axis in ("torchvision", "torchaudio"):
        explaining.add_argument(
            f"--{axis}", nargs="?", const="any", metavar="X", help="with it, in any version or in X"
        )
    machine_readable(explaining)
    facts = stage("catalog", "refresh what is known of wheels from the package indexes")
    facts.add_argument("action", choices=("refresh",))
    facts.add_argument("--accept-removed", action="store_true", help="even if wheels are listed no longer")
    locking = stage("lock", "resolve cells and write images/CELL/lock.json")
    cells(locking)
    locking.add_argument("--bases", action="store_true", help="instead, ask the registry for the bases' digests")
    rendering = stage("render", "write images/CELL from matrix, locks and templates")
    rendering.add_argument("--check", action="store_true", help="only compare; fail on any difference")
    cells(stage("bake", "print the bake file for docker buildx bake on this machine"))
    testing = stage("test", "run the checks against images that were built before")
    cells(testing)
    gpu(testing)
    machine_readable(testing)
    testing.add_argument("--junit", type=Path, metavar="FILE", help="write the verdicts as JUnit XML, for CI systems")
    pushing = stage("push", "push images that are built and checked, with all their tags, to a registry")
    cells(pushing)
    pushing.add_argument("--to", required=True, metavar="REPOSITORY", help="such as ghcr.io/owner/torchdev")
    making = stage("bootstrap", "make stand-ins for the official bases, from Debian's packages")
    cells(making)
    text = (
        "make the stand-in of a Python, such as 3.8, of one that is installed here: FOLDER is what it calls "
        "sys.base_prefix, with bin, lib and include in it, and not a program, hence the option's name; may be repeated"
    )
    making.add_argument("--python-prefix", action="append", default=[], metavar="SERIES=FOLDER", help=text)
    machine_readable(stage("doctor", "say what this machine has and lacks"))
    start = stage("quickstart", "install what is missing, build one cell and train the CNN in it")
    cells(start, "the first of the matrix")
    checking = stage("check", "run all of torchdev's own tests, with two cells built and tested")
    checking.add_argument("--quick", action="store_true", help="only what needs no engine")
    for sub in (start, checking):
        sub.add_argument("--yes", action="store_true", help="install without asking")
    return top, stages.choices


def main(arguments: "list[str]") -> int:
    """Run one stage; the exit code."""
    top, stages = parser()
    arguments = arguments or ["--help"]
    if arguments[0] not in (*stages, "-h", "--help"):
        arguments = ["build", *arguments]
    options = top.parse_args(arguments)
    if options.stage == "build" and named(options) == options.matrix:
        both = "name cells, or --matrix, not both"
        top.error(both if options.matrix else "name a cell, or build every cell with --matrix")
    environment.enter(ROOT, arguments)
    from torchdev import process
    from torchdev.errors import Exit, TorchdevError

    process.prepare(interrupt)
    try:
        return run(options)
    except TorchdevError as error:
        print(f"error: {with_matrix(str(error), options.matrix_file)}", file=sys.stderr)
        return int(error.code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return int(Exit.INTERRUPTED)


def run(options: argparse.Namespace) -> int:
    """Call the stage's function; the exit code."""
    if options.stage == "explain":
        return answer(options)
    from torchdev import doctor, machine, selftest, stages
    from torchdev.project import open_project

    if options.stage == "doctor":
        findings = doctor.examine(ROOT)
        print(doctor.as_json(findings) if options.json else doctor.as_text(findings))
        return doctor.exit_code(findings)
    if options.stage == "catalog":
        stages.refresh_catalog(say, accept_removed=options.accept_removed)
        return 0
    if options.stage == "check":
        return selftest.run(ROOT, machine.Consent(options.yes), say, quick=options.quick)
    project = open_project(ROOT, options.matrix_file)
    groups = [*options.group, "default"] if getattr(options, "matrix", False) else options.group
    chosen = project.matrix.select([*options.cells, *options.select], groups)
    if options.stage == "build":
        return finish(stages.build_cells(project, chosen, how(options), say), options.json)
    if options.stage == "test":
        results = stages.test_cells(project, chosen, options.gpu, say)
        if options.junit:
            stages.write_junit(options.junit, results)
        return finish(results, options.json)
    if options.stage == "quickstart":
        cells = chosen if named(options) else chosen[:1]
        return machine.quickstart(project, cells, machine.Consent(options.yes), say)
    write(options, project, chosen)
    return 0


def answer(options: argparse.Namespace) -> int:
    """Print an explanation; the exit code says yes or no."""
    from torchdev import explain, ids, matrix
    from torchdev.errors import Exit

    if options.cell and not ids.wishes(options.cell):
        aliases = matrix.load(options.matrix_file).aliases
        options.cell = aliases[options.cell].id if options.cell in aliases else options.cell
    axes = (*WISHES, "torchvision", "torchaudio")
    wishes = {axis: getattr(options, axis) for axis in axes if getattr(options, axis)}
    said = explain.answer(options.cell, wishes)
    print(explain.as_json(said) if options.json else explain.as_text(said))
    return int(Exit.OK if said.possible else Exit.NO)


def write(options: argparse.Namespace, project: "Project", chosen: "tuple[Cell, ...]") -> None:
    """Call a stage that writes files, images of bases, or text."""
    from torchdev import grid, report, stages

    if options.stage == "list" and options.grid:
        print(grid.as_json() if options.json else grid.as_text())
    elif options.stage == "list" and options.shard_by:
        print(report.shards_json(chosen) if options.json else report.shards_text(chosen))
    elif options.stage == "list":
        show = report.cells_json if options.json else report.cells_text
        print(show(project.matrix, chosen))
    elif options.stage == "lock" and options.bases:
        stages.lock_bases(project, say)
    elif options.stage == "lock":
        stages.lock_cells(project, chosen, say)
    elif options.stage == "render":
        stages.render_images(project, check=options.check, say=say)
    elif options.stage == "bake":
        print(stages.print_bake(project, chosen, say))
    elif options.stage == "push":
        stages.push_cells(project, chosen, options.to, say)
    elif options.stage == "bootstrap":
        stages.bootstrap_bases(project, chosen, options.python_prefix, say)


def named(options: argparse.Namespace) -> bool:
    """Whether the command line names any cells."""
    return bool(options.cells or options.select or options.group)


def how(options: argparse.Namespace) -> "Options":
    """The command line's wishes on how to build."""
    from torchdev.pipeline import Options

    return Options(
        test=not options.no_test,
        gpu=options.gpu,
        allow_bootstrap=not options.no_bootstrap,
        verbose=options.verbose,
        rebuild=options.rebuild,
        jobs=options.jobs,
    )


def with_matrix(text: str, file: Path) -> str:
    """A message whose next commands name the matrix file, where that is not the checkout's."""
    if file.resolve() == ROOT / "matrix.yaml":
        return text
    return re.sub(r"(python build\.py [a-z]\S*( [a-z]\S*)?)", rf"\1 --matrix-file {file}", text)


def finish(results: "list[Result]", as_json: bool) -> int:
    """Print results; the exit code that the worst of them stands for."""
    from torchdev import report, stages

    found = stages.stored(results)
    if as_json:
        print(report.results_json(results, found))
    else:
        print("\n" + report.results_text(results))
        if found and found.images > 1:
            print("\n" + report.storage_text(found))
    return report.exit_code(results)


def interrupt(number: int, frame: object) -> None:
    """SIGTERM, and a terminal that is closed, end a run as Ctrl-C does: in good order."""
    raise KeyboardInterrupt


def say(text: str) -> None:
    """Progress goes to standard error, so that standard output holds results alone."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
