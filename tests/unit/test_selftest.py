"""The run of all tests: what was not run is counted and named; that all passed is said only if it did."""

import sys
from pathlib import Path

import pytest

from torchdev import selftest
from torchdev.selftest import Group

TESTS = """\
import pytest

def test_passes():
    pass

@pytest.mark.parametrize("number", [1, 2])
def test_is_not_run(number):
    pytest.skip("needs a rainbow")

def test_fails():
    assert {holds}
"""


@pytest.mark.parametrize("holds", [True, False])
def test_what_pytest_did_not_run_is_counted(tmp_path: Path, holds: bool, capfd: pytest.CaptureFixture[str]) -> None:
    """By a real run of it, which gives the reasons."""
    (tmp_path / "test_some.py").write_text(TESTS.format(holds=holds))
    command = [*selftest.PYTEST, "-p", "no:cacheprovider", "test_some.py"]
    assert selftest._group("some", command, tmp_path, print) == Group("some", holds, 2, 4)
    assert "needs a rainbow" in capfd.readouterr().out


def test_other_commands_pass_by_their_status(tmp_path: Path) -> None:
    """Nothing of them is not run; pytest that could not begin has failed."""
    for status in (0, 3):
        command = [sys.executable, "-c", f"raise SystemExit({status})"]
        assert selftest._group("other", command, tmp_path, print) == Group("other", status == 0)
    assert selftest._group("none", [*selftest.PYTEST, "--no-such-option"], tmp_path, print) == Group("none", False)


def test_last_words_name_what_was_not_run() -> None:
    """A group in part, or whole; beside what failed, too."""
    whole, part, none = Group("style", True), Group("engine tests", True, 12, 80), Group("the cpu cell", True, 1)
    assert (
        selftest.closing([whole], "torchdev's tests", ", with a built") == "all passed: torchdev's tests, with a built"
    )
    said = selftest.closing([whole, part, none], "torchdev's tests", ", with a built")
    assert said == "passed: torchdev's tests, with a built, but not run: engine tests (12 of 80), the cpu cell"
    failed = Group("types", False)
    assert selftest.closing([failed, whole], "x") == "failed: types"
    assert selftest.closing([failed, part], "x") == "failed: types; not run: engine tests (12 of 80)"
