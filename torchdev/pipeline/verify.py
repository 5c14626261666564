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
"""Exit statuses of a pytest that ran all it collected: passed, or some failed."""


class Outcome(StrEnum):
    """What a check came to. Not-run is never a pass."""

    PASS = "pass"
    FAIL = "fail"
    NOT_RUN = "not-run"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One check of one cell. `seconds` is its duration.

    `why` is the reason of a failure, or of not having run; of a pass, what remembers it, if it was not run now.
    """

    __pydantic_config__: ClassVar = jsonfile.STRICT

    cell: str
    check: str
    outcome: Outcome
    why: str
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]


PLAIN = {"PYTHONOPTIMIZE": "", "PYTEST_ADDOPTS": "", "PYTEST_PLUGINS": ""}
"""Settings of this machine that would change what checks do, such as leave assertions out, unset."""

REMEMBERED = "remembered"
"""Property of a check, in JUnit's XML, that says of a control when it held: it was not run now."""
AT_ONCE, MOST = "TORCHDEV_CHECKS_AT_ONCE", 4
"""Variable that says how many processes share the checks of an image; without it one a core, and so many at most."""


def processes(environment: "Mapping[str, str]", cores: int) -> int:
    """How many processes share the checks of an image; InputError if the variable that says so holds no such number."""
    said = environment.get(AT_ONCE) or str(min(cores, MOST))
    if not said.isascii() or not said.isdigit() or not 0 < int(said) < 1000:
        raise InputError(f"{texts.quoted(said)} is no number of processes", where=AT_ONCE, next_step=f"unset {AT_ONCE}")
    return int(said)


def side_by_side(number: int) -> "list[str]":
    """Options of pytest by which so many processes share the checks of tests/image (tests/image/shares.py)."""
    return ["-n", str(number)] if number > 1 else []


def verify(plan: Plan, image: str, gpu: str, paths: Paths, *, controls: bool = False) -> tuple[Verdict, ...]:
    """Run every check of tests/image against an image, by id, held to the plan's cell; `gpu`: auto, require or none.

    `controls`: run those controls, too, of which it is known that they hold (torchdev/pipeline/controls.py).
    """
    folder = paths.work / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=folder) as own:  # another run may be at the same cell
        report = Path(own, f"{plan.cell.id}.xml")
        remembered = [] if controls else ["--remembered", str(paths.work / "controls")]
        verdicts = _run_checks(plan, image, ["--gpu", gpu, *remembered], paths, report)
        if report.exists():
            report.replace(folder / report.name)
    return in_order(verdicts, [check.name for check in read_checks(paths.checkout / "tests" / "image")])


def in_order(verdicts: "Iterable[Verdict]", names: "list[str]") -> tuple[Verdict, ...]:
    """Verdicts in the order of the checks' names: processes that share the checks end them in another one each time."""
    place = {name: number for number, name in enumerate(names)}
    return tuple(sorted(verdicts, key=lambda verdict: place.get(verdict.check.partition("[")[0], len(place))))


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
    """The verdict on a run of the checks that did not come to its end."""
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
