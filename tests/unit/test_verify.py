"""JUnit to verdicts, verdicts to headlines and exit codes: not-run is never a pass."""

from pathlib import Path

import pytest

from torchdev.engine import Image
from torchdev.errors import Exit
from torchdev.report import Result, exit_code, headline, results_text, verdicts_text
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


IMAGE = Image("sha256:0", 5_700_000_000, (), {})
PASSED = Verdict("cell", "good", Outcome.PASS, "", 0.1)
FAILED = Verdict("cell", "bad", Outcome.FAIL, "1 != 2", 0.1)


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([Result("a", IMAGE, ("t:a",), (PASSED,), "", 1.0)], Exit.OK),
        ([Result("a", IMAGE, (), (FAILED,), "a: 1 failed", 1.0)], Exit.CHECK),
        ([Result("a", None, (), (), "no build", 1.0)], Exit.BUILD),
        ([Result("a", IMAGE, (), (FAILED,), "x", 1.0), Result("b", None, (), (), "y", 1.0)], Exit.BUILD),
    ],
)
def test_exit_code_tells_a_failed_build_from_a_failed_check(results: list[Result], code: Exit) -> None:
    """So that a script can tell them apart."""
    assert exit_code(results) == code


def test_table_shows_size_and_tags() -> None:
    """Bytes as GB, tags as given."""
    text = results_text([Result("a", IMAGE, ("t:a", "t:b"), (PASSED,), "", 61.0)])
    assert "5.70 GB" in text
    assert "t:a t:b" in text
    assert "built" in text
