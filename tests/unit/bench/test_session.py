"""What a run measures beside contenders' cold builds, and in which order."""

import pytest

from bench import session
from bench.contenders import Setting
from bench.results import Results
from bench.session import MEASURES, Wish
from tests.unit.bench.conftest import SUBJECT
from torchdev.util.errors import EngineError

CELLS = (SUBJECT,) * 4


def names(results: Results, setting: Setting, *measures: str, contenders: "tuple[str, ...]" = ()) -> "list[str]":
    """The measurements that a wish comes to."""
    wish = Wish(frozenset(measures), (1, 4), 1, *([contenders] if contenders else []))
    return [name for name, _ in session.apart(results, setting, CELLS, wish)]


def test_the_job_is_held_to_a_naive_build(setting: Setting) -> None:
    """One is built for it, unless the run has done so already, or is to leave it out."""
    results = Results()
    wanted = ["cold, naive, 1 cell", "job, torchdev, 1 cell", "cold, naive, 4 cells", "job, torchdev, 4 cells"]
    assert names(results, setting, "job") == wanted
    results.add("cold", "seconds", "naive", 1, 70.0)
    assert names(results, setting, "job") == wanted[1:]
    assert names(results, setting, "job", contenders=("torchdev",)) == wanted[1::2]
    assert names(results, setting, "job", contenders=("naive",)) == []


def test_the_earlier_commit_comes_beside_todays(setting: Setting) -> None:
    """One after the other, with one cell, in the order of the table."""
    assert names(Results(), setting, *MEASURES)[-5:] == [
        "checks, e4195ce, 1 cell",
        "checks, torchdev, 1 cell",
        "quickstart, e4195ce, 1 cell",
        "quickstart, torchdev, 1 cell",
        "fifty",
    ]
    assert names(Results(), setting, "cold", "registry") == []


def test_what_can_not_be_had_is_named(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that is not there stops nothing else: it is said with its reason, and results are saved."""

    def refuse(*given: object) -> None:
        raise EngineError("this checkout is a shallow clone", next_step="git fetch --unshallow")

    done = []
    monkeypatch.setattr(session.checks, "earlier", refuse)
    monkeypatch.setattr(session.checks, "checks", lambda results, setting, subject: done.append(subject.id))
    results, saved = Results(), []
    wish = Wish(frozenset(("checks",)), (1,), 1)
    session.run(results, setting, CELLS, wish, lambda text: None, lambda: saved.append(len(results.missing)))
    assert list(results.missing) == ["checks, e4195ce, 1 cell"]
    assert "shallow" in results.missing["checks, e4195ce, 1 cell"]
    assert done == [SUBJECT.id]
    assert saved == [1, 1]
