"""Runs tests/image against an image and gives verdicts: pass, fail, or not-run with the reason."""

import os
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from torchdev.engine.client import CELL_VARIABLE
from torchdev.image.paths import Paths
from torchdev.image.plan import Plan
from torchdev.pipeline.checklist import read_checks
from torchdev.util import jsonfile, process, texts
from torchdev.util.errors import InputError

FINISHED = (0, 1)
"""Exit statuses of a pytest that ran all collected tests: passed, or some failed."""


class Outcome(StrEnum):
    """The outcome of a check. Not-run never counts as pass."""

    PASS = "pass"
    FAIL = "fail"
    NOT_RUN = "not-run"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict of one check on one cell. `seconds` is its duration.

    `why` is the reason for fail or not-run; for pass, it says when a control passed that was not run now.
    """

    __pydantic_config__: ClassVar = jsonfile.STRICT

    cell: str
    check: str
    outcome: Outcome
    why: str
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]


PLAIN = {"PYTHONOPTIMIZE": "", "PYTEST_ADDOPTS": "", "PYTEST_PLUGINS": ""}
"""Variables of this machine that would change the checks, such as one that disables assertions: they are unset."""

REMEMBERED = "remembered"
"""Property of a check in JUnit XML that says when its control passed, if it was not run now."""
AT_ONCE, MOST = "TORCHDEV_CHECKS_AT_ONCE", 4
"""Variable for the number of processes that share the checks of an image; the default is one a core, at most four."""


def processes(environment: "Mapping[str, str]", cores: int) -> int:
    """The number of processes that share the checks of an image; InputError if the variable is no such number."""
    said = environment.get(AT_ONCE) or str(min(cores, MOST))
    if not said.isascii() or not said.isdigit() or not 0 < int(said) < 1000:
        raise InputError(f"{texts.quoted(said)} is no number of processes", where=AT_ONCE, next_step=f"unset {AT_ONCE}")
    return int(said)


def side_by_side(number: int) -> "list[str]":
    """Options of pytest that share the checks of tests/image among processes (tests/image/shares.py)."""
    return ["-n", str(number)] if number > 1 else []


def verify(plan: Plan, image: str, gpu: str, paths: Paths, *, controls: bool = False) -> tuple[Verdict, ...]:
    """Run every check of tests/image on an image, by id, against the plan's contract; `gpu`: auto, require or none.

    `controls`: also run controls that are known to pass (torchdev/pipeline/controls.py).
    """
    folder = paths.work / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=folder) as own:  # another run may check the same cell
        report = Path(own, f"{plan.cell.id}.xml")
        remembered = [] if controls else ["--remembered", str(paths.work / "controls")]
        verdicts = _run_checks(plan, image, ["--gpu", gpu, *remembered], paths, report)
        if report.exists():
            report.replace(folder / report.name)
    return in_order(verdicts, [check.name for check in read_checks(paths.checkout / "tests" / "image")])


def in_order(verdicts: "Iterable[Verdict]", names: "list[str]") -> tuple[Verdict, ...]:
    """Verdicts in the order of the checks' names, because processes end them in another order each time."""
    order = {name: number for number, name in enumerate(names)}
    return tuple(sorted(verdicts, key=lambda verdict: order.get(verdict.check.partition("[")[0], len(order))))


def _run_checks(plan: Plan, image: str, options: "list[str]", paths: Paths, report: Path) -> tuple[Verdict, ...]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "tests/image",
        "-q",
        "-p",
        "no:cacheprovider",
        *side_by_side(processes(os.environ, len(os.sched_getaffinity(0)))),
        "-c",
        str(paths.checkout / "pyproject.toml"),
        "--cell",
        plan.cell.id,
        "--image",
        image,
        *options,
        "--matrix-file",
        str(paths.matrix_file.resolve()),
        "--junitxml",
        str(report),
    ]
    output: list[str] = []
    status = process.run(command, output.append, cwd=paths.checkout, env={CELL_VARIABLE: plan.candidate, **PLAIN})
    if not report.exists():
        why = "".join(output).strip() or f"pytest ended with {status} and no report"
        return (_failed(plan.cell.id, why),)
    verdicts = read_report(plan.cell.id, report)
    if status not in FINISHED:
        why = f"pytest ended with {status} before all checks had run"
        verdicts += (_failed(plan.cell.id, why),)
    return verdicts


def read_report(cell: str, report: Path) -> tuple[Verdict, ...]:
    """The verdicts in a JUnit file; a file without a single check is itself a failure."""
    try:
        cases = list(ElementTree.parse(report).iter("testcase"))
    except ElementTree.ParseError as error:
        return (_failed(cell, f"pytest left half a report: {error}"),)
    if not cases:
        return (_failed(cell, "not one check ran"),)
    return tuple(_verdict(cell, case) for case in cases)


def _failed(cell: str, why: str) -> Verdict:
    """The verdict on a run of the checks that broke off."""
    return Verdict(cell=cell, check="tests/image", outcome=Outcome.FAIL, why=why, seconds=0.0)


def _verdict(cell: str, case: ElementTree.Element) -> Verdict:
    name, seconds = str(case.get("name")), float(case.get("time", "0"))
    for tag, outcome in (("failure", Outcome.FAIL), ("error", Outcome.FAIL), ("skipped", Outcome.NOT_RUN)):
        found = case.find(tag)
        if found is not None:
            why = str(found.get("message") or found.text or "").strip()
            return Verdict(cell=cell, check=name, outcome=outcome, why=why, seconds=seconds)
    remembered = (one.get("value", "") for one in case.iter("property") if one.get("name") == REMEMBERED)
    return Verdict(cell=cell, check=name, outcome=Outcome.PASS, why=next(remembered, ""), seconds=seconds)
