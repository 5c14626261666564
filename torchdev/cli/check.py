"""The command check: torchdev's own tests: style, types, unit tests, generated files, engine tests, two cells."""

import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from pathlib import Path

from torchdev.catalog.bases import SOURCE_SUITES
from torchdev.cli import linters, testgroups
from torchdev.cli.build import build_cells
from torchdev.cli.quickstart import Consent, ensure_engine, ensure_mmdebstrap, registry_answers
from torchdev.cli.testgroups import PYTEST, Task, beside
from torchdev.docgen import fullcheck
from torchdev.docgen.fullcheck import Group, Run
from torchdev.docgen.pages import GENERATED
from torchdev.docgen.project import Project, open_project
from torchdev.engine.client import Engine
from torchdev.matrix.load import Cell
from torchdev.pipeline.report import Result, State, exit_code, results_text
from torchdev.pipeline.session import Options
from torchdev.pipeline.verify import Outcome
from torchdev.util.errors import Exit
from torchdev.util.streams import say, show
from torchdev.wheels.host import find_wheels, read_host

Say = Callable[[str], None]
LIGHT = ["-m", "not full"]
"""Deselects the tests that only --full runs; they do not count as not run."""
AT_ONCE = ["-n", "auto", "--maxprocesses", "4"]
"""As many tests side by side as there are cores, at most four."""
TOGETHER = ["--dist", "loadfile"]
"""Tests of a module run in one process, because they share fixtures."""
CPU_MATRIX = "tests/cpu/matrix.yaml"


class Extent(Enum):
    """How much to run: without an engine; with cells and the lighter engine tests; everything."""

    QUICK = "quick"
    USUAL = "usual"
    FULL = "full"


def run(options: Namespace, root: Path) -> int:
    """Run the tests; the exit code says whether all that ran have passed."""
    extent = "quick" if options.quick else "full" if options.full else "usual"
    return check(root, Consent(options.yes), say, Extent(extent))


def quick(root: Path) -> "list[Task]":
    """The checks that need no engine and take seconds, in the order of what they cost.

    Files of the cpu cell are not committed: they are rendered here, for the build and the tests that follow.
    """
    render = [sys.executable, "build.py", "render"]
    return [
        *linters.tasks(root),
        Task("generated files", [*render, "--check"]),
        Task("files of the cpu cell", [*render, "--matrix-file", CPU_MATRIX]),
    ]


def longer(extent: Extent) -> "list[Task]":
    """The checks that need no engine and take longer, so that they run while cells are built."""
    made_up = {"HYPOTHESIS_PROFILE": os.environ.get("HYPOTHESIS_PROFILE", "ci")} if extent is Extent.FULL else {}
    return [
        Task("unit tests", [*PYTEST, *AT_ONCE, *TOGETHER, "tests/unit"], made_up),
        Task("catalog against wheels", [*PYTEST, "tests/index"]),
    ]


def with_engine(extent: Extent) -> "list[Task]":
    """The tests that need an engine and the cells built."""
    light = [] if extent is Extent.FULL else LIGHT
    return [
        Task("engine tests", [*PYTEST, *AT_ONCE, *TOGETHER, *light, "tests/engine"]),
        Task("sabotage", [*PYTEST, *AT_ONCE, *light, "tests/sabotage"]),
    ]


def check(root: Path, consent: Consent, say: Say, extent: Extent = Extent.USUAL) -> int:
    """Run everything of an extent; returns the exit code. An engine that was started for it is stopped again.

    The result of a full run is written to a file once the run is complete.
    """
    began, commit, day = time.monotonic(), fullcheck.commit(root), time.strftime("%Y-%m-%d")
    groups = [testgroups.run(task, root, say) for task in quick(root)]
    if extent is Extent.QUICK:
        groups += [testgroups.run(task, root, say) for task in longer(extent)]
        return _end(groups, "what needs no engine")
    started = ensure_engine(consent, say)
    try:
        with beside(longer(extent), root, say) as others:
            of_cells, built = _cells(root, consent, say, extent)
            groups += [*others(), *of_cells]
        groups += [testgroups.run(task, root, say) for task in with_engine(extent)]
    finally:
        if started:
            say("stopping the engine that was started for these tests")
            started.stop()
    if extent is Extent.FULL:
        seconds = round(time.monotonic() - began, 1)
        fullcheck.write(
            root,
            Run(date=day, commit=commit, machine=fullcheck.machine(), seconds=seconds, groups=cleaned(groups, root)),
            GENERATED,
        )
        say(f"\nwritten, to be committed: {fullcheck.RECORD} and {fullcheck.PAGE}")
    else:
        say(f"\ntests that only --full runs were not run; {fullcheck.in_a_line(fullcheck.read(root))}")
    return _end(groups, "torchdev's tests", f", with {built} built")


def _cells(root: Path, consent: Consent, say: Say, extent: Extent) -> "tuple[list[Group], str]":
    """Build and check two cells, and build the cpu cell (a full run checks it, too); also returns the two names."""
    began = time.monotonic()
    project = open_project(root, root / "matrix.yaml")
    cells = siblings(project)
    if not registry_answers(Engine(), project, cells):
        ensure_mmdebstrap(consent, say)
    results = build_cells(project, cells, Options(), say).results
    if exit_code(results) == Exit.INTERRUPTED:
        raise KeyboardInterrupt
    middle = time.monotonic()
    small = build_small(root, say, test=extent is Extent.FULL)
    show("\n" + results_text(results + small))
    groups = [
        of_results("cells", results, middle - began),
        replace(of_results("the cpu cell", small, time.monotonic() - middle), skipped=int(not small)),
    ]
    return groups, " and ".join(cell.id for cell in cells)


def of_results(name: str, results: "list[Result]", seconds: float) -> Group:
    """The results of some cells as a group whose tests are the checks of their images."""
    verdicts = [verdict for result in results for verdict in result.verdicts]
    skipped = [verdict for verdict in verdicts if verdict.outcome is Outcome.NOT_RUN]
    failures = [f"{verdict.cell}: {verdict.check}" for verdict in verdicts if verdict.outcome is Outcome.FAIL]
    failures += [result.cell for result in results if result.state is State.FAILED and not result.verdicts]
    reasons = dict.fromkeys(verdict.why for verdict in skipped)
    passed = exit_code(results) == Exit.OK
    return Group(
        name=name,
        passed=passed,
        skipped=len(skipped),
        tests=len(verdicts),
        seconds=round(seconds, 1),
        failures=tuple(failures),
        reasons=tuple(reasons),
    )


def cleaned(groups: "list[Group]", root: Path) -> "tuple[Group, ...]":
    """Groups without any text about this machine, so that they can be committed."""
    clean = read_host().clean

    def lines(found: "tuple[str, ...]") -> "tuple[str, ...]":
        return tuple(dict.fromkeys(fullcheck.line(clean(text).replace(f"{root}/", "")) for text in found))

    return tuple(replace(group, failures=lines(group.failures), reasons=lines(group.reasons)) for group in groups)


def closing(groups: "list[Group]", what: str, built: str = "") -> str:
    """The last line: groups that failed or were not run. It says that all passed only if there are none of these."""
    failed = ", ".join(group.name for group in groups if not group.passed)
    not_run = ", ".join(filter(None, (group.not_run for group in groups)))
    if failed:
        return f"failed: {failed}" + (f"; not run: {not_run}" if not_run else "")
    return f"passed: {what}{built}, but not run: {not_run}" if not_run else f"all passed: {what}{built}"


def _end(groups: "list[Group]", what: str, built: str = "") -> int:
    show("\n" + closing(groups, what, built))
    return int(Exit.OK if all(group.passed for group in groups) else Exit.CHECK)


def build_small(root: Path, say: Say, *, test: bool) -> "list[Result]":
    """Build the cpu cell, the base of small test images; empty if no folder of this machine has its PyTorch."""
    project = open_project(root, root / CPU_MATRIX)
    cells = project.matrix.cells[:1]
    torch = next(p for p in project.plans(cells)[0].lock.packages if p.name == "torch")
    if not find_wheels(read_host(), [(torch.name, torch.file, torch.sha256)]):
        say(f"not built: {cells[0].id}, since no wheel folder of this machine has its PyTorch; its tests are not-run")
        return []
    return build_cells(project, cells, Options(test=test), say).results


def siblings(project: Project) -> tuple[Cell, ...]:
    """The first cell of the matrix and, if there is one, another cell with the same layers below Python.

    The Python of the second can be bootstrapped, so that the tests need no registry.
    """
    first, *others = project.plans(project.by_lock(project.matrix.cells)[0])
    alike = (plan.cell for plan in others if plan.shared == first.shared and plan.cell.python in SOURCE_SUITES)
    return first.cell, *list(alike)[:1]
