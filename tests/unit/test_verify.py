"""JUnit to verdicts, verdicts to headlines and exit codes: not-run is never a pass."""

import json
from pathlib import Path

import pytest

from torchdev import process, verify
from torchdev.document import Place
from torchdev.engine import Image
from torchdev.errors import Exit
from torchdev.matrix import Cell
from torchdev.memory import recall
from torchdev.places import Places
from torchdev.plan import Plan
from torchdev.report import (
    Result,
    State,
    Storage,
    exit_code,
    headline,
    results_junit,
    results_text,
    shards_json,
    storage,
    verdicts_text,
)
from torchdev.verify import Outcome, Verdict, read_report

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
    verdicts = verify.verify(plan, "image", "auto", Places(tmp_path, tmp_path / "matrix.yaml"))
    assert [verdict.outcome for verdict in verdicts] == [Outcome.PASS, Outcome.FAIL]


IMAGE = Image("sha256:0", 5_700_000_000, (), {})
PASSED = Verdict("cell", "good", Outcome.PASS, "", 0.1)
FAILED = Verdict("cell", "bad", Outcome.FAIL, "1 != 2", 0.1)


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([Result("a", State.BUILT, IMAGE)], Exit.OK),
        ([Result("a", State.FAILED, IMAGE, code=Exit.CHECK)], Exit.CHECK),
        ([Result("a", State.FAILED, code=Exit.BUILD), Result("b", State.BUILT)], Exit.BUILD),
        ([Result("a", State.FAILED, code=Exit.CHECK), Result("b", State.FAILED, code=Exit.BUILD)], Exit.BUILD),
    ],
)
def test_exit_code_tells_a_failed_build_from_a_failed_check(results: list[Result], code: Exit) -> None:
    """So that a script can tell them apart."""
    assert exit_code(results) == code


def test_table_shows_size_and_tags() -> None:
    """Bytes as GB, tags as given."""
    text = results_text([Result("a", State.BUILT, IMAGE, ("t:a", "t:b"), (PASSED,), seconds=61.0)])
    assert "5.70 GB" in text
    assert "t:a t:b" in text
    assert "built" in text


def test_junit_keeps_what_each_check_came_to(tmp_path: Path) -> None:
    """Read again, the outcomes are the same; a suite is named by its cell; what XML can't hold is replaced."""
    skipped = Verdict("a", "gpu", Outcome.NOT_RUN, "no GPU <here>", 0.0)
    odd = Verdict("a", "odd", Outcome.FAIL, "\x1b[31mred", 0.2)
    path = tmp_path / "junit.xml"
    path.write_text(results_junit([Result("a", State.FAILED, IMAGE, verdicts=(PASSED, FAILED, skipped, odd))]))
    found = [(v.check, v.outcome, v.why) for v in read_report("a", path)]
    assert found == [
        ("good", Outcome.PASS, ""),
        ("bad", Outcome.FAIL, "1 != 2"),
        ("gpu", Outcome.NOT_RUN, "no GPU <here>"),
        ("odd", Outcome.FAIL, "?[31mred"),
    ]
    assert '<testsuite name="a" time="0.0" tests="4" failures="2" skipped="1">' in path.read_text()


def test_table_says_why_a_cell_failed() -> None:
    """Beside those that did not."""
    text = results_text([Result("a", State.FAILED, error="a: its wheel has another hash"), Result("b", State.SKIPPED)])
    assert "failed: a: its wheel has another hash" in text
    assert "skipped" in text


def test_shared_layers_are_counted_once() -> None:
    """Equal layers on equal ones; the same layer on another one is stored again."""
    found = storage([[("base", 1), ("cuda", 10), ("a", 100)], [("base", 1), ("cuda", 10), ("b", 200)], [("cuda", 10)]])
    assert found == Storage(images=3, together=332, stored=321)


def test_shards_keep_one_cuda_set_together() -> None:
    """So that what they share is built once per shard."""
    cells = [
        Cell(python, flavour, "2.8.0", (), Place("m", 1, 1))
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
