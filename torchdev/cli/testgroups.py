"""Runs groups of torchdev's own tests, one after another or beside a build, and counts what came of each."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from torchdev.docgen.fullcheck import Group
from torchdev.util import process
from torchdev.util.streams import show

Say = Callable[[str], None]
PYTEST = [sys.executable, "-m", "pytest", "-q", "-rs"]
"""It gives the reason of each test that is not run."""


@dataclass(frozen=True)
class Task:
    """A group's name, the command that it is, and what its environment has beside this process's."""

    name: str
    command: "list[str]"
    variables: "Mapping[str, str]" = field(default_factory=dict)


def run(task: Task, root: Path, say: Say) -> Group:
    """Run a group to its end; it writes to this process's outputs."""
    say(f"== {task.name}")
    return _run(
        task, lambda command: subprocess.run(command, cwd=root, env={**os.environ, **task.variables}).returncode
    )


@contextmanager
def beside(tasks: "list[Task]", root: Path, say: Say) -> "Iterator[Callable[[], list[Group]]]":
    """Run groups, one after another, while the block does something else; what is given waits for them.

    They say nothing until they are waited for. They are stopped if the block ends by an error.
    """
    with ThreadPoolExecutor(1) as pool:
        futures = [pool.submit(_kept, task, root) for task in tasks]

        def ended() -> "list[Group]":
            groups = []
            for future in futures:
                try:
                    group, lines = future.result()
                except process.InterruptedRun:
                    raise KeyboardInterrupt from None
                say(f"== {group.name}")
                show("".join(lines).rstrip("\n"))
                groups.append(group)
            return groups

        try:
            yield ended
        except BaseException:
            process.interrupt_all()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _kept(task: Task, root: Path) -> "tuple[Group, list[str]]":
    lines: list[str] = []
    group = _run(task, lambda command: process.run(command, lines.append, cwd=root, env=task.variables))
    return group, lines


def _run(task: Task, status_of: "Callable[[list[str]], int]") -> Group:
    """Run a group's command; pytest counts what was not run."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "junit.xml")
        counts = task.command[: len(PYTEST)] == PYTEST
        passed = status_of([*task.command, *([f"--junit-xml={file}"] if counts else [])]) == 0
        seconds = round(time.monotonic() - began, 1)
        return counted(task.name, passed, seconds, file.read_text(encoding="utf-8") if file.exists() else "<none/>")


def counted(name: str, passed: bool, seconds: float, junit: str) -> Group:
    """A group with the tests that pytest has written of as JUnit's XML: how many, which failed, what was not run."""
    cases = list(ElementTree.fromstring(junit).iter("testcase"))
    skips = [skip for case in cases for skip in case.iter("skipped")]
    failures = [str(case.get("name")) for case in cases if {"failure", "error"} & {child.tag for child in case}]
    reasons = tuple(dict.fromkeys(str(skip.get("message")) for skip in skips))
    return Group(
        name=name,
        passed=passed,
        skipped=len(skips),
        tests=len(cases),
        seconds=seconds,
        failures=tuple(dict.fromkeys(failures)),
        reasons=reasons,
    )
