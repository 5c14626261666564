"""Runs tests/image against an image and gives verdicts: pass, fail, or not-run with the reason."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from torchdev.plan import Plan


class Outcome(StrEnum):
    """What a check came to. Not-run is never a pass."""

    PASS = "pass"
    FAIL = "fail"
    NOT_RUN = "not-run"


@dataclass(frozen=True)
class Verdict:
    """One check of one cell; `why` is the reason of a failure or of not having run. `seconds` is its duration."""

    cell: str
    check: str
    outcome: Outcome
    why: str
    seconds: float


def verify(plan: Plan, image: str, gpu: str, root: Path) -> tuple[Verdict, ...]:
    """Run every check of tests/image against `image`, held to the plan's cell; `gpu` is auto, require or none."""
    folder = root / ".torchdev" / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / f"{plan.cell.id}.xml"
    report.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "tests/image",
        "-q",
        "-p",
        "no:cacheprovider",
        "--cell",
        plan.cell.id,
        "--image",
        image,
        "--gpu",
        gpu,
        "--junitxml",
        str(report),
    ]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if not report.exists():
        why = (done.stdout + done.stderr).strip() or f"pytest ended with {done.returncode} and no report"
        return (Verdict(plan.cell.id, "tests/image", Outcome.FAIL, why, 0.0),)
    return read_report(plan.cell.id, report)


def read_report(cell: str, report: Path) -> tuple[Verdict, ...]:
    """The verdicts in a JUnit file; a file without a single check is itself a failure."""
    cases = list(ElementTree.parse(report).iter("testcase"))
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
