"""The main job and its checks alone, on engines in memory."""

import sys
from pathlib import Path

import pytest

from bench import baseline, checks
from bench.contenders import Setting
from bench.results import EARLIER, Results
from tests.unit.bench.conftest import SUBJECT, Engines, said
from torchdev.util.errors import BuildError


def words(command: "list[str]", setting: Setting) -> "list[str]":
    """A command of today's build.py without the place of its matrix, which must be a copy that remembers nothing."""
    assert command[:2] == [sys.executable, str(setting.root / "build.py")]
    place = command.index("--matrix-file")
    matrix = Path(command[place + 1])
    assert matrix != setting.matrix
    assert sorted(path.name for path in matrix.parent.iterdir()) == ["images", "matrix.yaml"]
    return [*command[2:place], *command[place + 2 :]]


def test_the_job_is_what_users_run(engines: Engines, setting: Setting) -> None:
    """One command with its checks, on an engine with bases alone; the count of checks that passed stands beside it."""
    engines.answer = lambda command: said("built", "pass", "not-run", "pass")
    results = Results()
    checks.job(results, setting, (SUBJECT,))
    [own] = engines.started
    assert [words(command, setting) for command, _ in own.commands] == [[SUBJECT.id, "--json"]]
    assert results.get("job", "seconds", "torchdev", 1) == 2.0
    assert results.get("job", "passed", "torchdev", 1) == 2
    assert results.get("cold", "seconds", "torchdev", 1) is None


@pytest.mark.parametrize(
    "answer",
    [
        said("built", "pass", "fail"),
        said("built", "not-run"),
        said("built"),
        said("skipped", "pass"),
        said("built", "pass", cell="another"),
    ],
)
def test_a_job_that_proves_nothing_is_not_measured(engines: Engines, setting: Setting, answer: str) -> None:
    """A check that failed, none that ran, a cell that was not built: then there is no time of the job."""
    engines.answer = lambda command: answer
    results = Results()
    with pytest.raises(BuildError, match="should have been built"):
        checks.job(results, setting, (SUBJECT,))
    assert not results.values


def test_the_checks_run_twice_on_one_image(engines: Engines, setting: Setting) -> None:
    """First with all controls, as on a machine that remembers none; then as on all other days."""
    engines.answer = lambda command: said("checked" if "test" in command else "built", "pass")
    results = Results()
    checks.checks(results, setting, SUBJECT)
    [own] = engines.started
    first, *tests = (words(command, setting) for command, _ in own.commands)
    assert first == [SUBJECT.id, "--no-test", "--json"]
    assert tests == [["test", SUBJECT.id, "--json"]] * 2
    assert len({command[command.index("--matrix-file") + 1] for command, _ in own.commands}) == 1
    assert results.values == {
        ("checks", "seconds", "torchdev", 1): [4.0],
        ("checks", "seconds, controls remembered", "torchdev", 1): [6.0],
        ("checks", "passed", "torchdev", 1): [1],
    }


def test_the_earlier_commit_runs_by_itself(
    engines: Engines, setting: Setting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its files, its .venv, its requirements, the image that it has built; nothing of it is left."""
    folder = tmp_path / "clone" / "torchdev"
    folder.mkdir(parents=True)
    monkeypatch.setattr(baseline, "checkout", lambda site, root: folder)
    engines.answer = lambda command: said("checked", "pass", "pass")
    results = Results()
    checks.earlier(results, setting, SUBJECT)
    [own] = engines.started
    python = str(folder / ".venv" / "bin" / "python")
    venv, install, build, test = (command for command, _ in own.commands)
    assert venv[1:] == ["-m", "venv", str(folder / ".venv")]
    assert install[0] == python
    assert install[-1] == str(folder / "requirements.txt")
    assert build == [python, str(folder / "build.py"), "build", SUBJECT.id, "--no-test"]
    assert test == [python, str(folder / "build.py"), "test", SUBJECT.id, "--json"]
    assert [cwd for _, cwd in own.commands[2:]] == [folder, folder]
    assert results.get("checks", "seconds", EARLIER, 1) == 8.0
    assert results.get("checks", "passed", EARLIER, 1) == 2
    assert not folder.parent.exists()


def test_what_the_job_is_compared_with_is_measured_once(engines: Engines, setting: Setting) -> None:
    """The naive build of a run that has measured it already stands."""
    results = Results()
    results.add("cold", "seconds", "naive", 1, 70.0)
    checks.naive(results, setting, (SUBJECT,))
    assert engines.started == []
