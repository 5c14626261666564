"""Many cells on a real engine: small stand-ins for cells, so that it takes seconds."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.conftest import ROOT
from tests.unit.fake_engine import session_of
from torchdev.catalog.bases import Base
from torchdev.docgen.project import Project
from torchdev.engine.client import Engine
from torchdev.image.paths import Paths
from torchdev.image.plan import Plan
from torchdev.matrix.load import load
from torchdev.pipeline import run as pipeline
from torchdev.pipeline import verify
from torchdev.pipeline.report import State
from torchdev.pipeline.run_lock import Disk
from torchdev.pipeline.session import BuildSession, Options, begin
from torchdev.pipeline.verify import Outcome, Verdict
from torchdev.util.errors import Exit
from torchdev.wheels.lock import Lock, inputs_digest

MATRIX = """\
image: {image}
rows:
  - {{python: ["3.11", "3.13", "3.14"], cuda: cu130, torch: "2.13.0"}}
aliases: {{latest: py311-cu130}}
"""
DOCKERFILE = """\
FROM {base} AS shared
RUN echo shared > /shared
FROM shared AS interpreter
RUN echo {python} > /python
FROM interpreter
RUN {command}
"""
Make = Callable[..., tuple[BuildSession, tuple[Plan, ...]]]


@pytest.fixture
def make(engine: Engine, base: str, project: Project, tmp_path: Path) -> Iterator[Make]:
    """A matrix of three cells whose Dockerfiles are small; `commands` gives some of them another last step."""
    image = f"torchdev-test-{uuid.uuid4().hex[:8]}"
    path = tmp_path / "matrix.yaml"
    path.write_text(MATRIX.format(image=image))
    small = Project(Paths(ROOT, path), load(path))
    templates = project.plans(project.matrix.cells[:1])
    debian = Base(f"debian:bookworm-slim-{image}", None)  # so that no layer of another image counts as there

    def run(commands: "dict[str, str] | None" = None, **options: object) -> tuple[BuildSession, tuple[Plan, ...]]:
        plans = []
        for cell in small.matrix.cells:
            lock = Lock(
                cell=cell.id,
                python=cell.python,
                platform="linux/amd64",
                inputs=inputs_digest(cell),
                uv=templates[0].lock.uv,
                packages=(),
            )
            own = dataclasses.replace(templates[0], image=image, cell=cell, lock=lock, debian=debian)
            plans.append(dataclasses.replace(own, aliases=small.matrix.aliases_of(cell)))
            folder = small.images / cell.id
            folder.mkdir(parents=True, exist_ok=True)
            command = (commands or {}).get(cell.python, "true")
            (folder / "Dockerfile").write_text(DOCKERFILE.format(base=base, python=cell.python, command=command))
        how = Options(**{"test": False, "jobs": 2, **options})  # type: ignore[arg-type]
        turns = tmp_path / "turns"
        turns.mkdir(exist_ok=True)
        session = session_of(engine, small.paths, options=how, lock_dir=turns)
        return session, tuple(plans)

    yield run
    for cell in small.matrix.cells:
        for tag in (cell.id, *small.matrix.aliases_of(cell)):
            engine.untag(f"{image}:{tag}")
        engine.untag(f"{image}-candidate:{cell.id}")


def states(session: BuildSession, plans: tuple[Plan, ...]) -> list[State]:
    """Run, and the state of each cell."""
    return [result.state for result in pipeline.run(session, begin(session, plans), plans)]


def ids(engine: Engine, plan: Plan) -> set[str]:
    """The images that a cell's tags point at."""
    return {found.id if (found := engine.image(tag)) else "" for tag in plan.tags}


def test_cells_are_built_tagged_and_then_skipped(make: Make, engine: Engine) -> None:
    """All tags of a cell point at one image; a second run builds nothing; a changed file builds that cell."""
    session, plans = make()
    assert states(session, plans) == [State.BUILT] * 3
    assert all(len(ids(engine, plan)) == 1 and "" not in ids(engine, plan) for plan in plans)
    assert engine.image(plans[0].tags[0]) == engine.image(f"{plans[0].image}:latest")
    assert not any(engine.image(plan.candidate) for plan in plans)
    assert states(session, plans) == [State.SKIPPED] * 3
    session, plans = make({"3.13": "echo changed"})
    assert states(session, plans) == [State.SKIPPED, State.BUILT, State.SKIPPED]


def test_layers_below_python_are_equal(make: Make, engine: Engine) -> None:
    """The same diffIDs as a prefix; what differs comes after."""
    session, plans = make()
    pipeline.run(session, begin(session, plans), plans)
    chains = [[name for name, _ in engine.layer_sizes(plan.tags[0])] for plan in plans]
    assert {tuple(chain[:2]) for chain in chains} == {tuple(chains[0][:2])}
    assert len({chain[2] for chain in chains}) == 3


def test_failing_cell_fails_alone_and_keeps_its_tags(make: Make, engine: Engine) -> None:
    """The others are built; what was tagged before stays tagged, and nothing of the failure is."""
    session, plans = make()
    pipeline.run(session, begin(session, plans), plans)
    before = ids(engine, plans[1])
    session, plans = make({"3.11": "echo new", "3.13": "exit 3", "3.14": "echo new"})
    results = pipeline.run(session, begin(session, plans), plans)
    assert [result.state for result in results] == [State.BUILT, State.FAILED, State.BUILT]
    assert (results[1].code, results[1].tags) == (Exit.BUILD, ())
    assert "exit code: 3" in results[1].error
    assert ids(engine, plans[1]) == before
    assert engine.image(plans[1].candidate) is None


def test_failed_check_is_not_tagged(make: Make, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The candidate is left for a look, and the next run checks it without building again."""
    bad = (Verdict(cell="cell", check="check", outcome=Outcome.FAIL, why="no", seconds=0.0),)
    monkeypatch.setattr(verify, "verify", lambda *arguments, **options: bad)
    session, plans = make(test=True)
    results = pipeline.run(session, begin(session, plans), plans[:1])
    assert (results[0].state, results[0].code) == (State.FAILED, Exit.CHECK)
    assert engine.image(plans[0].candidate)
    assert ids(engine, plans[0]) == {""}
    monkeypatch.setattr(
        verify, "verify", lambda *arguments, **options: (dataclasses.replace(bad[0], outcome=Outcome.PASS),)
    )
    assert states(session, plans[:1]) == [State.CHECKED]
    assert engine.image(plans[0].candidate) is None


def test_moved_alias_is_mended_without_a_build(make: Make, engine: Engine) -> None:
    """A run that was killed between two tags, say."""
    session, plans = make()
    pipeline.run(session, begin(session, plans), plans)
    engine.tag(plans[1].tags[0], f"{plans[0].image}:latest")
    assert states(session, plans[:1]) == [State.SKIPPED]
    assert len(ids(engine, plans[0])) == 1


def test_two_runs_take_turns(make: Make, tmp_path: Path) -> None:
    """The second waits for the first's cell, and finds it done."""
    session, plans = make({"3.11": f"sleep 3 # {uuid.uuid4()}"})
    said: list[str] = []
    second = dataclasses.replace(session, say=said.append)
    program = "import sys, time; from torchdev.pipeline.run_lock import locked; from pathlib import Path\n"
    program += "with locked(Path(sys.argv[1]), sys.argv[2], lambda: None): print('held', flush=True); time.sleep(2)"
    command = [sys.executable, "-c", program, str(session.lock_dir), plans[0].candidate]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        other.stdout.readline()
        assert states(second, plans[:1]) == [State.BUILT]
    assert any("another run works on it" in text for text in said)


def test_too_small_a_disk_fails_the_cell(make: Make) -> None:
    """With figures, before anything is built."""
    session, plans = make()
    layers = tuple(dataclasses.replace(layer, packages=()) for layer in plans[0].layers)
    big = dataclasses.replace(plans[0].layers[0].packages[0], installed=10**16)
    layers = (dataclasses.replace(layers[0], packages=(big,)), *layers[1:])
    tight = dataclasses.replace(session, disk=Disk(Path("/")))
    results = pipeline.run(tight, begin(tight, plans), (dataclasses.replace(plans[0], layers=layers),))
    assert results[0].state is State.FAILED
    assert "the disk is too small" in results[0].error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_run_leaves_no_half_tagged_cell(
    engine: Engine, plan: Plan, tmp_path: Path, number: signal.Signals
) -> None:
    """build.py itself, on a cell that is built before: interrupted while it is checked, then run to the end."""
    command = [sys.executable, "build.py", plan.cell.id, "--gpu", "none"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    checked, aside = ROOT / ".torchdev" / "checked", ROOT / ".torchdev" / "checked-before"
    checked.mkdir(parents=True, exist_ok=True)
    checked.rename(aside)
    before = ids(engine, plan)
    try:
        # Whatever has started these tests may have SIGINT ignored.
        front = ["env", "--default-signal=INT", *command]
        with subprocess.Popen(front, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=environment) as run:
            assert run.stderr
            while "checking" not in (line := run.stderr.readline()):
                assert line, "build.py ended early"
            time.sleep(8)
            run.send_signal(number)
            code = run.wait(60)
        assert code == (-9 if number == signal.SIGKILL else Exit.INTERRUPTED)
        assert ids(engine, plan) == before
        label = f"io.torchdev.check={plan.candidate}"
        if number != signal.SIGKILL:
            assert engine.containers(label) == []
    finally:
        shutil.rmtree(checked, ignore_errors=True)
        aside.rename(checked)
        engine.remove_containers(f"io.torchdev.check={plan.candidate}")
