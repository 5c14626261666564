"""Runs tests/image against an image and gives verdicts: pass, fail, or not-run with the reason."""

import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from torchdev import jsonfile, process
from torchdev.engine import CELL_VARIABLE
from torchdev.places import Places
from torchdev.plan import Plan

FINISHED = (0, 1)
"""Exit statuses of a pytest that ran all it collected: passed, or some failed."""


class Outcome(StrEnum):
    """What a check came to. Not-run is never a pass."""

    PASS = "pass"
    FAIL = "fail"
    NOT_RUN = "not-run"


@dataclass(frozen=True)
class Verdict:
    """One check of one cell; `why` is the reason of a failure or of not having run. `seconds` is its duration."""

    __pydantic_config__: ClassVar = jsonfile.STRICT

    cell: str
    check: str
    outcome: Outcome
    why: str
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]


PLAIN = {"PYTHONOPTIMIZE": "", "PYTEST_ADDOPTS": "", "PYTEST_PLUGINS": ""}
"""Settings of this machine that would change what checks do, such as leave assertions out, unset."""


def verify(plan: Plan, image: str, gpu: str, places: Places) -> tuple[Verdict, ...]:
    """Run every check of tests/image against an image, by id, held to the plan's cell; `gpu`: auto, require or none."""
    folder = places.work / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=folder) as own:  # another run may be at the same cell
        report = Path(own, f"{plan.cell.id}.xml")
        verdicts = _run_checks(plan, image, gpu, places, report)
        if report.exists():
            report.replace(folder / report.name)
    return verdicts


def _run_checks(plan: Plan, image: str, gpu: str, places: Places, report: Path) -> tuple[Verdict, ...]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "tests/image",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        str(places.checkout / "pyproject.toml"),
        "--cell",
        plan.cell.id,
        "--image",
        image,
        "--gpu",
        gpu,
        "--matrix-file",
        str(places.matrix_file.resolve()),
        "--junitxml",
        str(report),
    ]
    output: list[str] = []
    status = process.run(command, output.append, cwd=places.checkout, env={CELL_VARIABLE: plan.candidate, **PLAIN})
    if not report.exists():
        why = "".join(output).strip() or f"pytest ended with {status} and no report"
        return (Verdict(plan.cell.id, "tests/image", Outcome.FAIL, why, 0.0),)
    verdicts = read_report(plan.cell.id, report)
    if status not in FINISHED:
        why = f"pytest ended with {status} before all checks had run"
        verdicts += (Verdict(plan.cell.id, "tests/image", Outcome.FAIL, why, 0.0),)
    return verdicts


def read_report(cell: str, report: Path) -> tuple[Verdict, ...]:
    """The verdicts in a JUnit file; a file without a single check is itself a failure."""
    try:
        cases = list(ElementTree.parse(report).iter("testcase"))
    except ElementTree.ParseError as error:
        return (Verdict(cell, "tests/image", Outcome.FAIL, f"pytest left half a report: {error}", 0.0),)
    if not cases:
        return (Verdict(cell, "tests/image", Outcome.FAIL, "not one check ran", 0.0),)
    return tuple(_verdict(cell, case) for case in cases)


def _verdict(cell: str, case: ElementTree.Element) -> Verdict:
    name, seconds = str(case.get("name")), float(case.get("time", "0"))
    for tag, outcome in (("failure", Outcome.FAIL), ("error", Outcome.FAIL), ("skipped", Outcome.NOT_RUN)):
        found = case.find(tag)
        if found is not None:
            return Verdict(cell, name, outcome, str(found.get("message") or found.text or "").strip(), seconds)
    return Verdict(cell, name, Outcome.PASS, "", seconds)
