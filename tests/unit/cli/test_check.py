"""The run of all tests: what was not run is counted and named; that all passed is said only if it did."""

import shutil
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.sabotage.cases import read_cases
from tests.unit.conftest import ROOT
from torchdev.cli import check, testgroups
from torchdev.cli.check import Extent
from torchdev.cli.linters import CONFIG
from torchdev.cli.quickstart import Consent
from torchdev.cli.testgroups import PYTEST, Task
from torchdev.docgen import fullcheck
from torchdev.docgen.fullcheck import Group
from torchdev.pipeline.report import Result, State
from torchdev.pipeline.verify import Outcome, Verdict
from torchdev.util.errors import EngineError, Exit

TESTS = """\
import pytest

def test_passes():
    pass

@pytest.mark.parametrize("number", [1, 2])
def test_is_not_run(number):
    pytest.skip("needs a rainbow")

@pytest.mark.full
def test_fails():
    assert {holds}
"""
JUNIT = """\
<testsuites><testsuite tests="4"><testcase name="one"/><testcase name="two[a]"><failure message="no"/></testcase>
<testcase name="three"><skipped message="no npm"/></testcase>
<testcase name="four"><skipped message="no npm"/></testcase>
<testcase name="five"><error message="no"/></testcase></testsuite></testsuites>
"""
PYTEST_HERE = [*PYTEST, "-p", "no:cacheprovider", "-o", "markers=full", "test_some.py"]
PLAIN = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
"""Without other plugins, which take most of its time to start."""


@pytest.mark.parametrize("holds", [True, False])
def test_what_pytest_did_not_run_is_counted(tmp_path: Path, holds: bool, capfd: pytest.CaptureFixture[str]) -> None:
    """By a real run of it, which gives the reasons."""
    (tmp_path / "test_some.py").write_text(TESTS.format(holds=holds))
    found = testgroups.run(Task("some", PYTEST_HERE, PLAIN), tmp_path, print)
    assert (found.name, found.passed, found.skipped, found.tests) == ("some", holds, 2, 4)
    assert found.failures == (() if holds else ("test_fails",))
    assert found.reasons == ("needs a rainbow",)
    assert "needs a rainbow" in capfd.readouterr().out


def test_what_only_a_full_run_has_is_no_part_of_another(tmp_path: Path) -> None:
    """It is neither run nor counted as not run."""
    (tmp_path / "test_some.py").write_text(TESTS.format(holds=False))
    found = testgroups.run(Task("some", [*PYTEST_HERE, *check.LIGHT], PLAIN), tmp_path, print)
    assert (found.passed, found.skipped, found.tests) == (True, 2, 3)


def test_other_commands_pass_by_their_status(tmp_path: Path) -> None:
    """Nothing of them is not run; pytest that could not begin has failed."""
    for status in (0, 3):
        found = testgroups.run(Task("other", [sys.executable, "-c", f"raise SystemExit({status})"]), tmp_path, print)
        assert (found.name, found.passed, found.skipped, found.tests) == ("other", status == 0, 0, 0)
    assert not testgroups.run(Task("none", [*PYTEST, "--no-such-option"], PLAIN), tmp_path, print).passed


def test_junit_is_counted() -> None:
    """A test whose fixture fails has failed, too; a reason is named once."""
    found = testgroups.counted("some", False, 1.5, JUNIT)
    assert found == Group(
        name="some", passed=False, skipped=2, tests=5, seconds=1.5, failures=("two[a]", "five"), reasons=("no npm",)
    )


def test_groups_beside_others_say_nothing_until_they_are_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their output comes whole, in their order, and they have the variables that they are given."""
    program = "import os, sys; print(os.environ['WORD']); sys.exit(os.environ['WORD'] == 'two')"
    tasks = [Task(word, [sys.executable, "-c", program], {"WORD": word}) for word in ("one", "two")]
    with testgroups.beside(tasks, tmp_path, print) as ended:
        print("meanwhile")
        groups = ended()
    assert [(group.name, group.passed) for group in groups] == [("one", True), ("two", False)]
    assert capsys.readouterr().out.split("\n") == ["meanwhile", "== one", "one", "== two", "two", ""]


def test_groups_beside_what_fails_are_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None runs on after an error or an interrupt, and none is started."""
    monkeypatch.setattr(testgroups.process, "_stopping", type(testgroups.process._stopping)())
    hears = "import pathlib, signal, time; signal.signal(signal.SIGINT, signal.SIG_DFL)"  # which may be ignored here
    wait = [sys.executable, "-c", f"{hears}; pathlib.Path('begun').touch(); time.sleep(60)"]
    never = [sys.executable, "-c", "import pathlib; pathlib.Path('never').touch()"]
    began = time.monotonic()

    def fail() -> None:
        with testgroups.beside([Task("a", wait), Task("b", never)], tmp_path, print):
            while not (tmp_path / "begun").exists():
                assert time.monotonic() < began + 30
                time.sleep(0.02)
            raise EngineError("gone")

    with pytest.raises(EngineError):
        fail()
    assert time.monotonic() < began + 40
    assert not (tmp_path / "never").exists()


def stage(root: Path, monkeypatch: pytest.MonkeyPatch, failing: str = "") -> "list[str]":
    """No engine, no cells and no tests: the names of the groups that are run, as a run goes on."""
    ran: list[str] = []
    shutil.copy(ROOT / CONFIG, root)

    def run(task: Task, root: Path, say: object) -> Group:
        ran.append(f"{task.name} {'without the heavy' if task.command[-3:-1] == check.LIGHT else ''}".strip())
        return Group(name=task.name, passed=task.name != failing)

    class Beside:
        def __init__(self, tasks: "list[Task]", root: Path, say: object) -> None:
            self.tasks = tasks

        def __enter__(self) -> object:
            return lambda: [run(task, Path(), print) for task in self.tasks]

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(check.testgroups, "run", run)
    monkeypatch.setattr(check, "beside", Beside)
    monkeypatch.setattr(check, "ensure_engine", lambda consent, say: None)
    monkeypatch.setattr(
        check,
        "_cells",
        lambda *_: (
            [Group(name="cells", passed=True, skipped=1, tests=9, seconds=1.0, failures=(), reasons=("no GPU",))],
            "two",
        ),
    )
    return ran


@pytest.mark.usefixtures("forked_pip")
@pytest.mark.parametrize("failing", ["", "style", "sabotage"])
def test_a_full_run_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failing: str
) -> None:
    """Every group of it, whatever it came to, as a page too; the next usual run says when it was."""
    ran = stage(tmp_path, monkeypatch, failing)
    code = check.check(tmp_path, Consent(True), print, Extent.FULL)
    assert code == (Exit.CHECK if failing else Exit.OK)
    assert ran[-2:] == ["engine tests", "sabotage"]
    written = fullcheck.read(tmp_path)
    assert written
    assert [group.name for group in written.groups if not group.passed] == [failing] * bool(failing)
    assert {group.name for group in written.groups} == {*ran, "cells"}
    page = (tmp_path / fullcheck.PAGE).read_text()
    assert page == fullcheck.page(written, check.GENERATED)
    assert ("**failed**" in page) == bool(failing)
    capsys.readouterr()
    check.check(tmp_path, Consent(True), print)
    said = capsys.readouterr().out
    assert f"was last run on {written.date} at {written.commit}: " in said
    assert (f"failed: {failing}" if failing else "nothing failed; not run: cells (1 of 9)") in said


def test_lighter_runs_write_nothing_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their tests with an engine are without the heavy ones; a quick run has none."""
    ran = stage(tmp_path, monkeypatch)
    assert check.check(tmp_path, Consent(True), print) == Exit.OK
    assert ran[-2:] == ["engine tests without the heavy", "sabotage without the heavy"]
    ran.clear()
    assert check.check(tmp_path, Consent(True), print, Extent.QUICK) == Exit.OK
    assert "unit tests" in ran
    assert not [name for name in ran if "engine" in name or "sabotage" in name]
    assert fullcheck.read(tmp_path) is None


def test_a_run_that_ends_early_is_not_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is committed stays that of the last whole run."""
    stage(tmp_path, monkeypatch)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(check, "_cells", interrupted)
    with pytest.raises(KeyboardInterrupt):
        check.check(tmp_path, Consent(True), print, Extent.FULL)
    assert fullcheck.read(tmp_path) is None


def test_cells_are_a_group_of_their_checks() -> None:
    """What failed and what was not run is named; a cell that could not be built has no checks, and has failed."""
    verdicts = [("a", Outcome.PASS, ""), ("b", Outcome.FAIL, "no"), ("c", Outcome.NOT_RUN, "no GPU")]
    checked = tuple(
        Verdict(cell="cell", check=name, outcome=outcome, why=why, seconds=0.0) for name, outcome, why in verdicts
    )
    results = [
        Result(cell="cell", state=State.FAILED, verdicts=checked, code=Exit.CHECK),
        Result(cell="other", state=State.FAILED, error="no", code=Exit.BUILD),
    ]
    assert check.of_results("cells", results, 2.04) == Group(
        name="cells", passed=False, skipped=1, tests=3, seconds=2.0, failures=("cell: b", "other"), reasons=("no GPU",)
    )
    assert check.of_results("cells", [], 0).passed


@pytest.mark.usefixtures("forked_pip")
def test_what_is_written_down_says_nothing_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where the checkout lies nor whom its package index knows; any text is a line."""
    monkeypatch.setenv("PIP_INDEX_URL", "https://me:a-secret-word@index.test/simple")
    reasons = (f"needs {tmp_path}/x", "pip: no a-secret-word", "two\nlines \x1b[1m", " ", "x" * 900)
    found = check.cleaned([Group(name="a", passed=True, reasons=reasons)], tmp_path)[0].reasons
    assert found[0] == "needs x"
    assert "secret" not in str(found)
    run = fullcheck.Run(
        date="2026-11-27",
        commit="abc",
        machine="a machine",
        seconds=1.0,
        groups=(Group(name="a", passed=True, reasons=found),),
    )
    fullcheck.write(tmp_path, run, "")
    assert fullcheck.read(tmp_path) == run


def test_something_of_each_kind_is_left_for_the_usual_run() -> None:
    """Of the images broken on purpose, one with CUDA and one without."""
    assert {case.image for case in read_cases() if case.in_check} == {"cpu", "cuda"}


def test_all_is_run_for_each_release_by_a_workflow() -> None:
    """On its tag, and once a week, so that nothing is found on the day of the release alone."""
    workflow = yaml.load((ROOT / ".github" / "workflows" / "full.yml").read_text(), yaml.BaseLoader)
    assert workflow["on"]["push"] == {"tags": ["v*"]}
    assert workflow["on"]["schedule"]
    commands = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    assert "python3 build.py check --full --yes" in commands


def test_last_words_name_what_was_not_run() -> None:
    """A group in part, or whole; beside what failed, too."""
    whole, part, none = (
        Group(name="style", passed=True),
        Group(name="engine tests", passed=True, skipped=12, tests=80),
        Group(name="the cpu cell", passed=True, skipped=1),
    )
    assert check.closing([whole], "torchdev's tests", ", with a built") == "all passed: torchdev's tests, with a built"
    said = check.closing([whole, part, none], "torchdev's tests", ", with a built")
    assert said == "passed: torchdev's tests, with a built, but not run: engine tests (12 of 80), the cpu cell"
    failed = Group(name="types", passed=False)
    assert check.closing([failed, whole], "x") == "failed: types"
    assert check.closing([failed, part], "x") == "failed: types; not run: engine tests (12 of 80)"
