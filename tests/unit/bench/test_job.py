"""The whole main job on engines in memory, the earlier commit, and the order of what has engines for itself."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench import baseline, job, session
from bench.contenders import Setting
from bench.results import EARLIER, Results
from bench.session import MEASURES, Selection
from tests.unit.bench.conftest import SUBJECT, Engines, said
from torchdev.util.errors import BuildError, EngineError


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
    job.job(results, setting, (SUBJECT,))
    [own] = engines.started
    assert [words(command, setting) for command, _ in own.commands] == [[SUBJECT.id, "--json"]]
    assert results.values == {
        ("job", "seconds", "torchdev", 1): [2.0],
        ("job", "fetched", "torchdev", 1): [1000],
        ("job", "passed", "torchdev", 1): [2],
    }


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
        job.job(results, setting, (SUBJECT,))
    assert not results.values


def test_the_checks_run_twice_on_one_image(engines: Engines, setting: Setting) -> None:
    """First with all controls, as on a machine that remembers none; then as on all other days."""
    engines.answer = lambda command: said("checked" if "test" in command else "built", "pass")
    results = Results()
    job.checks(results, setting, SUBJECT)
    [own] = engines.started
    first, *tests = (words(command, setting) for command, _ in own.commands)
    assert first == [SUBJECT.id, "--no-test", "--json"]
    assert tests == [["test", SUBJECT.id, "--json"]] * 2
    assert engines.settled == [1, 2]
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
    monkeypatch.setattr(baseline, "checkout", lambda workspace, root: folder)
    engines.answer = lambda command: said("checked", "pass", "pass")
    results = Results()
    job.earlier(results, setting, SUBJECT)
    [own] = engines.started
    python = str(folder / ".venv" / "bin" / "python")
    venv, install, build, test = (command for command, _ in own.commands)
    assert venv[1:] == ["-m", "venv", str(folder / ".venv")]
    assert install[0] == python
    assert install[-1] == str(folder / "requirements.txt")
    assert build == [python, str(folder / "build.py"), "build", SUBJECT.id, "--no-test"]
    assert test == [python, str(folder / "build.py"), "test", SUBJECT.id, "--json"]
    assert [cwd for _, cwd in own.commands[2:]] == [folder, folder]
    assert engines.settled == [3]
    assert results.get("checks", "seconds", EARLIER, 1) == 8.0
    assert results.get("checks", "passed", EARLIER, 1) == 2
    assert not folder.parent.exists()


def test_what_the_job_is_compared_with_is_measured_once(engines: Engines, setting: Setting) -> None:
    """The naive build of a run that has measured it already stands."""
    results = Results()
    results.add("cold", "seconds", "naive", 1, 70.0)
    job.naive(results, setting, (SUBJECT,))
    assert engines.started == []


def git(folder: Path, *words: str) -> str:
    """Run git as somebody without settings."""
    who = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "init.defaultBranch=main")
    command = ["git", *who, "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> "tuple[Path, str]":
    """A repository of two commits, and the name of the first."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet")
    for text in ("first", "second"):
        (folder / "file").write_text(text)
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "--message", text)
    return folder, git(folder, "rev-parse", "--short=7", "HEAD~1")


def test_a_checkout_is_of_that_commit(
    setting: Setting, repository: "tuple[Path, str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files, in the bench's folder; the repository stays as it was."""
    folder, first = repository
    monkeypatch.setattr(baseline, "EARLIER", first)
    before = git(folder, "for-each-ref"), git(folder, "worktree", "list")
    found = baseline.checkout(setting.workspace, folder)
    assert (found / "file").read_text() == "first"
    assert setting.workspace.work in found.parents
    assert (git(folder, "for-each-ref"), git(folder, "worktree", "list")) == before
    assert baseline.bundle(setting.workspace, folder) == setting.workspace.work / baseline.BUNDLE


def test_a_commit_that_is_not_there_is_told(setting: Setting, repository: "tuple[Path, str]", tmp_path: Path) -> None:
    """Neither in a repository of others, nor in a folder without git."""
    for folder in (repository[0], tmp_path):
        with pytest.raises(EngineError, match=f"does not know commit {baseline.EARLIER}"):
            baseline.checkout(setting.workspace, folder)


def test_a_shallow_clone_is_told(
    setting: Setting, repository: "tuple[Path, str]", monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It may know the commit, and still no clone can be made of it."""
    folder, _ = repository
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{folder}", "shallow")
    shallow = tmp_path / "shallow"
    monkeypatch.setattr(baseline, "EARLIER", git(shallow, "rev-parse", "HEAD"))
    with pytest.raises(EngineError, match="shallow"):
        baseline.checkout(setting.workspace, shallow)


CELLS = (SUBJECT,) * 4


def names(results: Results, setting: Setting, *measures: str, contenders: "tuple[str, ...]" = ()) -> "list[str]":
    """The measurements of a selection."""
    selection = Selection(frozenset(measures), (1, 4), 1, *([contenders] if contenders else []))
    return [name for name, _ in session.apart(results, setting, CELLS, selection)]


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
    monkeypatch.setattr(session.job, "earlier", refuse)
    monkeypatch.setattr(session.job, "checks", lambda results, setting, subject: done.append(subject.id))
    results, saved = Results(), []
    selection = Selection(frozenset(("checks",)), (1,), 1)
    session.run(results, setting, CELLS, selection, lambda text: None, lambda: saved.append(len(results.missing)))
    assert list(results.missing) == ["checks, e4195ce, 1 cell"]
    assert "shallow" in results.missing["checks, e4195ce, 1 cell"]
    assert done == [SUBJECT.id]
    assert saved == [1, 1]
