"""An engine of the bench's in memory: it answers commands and builds nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import job
from bench.bases import Bases
from bench.cells import Subject, Wheel
from bench.contenders import Setting
from bench.engine import Workspace
from bench.measure import Measured
from torchdev.pipeline.report import Result, State, results_json
from torchdev.pipeline.verify import Outcome, Verdict
from torchdev.wheels.host import Host

TORCH = Wheel(name="torch", version="2.14.1", file="f", sha256="0", size=10, installed=100)
SUBJECT = Subject(id="py311-cu130-torch2.14.1", python="3.11", flavour="cu130", wheels=(TORCH,), uv="0.13.9")


def said(state: str, *outcomes: str, cell: str = SUBJECT.id) -> str:
    """What `build.py --json` says of one cell whose checks came to these outcomes."""
    verdicts = tuple(
        Verdict(cell=cell, check="test_x", outcome=Outcome(outcome), why="", seconds=1.0) for outcome in outcomes
    )
    return results_json([Result(cell=cell, state=State(state), verdicts=verdicts)])


def cost(seconds: float, output: str = "") -> Measured:
    """What a command may cost."""
    return Measured(seconds=seconds, memory=100, fetched=1000, others=0.5, output=output)


class FakeEngine:
    """Every command that it was given, with its folder; what it answers is decided by `answer`."""

    def __init__(self, workspace: Workspace, name: str, answer: "Callable[[list[str]], str]") -> None:
        self.workspace, self.name, self.answer = workspace, name, answer
        self.commands: list[tuple[list[str], Path | None]] = []

    def run(self, command: "list[str]", *, cwd: "Path | None" = None) -> Measured:
        """Note a command, and answer it: each takes two seconds longer than the one before."""
        self.commands.append((command, cwd))
        return cost(2.0 * len(self.commands), self.answer(command))


class Engines:
    """The engines that were started, in order."""

    def __init__(self) -> None:
        self.started: list[FakeEngine] = []
        self.settled: list[int] = []
        self.answer: Callable[[list[str]], str] = lambda command: ""

    @contextmanager
    def engine(self, workspace: Workspace, name: str, bases: "Path | None") -> Iterator[FakeEngine]:
        """Take the place of bench.engine.engine."""
        self.started.append(FakeEngine(workspace, name, lambda command: self.answer(command)))
        yield self.started[-1]

    def settle(self) -> None:
        """Take the place of bench.engine.settle, and note how many commands the engine has had."""
        self.settled.append(len(self.started[-1].commands))


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Engines:
    """Engines in memory, in place of those that measures start."""
    found = Engines()
    monkeypatch.setattr(job, "engine", found.engine)
    monkeypatch.setattr(job, "settle", found.settle)
    return found


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    """A bench's folder with a matrix that was rendered, and from which something is remembered."""
    folder = tmp_path / "work" / "matrix"
    (folder / "images").mkdir(parents=True)
    (folder / "matrix.yaml").write_text("{}")
    (folder / ".torchdev" / "controls").mkdir(parents=True)
    network: Any = SimpleNamespace(prefix=["nsenter"], mtu=1400, received=lambda: 0)
    workspace = Workspace(
        tmp_path / "work", network, {"PIP_INDEX_URL": "https://index.invalid/simple", "LS_COLORS": "x"}
    )
    bases = Bases(tmp_path / "bases", "official", {"3.11": "base:3.11", "3.13": "base:3.13"})
    matrix = folder / "matrix.yaml"
    return Setting(workspace=workspace, bases=bases, host=Host(), root=tmp_path / "root", matrix=matrix)
