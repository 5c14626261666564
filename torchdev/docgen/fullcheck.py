"""The committed result of the last full run of torchdev's own tests, and the page that shows it."""

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, TypeAdapter

from torchdev.util import files, jsonfile, tables, texts
from torchdev.util.commands import build_py
from torchdev.util.errors import InputError
from torchdev.util.terminal import escaped

RECORD, PAGE = "tests/full.json", "docs/full-check.md"
LONGEST = 300
"""Longer reasons are cut to so many characters."""
Count = Annotated[int, Field(ge=0)]
Line = Annotated[str, jsonfile.of(texts.SENTENCE)]


@dataclass(frozen=True, kw_only=True)
class Group:
    """The result of a group of checks: passed or not, the number of tests, and which failed or were not run.

    A group without pytest is one command and has no tests to count. `reasons` say why tests were not run, each once.
    """

    __pydantic_config__: ClassVar = jsonfile.STRICT

    name: Line
    passed: bool
    skipped: Count = 0
    tests: Count = 0
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    failures: tuple[Line, ...] = ()
    reasons: tuple[Line, ...] = ()

    @property
    def not_run(self) -> str:
        """The group and its tests that were not run; empty if all were run."""
        if not self.skipped:
            return ""
        return f"{self.name} ({self.skipped} of {self.tests})" if self.tests else self.name


@dataclass(frozen=True, kw_only=True)
class Run:
    """A full run: its day, the commit (-dirty if files differed from it), the machine, and its groups."""

    __pydantic_config__: ClassVar = jsonfile.STRICT

    date: Annotated[str, jsonfile.of(texts.DATE)]
    commit: Line
    machine: Line
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    groups: tuple[Group, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(group.passed for group in self.groups)


_ADAPTER = TypeAdapter(Run)


def read(root: Path) -> "Run | None":
    """The committed result of the last run; None if there was none yet."""
    path = root / RECORD
    try:
        return jsonfile.read(path, _ADAPTER)[0]
    except FileNotFoundError:
        return None
    except jsonfile.Malformed as error:
        step = ("take it back with git checkout, or write it anew: ", build_py("check", "--full"))
        raise InputError(error.what, where=f"{path}:{error.line}", next_step=step) from None


def write(root: Path, run: Run, head: str) -> None:
    """Write the result of a run, and the page that shows it."""
    files.write(root / RECORD, json.dumps(asdict(run), indent=1) + "\n")
    files.write(root / PAGE, page(run, head))


def commit(root: Path) -> str:
    """The commit of a checkout; with -dirty if its files differ from the commit."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    except OSError:
        return "not known"
    return done.stdout.strip() or "not known"


def line(text: str) -> str:
    """A text from a test as one line that can be committed; any text is accepted."""
    return escaped(" ".join(text.split()))[:LONGEST].strip() or "no reason given"


def machine() -> str:
    """The parts of this machine that decide how long tests take: cores, memory, system."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return f"{len(os.sched_getaffinity(0))} cores, {memory:.0f} GB memory, {platform.system()} {platform.machine()}"


def in_a_line(run: "Run | None") -> str:
    """When the last full run was, and its result."""
    if run is None:
        return "no run of check --full is committed yet"
    failed = ", ".join(group.name for group in run.groups if not group.passed)
    not_run = ", ".join(filter(None, (group.not_run for group in run.groups)))
    said = f"failed: {failed}" if failed else "nothing failed"
    said += f"; not run: {not_run}" if not_run else ""
    return f"check --full was last run on {run.date} at {run.commit}: {said}"


def page(run: "Run | None", head: str) -> str:
    """The page of the last run."""
    return f"""{head}
# The last run of all tests

`python build.py check` leaves the heaviest tests out, so that it ends within minutes. `python build.py check --full`
also runs the tests of `tests/engine` that are marked `full`, every image broken on purpose (`tests/sabotage`), and 500
made-up inputs for each property test. It writes the outcome to `{RECORD}`, which this page shows. Each release has such
a run ([CONTRIBUTING.md](../CONTRIBUTING.md)).

{_shown(run) if run else "No run is committed yet."}
"""


def _shown(run: Run) -> str:
    table = tables.markdown([("group", "result", "tests", "failed", "not run", "time"), *map(_row, run.groups)])
    lists = {
        "What failed": [(group.name, failure) for group in run.groups for failure in group.failures],
        "Why some tests were not run": [(group.name, reason) for group in run.groups for reason in group.reasons],
    }
    told = "".join(f"\n\n## {title}\n\n{_listed(entries)}" for title, entries in lists.items() if entries)
    about = f"{run.date}, commit {texts.markdown_text(run.commit)}, {texts.markdown_text(run.machine)}: "
    about += f"{'nothing failed' if run.passed else '**failed**'}, in {run.seconds / 60:.0f} minutes."
    return f"{about}\n\n{table}{told}"


def _listed(entries: "list[tuple[str, str]]") -> str:
    return "\n".join(f"- {texts.markdown_text(group)}: {texts.markdown_text(text)}" for group, text in entries)


def _row(group: Group) -> "tuple[str, ...]":
    counts = [str(group.tests), str(len(group.failures)), str(group.skipped)] if group.tests else ["-", "-", "-"]
    result = "**failed**" if not group.passed else "not run" if group.skipped == max(group.tests, 1) else "passed"
    return texts.markdown_text(group.name), result, *counts, f"{group.seconds:.0f} s"
