"""The table of all workloads: what a program's end comes to, what is counted, and the exit status."""

import sys

import pytest

from tests.unit.conftest import ROOT
from workloads import __main__ as table
from workloads.__main__ import FAIL, NAMES, NOT_RUN, PASS, Ended, Row, exit_status, headline, judge, run_all

GOOD = '{"device": "cpu", "measured": {"accuracy": [0.9, 0.95]}, "limits": {"accuracy": ">= 0.8"}, "reached": true}'
BAD = GOOD.replace("true", "false")
HELPERS = {"__init__", "__main__", "harness", "digits", "sequences"}


def row(outcome: str) -> Row:
    """A line of the table."""
    return Row("lstm", "cpu", outcome, "", 1.0)


def test_every_workload_is_in_the_table() -> None:
    """A new module is run, or named as one that only helps."""
    assert {path.stem for path in (ROOT / "workloads").glob("*.py")} == {*NAMES, *HELPERS}


@pytest.mark.parametrize("name", NAMES)
def test_every_workload_shows_its_control(name: str) -> None:
    """Its first lines say how it is run, and by which option it must fail."""
    text = (ROOT / "workloads" / f"{name}.py").read_text()
    assert f"python -m workloads.{name} " in text
    assert "# must fail: " in text


@pytest.mark.parametrize("absent", [[], ["torchaudio"], ["torchvision", "torchaudio"]])
def test_what_is_not_installed_is_not_listed(monkeypatch: pytest.MonkeyPatch, absent: "list[str]") -> None:
    """A release without torchaudio has no audio workload that could be "not run"."""
    monkeypatch.setattr(table.importlib.util, "find_spec", lambda name: None if name in absent else name)
    assert table.listed() == [name for name in NAMES if table.PART.get(name) not in absent]


@pytest.mark.parametrize(("ended", "control", "outcome", "why"), [
    (Ended(0, GOOD, ""), False, PASS, "accuracy 0.9 to 0.95"),
    (Ended(1, BAD, ""), False, FAIL, "accuracy 0.9 to 0.95; wanted {'accuracy': '>= 0.8'}"),
    (Ended(1, BAD, ""), True, PASS, "accuracy 0.9 to 0.95"),
    (Ended(0, GOOD, ""), True, FAIL, "the control was not noticed: accuracy 0.9 to 0.95"),
    (Ended(1, "", "Traceback\nRuntimeError: broken\n"), False, FAIL, "RuntimeError: broken"),
    (Ended(1, "", "Traceback\nRuntimeError: broken\n"), True, FAIL, "RuntimeError: broken"),
    (Ended(1, GOOD, ""), False, FAIL, "accuracy 0.9 to 0.95; wanted {'accuracy': '>= 0.8'}"),
    (Ended(2, "", "can't run: torchaudio is not installed\n"), False, NOT_RUN, "torchaudio is not installed"),
    (Ended(None, "", "it had not ended after 300 s"), False, FAIL, "it had not ended after 300 s"),
    (Ended(-9, "", ""), False, FAIL, "it said nothing"),
])  # fmt: skip
def test_what_an_end_comes_to(ended: Ended, control: bool, outcome: str, why: str) -> None:
    """A crash is no noticed control, and a missing part is no pass."""
    assert judge(ended, "cpu", control) == (outcome, why)


def test_another_device_than_asked_for_is_a_failure() -> None:
    """A program that fell back to the CPU has not passed on the GPU."""
    assert judge(Ended(0, GOOD, ""), "cuda", False) == (FAIL, "it ran on cpu")


def test_the_headline_counts_what_was_not_run() -> None:
    """And the exit status is that of the worst outcome."""
    assert headline([row(PASS), row(NOT_RUN), row(NOT_RUN)]) == "1 passed, 0 failed, 2 not run"
    outcomes = ([PASS], [PASS, NOT_RUN], [NOT_RUN, FAIL, PASS])
    assert [exit_status([row(outcome) for outcome in rows]) for rows in outcomes] == [0, 2, 1]


@pytest.mark.parametrize(("mode", "outcome"), [("auto", NOT_RUN), ("require", FAIL)])
def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch, mode: str, outcome: str) -> None:
    """What needs one is not run, or fails where one is required; the CPU's part is run all the same."""
    ends = {
        "workloads.harness": Ended(2, "", "can't run: no usable GPU: no driver\n"),
        "workloads.lstm": Ended(0, GOOD, ""),
    }
    monkeypatch.setattr(table, "start", lambda module, _: ends[module])
    rows = run_all(["lstm"], mode, False, lambda _: None)
    assert [(found.device, found.outcome) for found in rows] == [("cpu", PASS), ("cuda", outcome)]
    assert rows[1].why == "no usable GPU: no driver"


def test_a_program_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all that it has started."""
    monkeypatch.setattr(table, "PATIENCE", 1)
    monkeypatch.setattr(sys, "executable", "/bin/sh")
    real = table.subprocess.Popen
    monkeypatch.setattr(table.subprocess, "Popen", lambda _, **options: real(["sleep", "60"], **options))
    assert table.start("workloads.lstm", []).status is None
