#!/usr/bin/env python3
"""torchdev's command line: one call into the package per stage, failures to exit codes.

This file and torchdev/environment.py need only Python 3.11, so that they can explain what is missing.
"""

import argparse
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from torchdev import environment

if TYPE_CHECKING:
    from torchdev.report import Result

ROOT = Path(__file__).resolve().parent
DESCRIPTION = """\
Build PyTorch development images from matrix.yaml, and prove that each is what its tag says.

  python build.py --matrix              build, check and tag every cell
  python build.py py311-cu130           build, check and tag one cell
  python build.py quickstart            install what is missing here, build one cell, train a CNN in it
"""
EPILOG = """\
exit codes: 0 done, 2 invalid input, 3 a build or lock failed, 4 a check failed, 5 no engine, 130 interrupted

cells are named by id (py311-cu130-torch2.13.0), short tag (py311-cu130) or glob ('py31*'); see: build.py list
"""


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
        return sub

    def cells(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("cells", nargs="*", metavar="CELL", help="id, short tag or glob; default: every cell")

    def machine_readable(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--json", action="store_true", help="write JSON to standard output")

    def gpu(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--gpu",
            choices=("auto", "require", "none"),
            default="auto",
            help="auto: GPU checks are not-run where there is none; require: then they fail",
        )

    build = stage("build", "build, check and tag cells (the default stage)")
    cells(build)
    build.add_argument("--matrix", action="store_true", help="every cell of the matrix")
    build.add_argument("--no-test", action="store_true", help="tag without running the checks")
    build.add_argument("--no-bootstrap", action="store_true", help="fail if no registry has the official bases")
    build.add_argument("--verbose", action="store_true", help="show BuildKit's log; it is kept in .torchdev/logs")
    gpu(build)
    machine_readable(build)
    machine_readable(stage("list", "list the cells of the matrix"))
    locking = stage("lock", "resolve cells and write images/CELL/lock.json")
    cells(locking)
    locking.add_argument("--bases", action="store_true", help="instead, ask the registry for the bases' digests")
    rendering = stage("render", "write images/CELL from matrix, locks and templates")
    rendering.add_argument("--check", action="store_true", help="only compare; fail on any difference")
    testing = stage("test", "run the checks against images that were built before")
    cells(testing)
    gpu(testing)
    machine_readable(testing)
    cells(stage("bootstrap", "make stand-ins for the official bases, from Debian's packages"))
    machine_readable(stage("doctor", "say what this machine has and lacks"))
    start = stage("quickstart", "install what is missing, build one cell and train the CNN in it")
    start.add_argument("cells", nargs="*", metavar="CELL", help="default: the first cell of the matrix")
    checking = stage("check", "run all of torchdev's own tests, with one cell built and tested")
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
    if options.stage == "build" and not options.cells and not options.matrix:
        top.error("name a cell, or build every cell with --matrix")
    if options.stage == "build" and options.cells and options.matrix:
        top.error("name cells, or --matrix, not both")
    environment.enter(ROOT, arguments)
    from torchdev.errors import Exit, TorchdevError

    try:
        return run(options)
    except TorchdevError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(error.code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return int(Exit.INTERRUPTED)


def run(options: argparse.Namespace) -> int:
    """Call the stage's function and print what it returns."""
    from torchdev import doctor, machine, report, selftest, stages

    if options.stage == "doctor":
        findings = doctor.examine(ROOT)
        print(doctor.as_json(findings) if options.json else doctor.as_text(findings))
        return doctor.exit_code(findings)
    if options.stage == "check":
        return selftest.run(ROOT, machine.Consent(options.yes), say)
    project = stages.open_project(ROOT, options.matrix_file)
    match options.stage:
        case "list":
            print(report.cells_json(project.matrix) if options.json else report.cells_text(project.matrix))
        case "lock" if options.bases:
            stages.lock_bases(project, say)
        case "lock":
            stages.lock_cells(project, options.cells, say)
        case "render":
            stages.render_images(project, check=options.check, say=say)
        case "bootstrap":
            stages.bootstrap_bases(project, options.cells, say)
        case "test":
            return finish(stages.test_cells(project, options.cells, options.gpu, say), options.json)
        case "quickstart":
            return machine.quickstart(project, options.cells, machine.Consent(options.yes), say)
        case _:
            how = stages.Options(not options.no_test, options.gpu, not options.no_bootstrap, options.verbose)
            return finish(stages.build_cells(project, options.cells, how, say), options.json)
    return 0


def finish(results: "list[Result]", as_json: bool) -> int:
    """Print results; the exit code that the worst of them stands for."""
    from torchdev import report

    print(report.results_json(results) if as_json else "\n" + report.results_text(results))
    return report.exit_code(results)


def say(text: str) -> None:
    """Progress goes to standard error, so that standard output holds results alone."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
