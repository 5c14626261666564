"""Batches and pushes: what is said of each cell when they are cut off; which entries of the build cache are removed."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.fake_engine import session_of
from torchdev.engine import buildx
from torchdev.engine.buildx import Record
from torchdev.engine.client import Image
from torchdev.image.paths import Paths
from torchdev.image.plan import Plan
from torchdev.pipeline import batches, run
from torchdev.pipeline.batches import own_entries
from torchdev.pipeline.estimate import wheel_files
from torchdev.pipeline.progress import PUSHING, Event, Phase
from torchdev.pipeline.report import Result, State
from torchdev.pipeline.run_lock import Disk
from torchdev.pipeline.session import BuildSession, BuildState, Options, begin
from torchdev.util.errors import Exit
from torchdev.util.process import InterruptedRun

OWN = (
    "mount / from exec /bin/bash -euo pipefail -c /scripts/sealed install-wheels --python /usr/local/bin/python3",
    "mount / from exec /bin/bash -euo pipefail -c /scripts/sealed place-made",
    "mount / from exec /bin/bash -euo pipefail -c /scripts/packed /packed install-debs         g++ gcc",
    "mount / from exec /bin/bash -euo pipefail -c /steps/install-tools",
    "mount / from exec /bin/sh -c /steps/fetch-wheels nccl",
)
OTHERS = (
    'cached mount /cache from exec /bin/bash -euo pipefail -c /steps/fetch-wheels nccl with id "/torchdev-wheels"',
    "local source for context",
    "local source for dockerfile",
    "mount / from exec /bin/sh -c /scripts/build.sh",
    "mount / from exec /bin/sh -c cp /steps/one /two",
    "pulled from docker.io/library/debian:bookworm-slim",
)


@pytest.mark.parametrize("said", OWN)
def test_what_its_steps_made_is_removed(said: str) -> None:
    """Unless it was there before."""
    record = Record("new", 1, False, said)
    assert own_entries([record], {"other"}) == [record]
    assert own_entries([record], {"new"}) == []


@pytest.mark.parametrize("said", OTHERS)
def test_all_else_stays(said: str) -> None:
    """The cache of wheel files, which is named after the step that first had it; and whatever other projects made."""
    assert own_entries([Record("new", 1, False, said)], ()) == []


Interrupt = type[BaseException]
INTERRUPTS = pytest.mark.parametrize("interrupt", [KeyboardInterrupt, InterruptedRun])


@pytest.fixture
def session_of_push(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> "Callable[..., tuple[BuildSession, list[Event]]]":
    """A session whose engine does nothing but push as it is told; every cell is built at once."""

    def make(push: "Callable[[str], None]", **options: object) -> "tuple[BuildSession, list[Event]]":
        image = Image(id="sha256:0", size=1, layers=(), labels={}, pushed=("registry/x@sha256:1",))
        engine = SimpleNamespace(
            names=dict,
            image=lambda name: image,
            tag=lambda *names: None,
            push=lambda name: push(name) or "sha256:1",
            registry_digest=lambda name: "sha256:1",
            give_back=lambda *names: None,
        )
        events: list[Event] = []
        paths, how = Paths(tmp_path, tmp_path / "matrix.yaml"), Options(**options)  # type: ignore[arg-type]
        return session_of(engine, paths, options=how, lock_dir=tmp_path, report=events.append), events

    def built(session: BuildSession, state: BuildState, plans: "tuple[Plan, ...]") -> "list[Result]":
        return [
            Result(cell=plan.cell.id, state=State.BUILT, image=Image(id="sha256:0", size=1, layers=(), labels={}))
            for plan in plans
        ]

    monkeypatch.setattr(run, "run", built)
    return make


@INTERRUPTS
def test_interrupt_while_pushing_keeps_the_table(
    session_of_push: "Callable[..., tuple[BuildSession, list[Event]]]", interrupt: Interrupt, first: Plan, second: Plan
) -> None:
    """What was pushed is done; all else says that it was interrupted."""

    def push(name: str) -> None:
        if "py313" in name or second.cell.id in name:
            raise interrupt

    session, events = session_of_push(push, push_to="registry/x")
    second = _named(second)
    results = batches.run(session, (first, second))
    assert [(result.state, result.code) for result in results] == [
        (State.BUILT, Exit.OK),
        (State.FAILED, Exit.INTERRUPTED),
    ]
    assert results[1].error == f"{second.cell.id}: interrupted before it was pushed"
    assert [event.cell for event in events if isinstance(event, Phase) and event.phase == PUSHING] == [
        first.cell.id,
        second.cell.id,
    ]


@INTERRUPTS
def test_interrupt_as_the_last_cell_ends_keeps_the_table(
    session_of_push: "Callable[..., tuple[BuildSession, list[Event]]]",
    interrupt: Interrupt,
    first: Plan,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cell that is built is built, although the cache can't be read any more; one that was not begun was not."""
    looks: list[list[Record]] = [[]]

    def records(options: object) -> "list[Record]":
        if not looks:
            raise interrupt
        return looks.pop()

    monkeypatch.setattr(buildx, "records", records)
    session, _ = session_of_push(lambda name: None, prune=True)
    assert [result.state for result in batches.run(session, (first,))] == [State.BUILT]
    assert [result.code for result in batches.run(session, (first,))] == [Exit.INTERRUPTED]


def test_fetched_wheels_are_noted_after_a_batch(
    session_of_push: "Callable[..., tuple[BuildSession, list[Event]]]", first: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that can't be seen, too, their files leave less room; the same wheels count once."""
    monkeypatch.setattr(buildx, "records", lambda options: [])
    session, _ = session_of_push(lambda name: None, prune=True)
    session = dataclasses.replace(session, disk=Disk(None, 10**10))
    state = begin(session, (first,))
    for _ in range(2):
        batches.run(session, (first,), state)
        assert state.cached == set(wheel_files((first,), ()))
        assert session.disk.left() == 10**10 - sum(wheel_files((first,), ()).values())


def _named(plan: Plan) -> Plan:
    """The plan without tags that another has, too."""
    return dataclasses.replace(plan, aliases=())
