"""Batches on a real engine: a disk that holds one cell at a time, and what is left there afterwards."""

import dataclasses
import uuid

import pytest

from tests.engine.test_pipeline import Make, ids, make
from torchdev.cli.results import stored
from torchdev.engine import buildx
from torchdev.engine.client import Engine
from torchdev.image.plan import Plan
from torchdev.pipeline import batches, verify
from torchdev.pipeline.estimate import below, needed
from torchdev.pipeline.report import State
from torchdev.pipeline.run_lock import Disk
from torchdev.pipeline.session import BuildSession
from torchdev.pipeline.verify import Outcome, Verdict
from torchdev.util.errors import Exit

__all__ = ["make"]


def step() -> str:
    """A last step that was never built before, and that the build cache names as torchdev's own."""
    return f": /scripts/sealed ; head -c 3000000 /dev/urandom > /{uuid.uuid4().hex}"


def tight(session: BuildSession, plans: "tuple[Plan, ...]", **options: object) -> BuildSession:
    """The same with a disk that holds one of the cells, or two that share; the third's share is its own."""
    room = max(needed([plan], ()) for plan in plans)
    how = dataclasses.replace(session.options, prune=True, **options)  # type: ignore[arg-type]
    return dataclasses.replace(session, options=how, disk=Disk(None, room))


def named(engine: Engine, image: str) -> "set[str]":
    """The names of this test's images."""
    return {name for name in engine.names() if name.startswith(image)}


def test_batches_are_built_and_removed(make: Make, engine: Engine) -> None:
    """Each is built by itself; then no image, candidate or step of theirs is left, and all that was there before is."""
    older = step()
    session, plans = make({"3.11": older})
    batches.run(session, plans[:1])
    for tag in plans[0].tags:
        engine.untag(tag)
    session, plans = make({"3.11": step(), "3.13": step(), "3.14": step()})
    said: list[str] = []
    before = {record.id for record in buildx.records()}
    results = batches.run(dataclasses.replace(tight(session, plans), say=said.append), plans)
    assert [result.state for result in results] == [State.BUILT] * 3
    assert len([line for line in said if line.startswith("a batch of 1 cells")]) == 3
    assert named(engine, plans[0].image) == set()
    assert all(result.removed and not engine.image(result.image.id) for result in results if result.image)
    assert stored(results, engine) is None
    after = buildx.records()
    assert not [r for r in after if r.id not in before and "3000000" in r.description]
    assert [r.id in before for r in after if older in r.description] == [True]


def test_what_was_there_stays(make: Make, engine: Engine) -> None:
    """A cell that is not built anew keeps its image; of one that is, the tags go back to the image they had."""
    session, plans = make()
    batches.run(session, plans)
    before = [ids(engine, plan) for plan in plans]
    session, plans = make({"3.13": step()})
    results = batches.run(tight(session, plans), plans)
    assert [result.state for result in results] == [State.SKIPPED, State.BUILT, State.SKIPPED]
    assert [result.removed for result in results] == [False, True, False]
    assert [ids(engine, plan) for plan in plans] == before
    assert len(named(engine, plans[0].image)) == sum(len(set(plan.tags)) for plan in plans)


def test_failed_cell_leaves_no_candidate_and_stops_no_batch(make: Make, engine: Engine) -> None:
    """The next batch finds the room."""
    session, plans = make({"3.11": "exit 3", "3.13": step(), "3.14": step()})
    results = batches.run(tight(session, plans), plans)
    assert [result.state for result in results] == [State.FAILED, State.BUILT, State.BUILT]
    assert named(engine, plans[0].image) == set()


def test_failed_check_leaves_no_candidate(make: Make, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be left for a look, but for the room that it takes; one that a run before has left stays."""
    bad = (Verdict(cell="cell", check="check", outcome=Outcome.FAIL, why="no", seconds=0.0),)
    monkeypatch.setattr(verify, "verify", lambda *arguments, **options: bad)
    session, plans = make(test=True)
    assert batches.run(session, plans[:1])[0].code is Exit.CHECK
    results = batches.run(tight(session, plans), plans)
    assert [result.code for result in results] == [Exit.CHECK] * 3
    assert [result.removed for result in results] == [False, True, True]
    assert named(engine, plans[0].image) == {plans[0].candidate}


def test_refused_push_keeps_the_image(make: Make, engine: Engine) -> None:
    """What was not pushed is not removed; the result says why. Without --prune it is as if it had been built alone."""
    session, plans = make({"3.11": step()})
    results = batches.run(tight(session, plans, push_to="127.0.0.1:9/none"), plans[:1])
    assert (results[0].state, results[0].code) == (State.FAILED, Exit.BUILD)
    assert "127.0.0.1:9" in results[0].error
    assert ids(engine, plans[0]) != {""}
    assert named(engine, "127.0.0.1:9/none") == set()


def test_cell_that_never_fits_fails_alone(make: Make) -> None:
    """With figures, and without a build."""
    session, plans = make()
    small = dataclasses.replace(tight(session, plans), disk=Disk(None, needed([below(plans[0])], ())))
    results = batches.run(small, plans[:1])
    assert (results[0].state, results[0].code) == (State.FAILED, Exit.BUILD)
    assert "too small even for it alone" in results[0].error


def test_prune_takes_ids_and_nothing_else(engine: Engine) -> None:
    """An id that is not there is no error, and removes nothing."""
    before = {record.id for record in buildx.records()}
    buildx.prune(["0" * 25])
    buildx.prune([])
    assert before <= {record.id for record in buildx.records()}
