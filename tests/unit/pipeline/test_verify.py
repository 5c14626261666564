"""JUnit to verdicts, verdicts to headlines and exit codes: not-run is never a pass."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.unit.conftest import ROOT
from torchdev.cli.list import shards_json
from torchdev.engine.client import Image
from torchdev.image.paths import Paths
from torchdev.image.plan import Plan
from torchdev.matrix.load import Cell
from torchdev.pipeline import verify
from torchdev.pipeline.memory import recall
from torchdev.pipeline.report import (
    Result,
    State,
    Storage,
    exit_code,
    headline,
    results_junit,
    results_text,
    slowest_text,
    storage,
    verdicts_text,
)
from torchdev.pipeline.verify import Outcome, Verdict, read_report
from torchdev.util import process
from torchdev.util.errors import Exit, InputError
from torchdev.util.positions import Position

JUNIT = """<testsuites><testsuite>
<testcase name="good" time="0.5"/>
<testcase name="bad" time="0.1"><failure message="1 != 2">trace</failure></testcase>
<testcase name="broken"><error message="no container"/></testcase>
<testcase name="gpu"><skipped message="no GPU here"/></testcase>
</testsuite></testsuites>"""


def test_outcomes_of_a_report(tmp_path: Path) -> None:
    """A skipped check is not-run, with its reason; an error is a failure."""
    path = tmp_path / "r.xml"
    path.write_text(JUNIT)
    verdicts = read_report("cell", path)
    assert [(v.check, v.outcome, v.why) for v in verdicts] == [
        ("good", Outcome.PASS, ""),
        ("bad", Outcome.FAIL, "1 != 2"),
        ("broken", Outcome.FAIL, "no container"),
        ("gpu", Outcome.NOT_RUN, "no GPU here"),
    ]
    assert headline(verdicts) == "1 passed, 2 failed, 1 not run"
    assert "not-run gpu" in verdicts_text(verdicts)


def test_a_report_without_checks_is_a_failure(tmp_path: Path) -> None:
    """Nothing checked is nothing proved."""
    path = tmp_path / "r.xml"
    path.write_text("<testsuites><testsuite/></testsuites>")
    assert [v.outcome for v in read_report("cell", path)] == [Outcome.FAIL]


def test_checks_that_broke_off_are_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    """A pytest that was stopped half-way leaves a report of passes; it must not count as one."""

    def broken_off(command: list[str], *arguments: object, **options: object) -> int:
        Path(command[-1]).write_text('<testsuites><testsuite><testcase name="good" time="1"/></testsuite></testsuites>')
        return 2

    monkeypatch.setattr(process, "run", broken_off)
    verdicts = verify.verify(plan, "image", "auto", Paths(tmp_path, tmp_path / "matrix.yaml"))
    assert [verdict.outcome for verdict in verdicts] == [Outcome.PASS, Outcome.FAIL]


def test_one_process_a_core_shares_the_checks() -> None:
    """At most four, since each takes the memory of a container at work; a variable says another number."""
    assert [verify.processes({}, cores) for cores in (1, 2, 64)] == [1, 2, 4]
    assert verify.processes({verify.AT_ONCE: "12"}, 2) == 12
    assert verify.side_by_side(1) == []
    assert verify.side_by_side(2)[:2] == ["-n", "2"]


@pytest.mark.parametrize("said", ["0", "-1", "two", "1.5", "٣", "1000"])
def test_what_is_no_number_of_processes_is_refused(said: str) -> None:
    """By the variable's name."""
    with pytest.raises(InputError, match=verify.AT_ONCE):
        verify.processes({verify.AT_ONCE: said}, 2)


def test_verdicts_are_in_the_order_of_the_source() -> None:
    """In whatever order two processes ended them; what the source does not name comes last."""
    found = [
        Verdict(cell="cell", check=name, outcome=Outcome.PASS, why="", seconds=0.1)
        for name in ("c", "b[2]", "a", "other", "b[1]")
    ]
    names = [verdict.check for verdict in verify.in_order(found, ["a", "b", "c"])]
    assert names == ["a", "b[2]", "b[1]", "c", "other"]


def test_the_slowest_checks_are_named() -> None:
    """With the sum over their parameters, after all seconds."""
    took = {"a[1]": 1.0, "a[2]": 2.5, "b": 3.0, **{f"c{n}": 0.1 for n in range(9)}}
    text = slowest_text(
        Verdict(cell="cell", check=name, outcome=Outcome.PASS, why="", seconds=seconds)
        for name, seconds in took.items()
    )
    assert text.startswith("7.4 s of checks; most: a 3.5 s, b 3.0 s, c0 0.1 s")
    assert "c8" not in text
    assert slowest_text(()) == "0.0 s of checks; most: none"


CONFTEST = """
import pytest
from tests.image import shares
def pytest_configure(config):
    if config.getoption("numprocesses", None): config.pluginmanager.register(shares.Plugin())
def pytest_collection_modifyitems(config, items): shares.arrange(config, items)
@pytest.fixture(scope="session", params=["x", "y"])
def refusing(request): print(request.param); return request.param
@pytest.fixture(scope="session")
def facts():
    with open("made", "a") as file: file.write("facts ")
"""
CHECKS = """
import pytest
@pytest.mark.parametrize("name", ["a@b", "records-0"])
def test_workload_(name): pass
def test_fails(facts): assert not "failed"
def test_one(facts): pass
@pytest.mark.parametrize("other", [1, 2])
def test_each(refusing, other): assert refusing != "y"
def test_not_run(facts): pytest.skip("no GPU")
def test_plain(): pass
"""


def test_two_processes_leave_one_report(tmp_path: Path) -> None:
    """Each check once, by its own name, with what it came to; those that need the same are run by one process."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_some.py").write_text(CHECKS)
    found = {}
    for number in (1, 2):
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "xdist",
            *verify.side_by_side(number),
        ]
        report = tmp_path / f"{number}.xml"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        command += [*verify.side_by_side(number), "--junitxml", str(report)]
        subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
        found[number] = sorted((v.check, v.outcome) for v in read_report("cell", report))
        assert (tmp_path / "made").read_text().split() == ["facts"] * number
    assert found[1] == found[2]
    assert Counter(outcome for _, outcome in found[2]) == {Outcome.PASS: 6, Outcome.FAIL: 3, Outcome.NOT_RUN: 1}
    assert {"test_workload_[records-0]", "test_workload_[a@b]", "test_each[y-2]"} <= {name for name, _ in found[2]}


IMAGE = Image(id="sha256:0", size=5_700_000_000, layers=(), labels={})
PASSED = Verdict(cell="cell", check="good", outcome=Outcome.PASS, why="", seconds=0.1)
FAILED = Verdict(cell="cell", check="bad", outcome=Outcome.FAIL, why="1 != 2", seconds=0.1)


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([Result(cell="a", state=State.BUILT, image=IMAGE)], Exit.OK),
        ([Result(cell="a", state=State.FAILED, image=IMAGE, code=Exit.CHECK)], Exit.CHECK),
        ([Result(cell="a", state=State.FAILED, code=Exit.BUILD), Result(cell="b", state=State.BUILT)], Exit.BUILD),
        (
            [
                Result(cell="a", state=State.FAILED, code=Exit.CHECK),
                Result(cell="b", state=State.FAILED, code=Exit.BUILD),
            ],
            Exit.BUILD,
        ),
    ],
)
def test_exit_code_tells_a_failed_build_from_a_failed_check(results: list[Result], code: Exit) -> None:
    """So that a script can tell them apart."""
    assert exit_code(results) == code


def test_table_shows_size_and_tags() -> None:
    """Bytes as GB, tags as given."""
    text = results_text(
        [Result(cell="a", state=State.BUILT, image=IMAGE, tags=("t:a", "t:b"), verdicts=(PASSED,), seconds=61.0)]
    )
    assert "5.70 GB" in text
    assert "t:a t:b" in text
    assert "built" in text


def test_junit_keeps_what_each_check_came_to(tmp_path: Path) -> None:
    """Read again, the outcomes are the same; a suite is named by its cell; what XML can't hold is replaced."""
    skipped = Verdict(cell="a", check="gpu", outcome=Outcome.NOT_RUN, why="no GPU <here>", seconds=0.0)
    odd = Verdict(cell="a", check="odd", outcome=Outcome.FAIL, why="\x1b[31mred", seconds=0.2)
    control = Verdict(
        cell="a", check="control", outcome=Outcome.PASS, why="remembered: held on 2026-01-02", seconds=0.0
    )
    path = tmp_path / "junit.xml"
    path.write_text(
        results_junit(
            [Result(cell="a", state=State.FAILED, image=IMAGE, verdicts=(PASSED, FAILED, skipped, odd, control))]
        )
    )
    found = [(v.check, v.outcome, v.why) for v in read_report("a", path)]
    assert found == [
        ("good", Outcome.PASS, ""),
        ("bad", Outcome.FAIL, "1 != 2"),
        ("gpu", Outcome.NOT_RUN, "no GPU <here>"),
        ("odd", Outcome.FAIL, "?[31mred"),
        ("control", Outcome.PASS, "remembered: held on 2026-01-02"),
    ]
    assert '<testsuite name="a" time="0.0" tests="5" failures="2" skipped="1">' in path.read_text()


def test_table_says_why_a_cell_failed() -> None:
    """Beside those that did not."""
    text = results_text(
        [
            Result(cell="a", state=State.FAILED, error="a: its wheel has another hash"),
            Result(cell="b", state=State.SKIPPED),
        ]
    )
    assert "failed: a: its wheel has another hash" in text
    assert "skipped" in text


def test_shared_layers_are_counted_once() -> None:
    """Equal layers on equal ones; the same layer on another one is stored again."""
    found = storage([[("base", 1), ("cuda", 10), ("a", 100)], [("base", 1), ("cuda", 10), ("b", 200)], [("cuda", 10)]])
    assert found == Storage(images=3, together=332, stored=321)


def test_shards_keep_one_cuda_set_together() -> None:
    """So that what they share is built once per shard."""
    cells = [
        Cell(python=python, flavour=flavour, torch="2.8.0", requirements=(), position=Position("m", 1, 1))
        for flavour in ("cu128", "cu130")
        for python in ("3.9", "3.11")
    ]
    assert json.loads(shards_json(cells)) == [
        {"shard": "cu128", "cells": "py39-cu128-torch2.8.0 py311-cu128-torch2.8.0"},
        {"shard": "cu130", "cells": "py39-cu130-torch2.8.0 py311-cu130-torch2.8.0"},
    ]


@pytest.mark.parametrize("text", [
    "", "[]", "{}", "null", "[1]", "[{}]", "[[]]", "\x00", "[" * 10_000, '[{"cell": "a"}]',
    '[{"cell": "a", "check": "b", "outcome": "fail", "why": "", "seconds": 1.0}]',
    '[{"cell": "a", "check": "b", "outcome": "not-run", "why": "", "seconds": 1.0}]',
    '[{"cell": "a", "check": "b", "outcome": "passed", "why": "", "seconds": 1.0}]',
    '[{"cell": "a", "check": "b", "outcome": "pass", "why": "", "seconds": NaN}]',
    '[{"cell": "a", "check": "b", "outcome": "pass", "why": "", "seconds": 1.0, "x": 1}]',
    '[{"cell": "a", "check": "b", "outcome": "fail", "outcome": "pass", "why": "", "seconds": 1.0}]',
])  # fmt: skip
def test_a_spoiled_note_of_verdicts_is_none(tmp_path: Path, text: str) -> None:
    """The checks run again, and nothing that was cut off or edited counts as passed."""
    path = tmp_path / "note.json"
    path.write_text(text)
    assert recall(path) is None
    path.unlink()
    path.mkdir()
    assert recall(path) is None


@pytest.mark.parametrize("text", ["", "<testsuites><testsuite><testcase name='a'", "no XML", "<a/><b/>"])
def test_half_a_report_is_a_failure(tmp_path: Path, text: str) -> None:
    """As a full disk leaves it."""
    (tmp_path / "report.xml").write_text(text)
    verdicts = read_report("a", tmp_path / "report.xml")
    assert [verdict.outcome for verdict in verdicts] == [Outcome.FAIL]
