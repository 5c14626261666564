"""Results as text for a terminal, and as JSON or JUnit's XML for programs."""

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum

from torchdev.engine.client import Image
from torchdev.image.plan import Plan
from torchdev.pipeline.verify import REMEMBERED, Outcome, Verdict
from torchdev.util import tables
from torchdev.util.errors import Exit
from torchdev.util.texts import json_text

UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML 1.0 does not allow."""
SLOWEST = 8
"""How many of the slowest checks the last line of a report names."""
GRAVEST_FIRST = (Exit.INTERRUPTED, Exit.ENGINE, Exit.BUILD, Exit.INPUT, Exit.CHECK)


class State(StrEnum):
    """A cell after a run: built and checked, only checked, skipped because nothing has changed, or failed."""

    BUILT = "built"
    CHECKED = "checked"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of one cell. `seconds` is the wall time spent on it; `removed`: its image was removed again."""

    cell: str
    state: State
    image: "Image | None" = None
    tags: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    error: str = ""
    code: Exit = Exit.OK
    seconds: float = 0.0
    removed: bool = False


@dataclass(frozen=True)
class Storage:
    """Bytes of some images: each counted in full, and as the engine stores them, with shared layers once."""

    images: int
    together: int
    stored: int


def storage(chains: "Iterable[list[tuple[str, int]]]") -> Storage:
    """Sum up layers, given for each image as (diffID, bytes) from the lowest: equal chains are stored once."""
    chains = list(chains)
    unique = {tuple(name for name, _ in chain[: n + 1]): chain[n][1] for chain in chains for n in range(len(chain))}
    return Storage(len(chains), sum(size for chain in chains for _, size in chain), sum(unique.values()))


def storage_text(found: Storage) -> str:
    """One line on the bytes that sharing saves."""
    return (
        f"{found.images} images, {found.together / 1e9:.2f} GB if each stood alone, "
        f"{found.stored / 1e9:.2f} GB stored, since what they share is stored once"
    )


def verdicts_text(verdicts: Iterable[Verdict]) -> str:
    """Each check on a line, then the count of each outcome; not-run is counted by itself."""
    verdicts = tuple(verdicts)
    lines = [
        f"  {v.outcome:<8}{v.check} ({v.seconds:.1f} s)" + (f"\n          {_indent(v.why)}" if v.why else "")
        for v in verdicts
    ]
    return "\n".join([*lines, f"  {headline(verdicts)}", f"  {slowest_text(verdicts)}"])


def slowest_text(verdicts: "Iterable[Verdict]") -> str:
    """One line on the duration of checks: the total, and the slowest checks, each with all its parameters."""
    seconds: dict[str, float] = {}
    for verdict in verdicts:
        name = verdict.check.partition("[")[0]
        seconds[name] = seconds.get(name, 0.0) + verdict.seconds
    spending = sorted(seconds.items(), key=lambda one: -one[1])
    most = ", ".join(f"{name} {spent:.1f} s" for name, spent in spending[:SLOWEST])
    return f"{sum(seconds.values()):.1f} s of checks; most: {most or 'none'}"


def headline(verdicts: Iterable[Verdict]) -> str:
    """The counts in words: 12 passed, 0 failed, 1 not run."""
    count = Counter(verdict.outcome for verdict in verdicts)
    return f"{count[Outcome.PASS]} passed, {count[Outcome.FAIL]} failed, {count[Outcome.NOT_RUN]} not run"


def results_text(results: "list[Result]") -> str:
    """The last table of a build: each cell with its state, size, time and tags."""
    rows = [("CELL", "RESULT", "CHECKS", "SIZE", "TIME", "TAGS")]
    for result in results:
        rows.append(
            (
                result.cell,
                result.state,
                headline(result.verdicts) if result.verdicts else "none",
                f"{result.image.size / 1e9:.2f} GB" if result.image else "-",
                f"{result.seconds:.0f} s",
                "removed" if result.removed else " ".join(result.tags) or "-",
            )
        )
    failures = [f"failed: {result.error}" for result in results if result.error]
    return "\n\n".join([tables.text(rows), *failures])


def results_json(results: "list[Result]", found: "Storage | None" = None) -> str:
    """The results as JSON."""
    return json_text({"cells": [asdict(r) for r in results], "storage": asdict(found) if found else None})


def results_junit(results: "list[Result]") -> str:
    """The verdicts as JUnit XML, which CI systems show: a suite for each cell; not-run is skipped, with its reason."""
    top = ElementTree.Element("testsuites")
    for result in results:
        count = Counter(verdict.outcome for verdict in result.verdicts)
        numbers = {"tests": len(result.verdicts), "failures": count[Outcome.FAIL], "skipped": count[Outcome.NOT_RUN]}
        attributes = {"name": result.cell, "time": f"{result.seconds:.1f}"}
        attributes |= {name: str(number) for name, number in numbers.items()}
        suite = ElementTree.SubElement(top, "testsuite", attributes)
        for v in result.verdicts:
            case = ElementTree.SubElement(suite, "testcase", classname=v.cell, name=v.check, time=f"{v.seconds:.3f}")
            tag = {Outcome.FAIL: "failure", Outcome.NOT_RUN: "skipped"}.get(v.outcome)
            if tag:
                ElementTree.SubElement(case, tag, message=UNPRINTABLE.sub("?", v.why))
            elif v.why:
                properties = ElementTree.SubElement(case, "properties")
                ElementTree.SubElement(properties, "property", name=REMEMBERED, value=UNPRINTABLE.sub("?", v.why))
    ElementTree.indent(top)
    return ElementTree.tostring(top, encoding="unicode", xml_declaration=True) + "\n"


def exit_code(results: "list[Result]") -> int:
    """The exit code of a run: that of its gravest result."""
    codes = {result.code for result in results}
    return int(next((code for code in GRAVEST_FIRST if code in codes), Exit.OK))


def plan_line(plan: Plan) -> str:
    """One line on what a build is about to do."""
    wheels = sum(len(layer.packages) for layer in plan.layers)
    download = sum(layer.size for layer in plan.layers) / 1e9
    installed = sum(layer.installed for layer in plan.layers) / 1e9
    return f"{plan.cell.id}: {wheels} wheels, {download:.1f} GB to fetch, {installed:.1f} GB unpacked"


def _indent(text: str) -> str:
    lines = text.splitlines()
    return "\n          ".join(lines if len(lines) <= 12 else [*lines[:4], "...", *lines[-7:]])
