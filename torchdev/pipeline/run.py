"""Builds, checks and tags cells: first the layers that they share, then each cell, several at once.

A failed cell stops no other. Each cell is built by its own call of bake: in one call, BuildKit cancels every target as
soon as one fails. The engine runs identical steps of several builds once (docs/decisions/0004-one-bake-per-cell.md).
"""

import dataclasses
import time
import traceback
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from typing import NoReturn

from torchdev.engine.client import CELL_LABEL, Image
from torchdev.image.plan import INTERPRETER, SHARED, Plan
from torchdev.pipeline import bake, memory, tags
from torchdev.pipeline.estimate import below, chain, needed
from torchdev.pipeline.inventory import INPUTS_LABEL
from torchdev.pipeline.progress import BUILDING, CHECKING, PREPARING, WAITING, Ended, Phase
from torchdev.pipeline.report import Result, State, headline, plan_line, verdicts_text
from torchdev.pipeline.run_lock import locked
from torchdev.pipeline.session import BuildSession, BuildState
from torchdev.pipeline.verify import Outcome, Verdict
from torchdev.util import faults, files, process
from torchdev.util.commands import build_py
from torchdev.util.errors import BuildError, Exit, InputError, TorchdevError


def run(session: BuildSession, state: BuildState, plans: tuple[Plan, ...]) -> "list[Result]":
    """Build, check and tag; returns a result for every plan, in their order.

    An interrupt stops everything that runs, and removes candidates that this run made; finished cells stay.
    """
    done = settled(session, state, plans)
    left = tuple(plan for plan in plans if plan not in done)
    futures: dict[Plan, Future[Result]] = {}
    with ThreadPoolExecutor(session.options.jobs) as pool:
        try:
            wait([pool.submit(_share, session, state, plan) for plan in _first_of_each(session, state, left)])
            futures = {plan: pool.submit(_cell, session, state, plan) for plan in left}
            wait(futures.values())
        except KeyboardInterrupt:
            session.say("interrupted; waiting for what runs to stop")
            process.interrupt_all()
            pool.shutdown(cancel_futures=True)
    return [done.get(plan) or _result(plan, futures.get(plan)) for plan in plans]


def settled(session: BuildSession, state: BuildState, plans: tuple[Plan, ...]) -> "dict[Plan, Result]":
    """The cells that need no work, according to the last look at the engine's images and one look at its containers.

    Their tags point at an image of the present inputs whose checks have passed, and no run has left a candidate or a
    container of them.
    """
    if session.options.rebuild:
        return {}
    code = memory.code(session.paths.checkout)
    busy = {c.labels.get(CELL_LABEL) for c in session.engine.containers(CELL_LABEL)}
    names = state.names
    found = {}
    for plan in plans:
        there = names.get(plan.tags[0])
        if not there or plan.lock.unresolved or plan.candidate in names or plan.candidate in busy:
            continue
        id_, labels = there
        if labels.get(INPUTS_LABEL) != state.inputs_of(session, plan) or any(
            names.get(tag) != there for tag in plan.tags
        ):
            continue
        noted = memory.file(session.paths, plan, id_, session.options.gpu, code)
        verdicts = memory.recall(noted) if session.options.test else ()
        image = session.engine.image(id_) if verdicts is not None else None
        if image and verdicts is not None:
            session.report(Ended(plan.cell.id, State.SKIPPED))
            found[plan] = Result(cell=plan.cell.id, state=State.SKIPPED, image=image, tags=plan.tags, verdicts=verdicts)
    return found


def _first_of_each(session: BuildSession, state: BuildState, plans: tuple[Plan, ...]) -> "list[Plan]":
    """One plan for each set of shared layers that several cells still to be built have."""
    groups: dict[str, list[Plan]] = {}
    for plan in plans:
        if not built(session, state, plan) and not session.refusal(plan):
            groups.setdefault(plan.shared, []).append(plan)
    return [group[0] for group in groups.values() if len(group) > 1]


def _share(session: BuildSession, state: BuildState, plan: Plan) -> None:
    """Build the layers below Python. If that fails, each cell that needs them will report it for itself."""
    names = ", ".join(layer.name for layer in plan.below_python)
    session.report(Phase(plan.cell.id, PREPARING, session.steps(plan)))
    session.say(f"{plan.cell.id}: first the layers that it shares with others: {names}")
    try:
        with (
            locked(
                session.lock_dir, f"shared-{plan.shared[:16]}", lambda: session.say("another run works on it; waiting")
            ),
            session.disk.room(plan.cell.id, needed((below(plan),), state.present, state.cached)),
        ):
            bake.build(session, state.inputs, plan, SHARED)
            state.present.update(chain(below(plan)))
    except (TorchdevError, process.InterruptedRun):
        return
    finally:
        session.report(Phase(plan.cell.id, WAITING))


def _result(plan: Plan, future: "Future[Result] | None") -> Result:
    """The result of a cell; `future` is None, cancelled or interrupted if the run was interrupted before its end."""
    try:
        if future:
            return future.result()
    except (process.InterruptedRun, CancelledError):
        pass
    return interrupted(plan.cell.id)


def interrupted(cell: str) -> Result:
    """The result of a cell that an interrupted run did not begin or finish."""
    return Result(cell=cell, state=State.FAILED, error=f"{cell}: interrupted", code=Exit.INTERRUPTED)


def _cell(session: BuildSession, state: BuildState, plan: Plan) -> Result:
    """Build, check and tag one cell, under its run lock."""
    began = time.perf_counter()
    cell = plan.cell.id
    try:
        with (
            faults.machine(),
            locked(session.lock_dir, plan.candidate, lambda: session.say(f"{cell}: another run works on it; waiting")),
        ):
            result = _alone_with(session, state, plan)
    except TorchdevError as error:
        session.say(f"error: {error}")
        result = Result(cell=cell, state=State.FAILED, error=str(error), code=error.code)
    except process.InterruptedRun:
        raise
    except Exception as error:  # an unexpected error of one cell must not stop the others
        log = session.paths.work / "logs" / f"{cell}-fault.log"
        clean = session.host.clean
        files.write(log, clean(traceback.format_exc()))
        what = f"{cell}: {type(error).__name__}: {clean(str(error))}\n  next: an unexpected error; see {log}"
        session.say(f"error: {what}")
        result = Result(cell=cell, state=State.FAILED, error=what, code=Exit.BUILD)
    session.report(Ended(cell, result.state))
    return dataclasses.replace(result, seconds=time.perf_counter() - began)


def _alone_with(session: BuildSession, state: BuildState, plan: Plan) -> Result:
    """Build, check and tag a cell; if interrupted, remove the candidate that was built."""
    if refusal := session.refusal(plan):
        raise refusal
    session.engine.remove_containers(f"{CELL_LABEL}={plan.candidate}")
    before = session.engine.image(plan.candidate)
    try:
        return _bring_up(session, state, plan)
    except process.InterruptedRun:
        if not before:
            session.engine.untag(plan.candidate)
        raise


def _bring_up(session: BuildSession, state: BuildState, plan: Plan) -> Result:
    """Do those of building, checking and tagging that are still to be done."""
    if plan.lock.unresolved:
        _build_below(session, state, plan)
    there, what = built(session, state, plan), State.SKIPPED
    if not there:
        session.say(plan_line(plan))
        session.report(Phase(plan.cell.id, BUILDING, session.steps(plan)))
        with session.disk.room(plan.cell.id, needed((plan,), state.present, state.cached)):
            bake.build(session, state.inputs, plan)
        state.present.update(chain(plan))
        there, what = _named(session, plan.candidate), State.BUILT
        if not there:
            raise BuildError(f"bake succeeded, but there is no {plan.candidate}", where=plan.cell.id)
    name, image = there
    verdicts, now = _checked(session, plan, image.id, what)
    if any(verdict.outcome is Outcome.FAIL for verdict in verdicts):
        left = f"not tagged, left as {name}" if name == plan.candidate else f"tagged before as {name}"
        error = f"{plan.cell.id}: {headline(verdicts)}; {left}"
        return Result(
            cell=plan.cell.id, state=State.FAILED, image=image, tags=(), verdicts=verdicts, error=error, code=Exit.CHECK
        )
    tags.point(session, plan, image.id)
    session.engine.untag(plan.candidate)
    return Result(
        cell=plan.cell.id,
        state=State.CHECKED if now and what is State.SKIPPED else what,
        image=image,
        tags=plan.tags,
        verdicts=verdicts,
    )


def _checked(session: BuildSession, plan: Plan, image: str, what: State) -> "tuple[tuple[Verdict, ...], bool]":
    """The verdicts on an image, and whether the checks ran now; no verdicts if checks are not wanted."""
    if not session.options.test:
        return (), False
    code = memory.code(session.paths.checkout)
    known = memory.recall(memory.file(session.paths, plan, image, session.options.gpu, code))
    if known is not None:
        return known, False
    session.report(Phase(plan.cell.id, CHECKING))
    session.say(f"{plan.cell.id}: {'built' if what is State.BUILT else 'built before'}; checking")
    verdicts = memory.checked(session.paths, plan, image, session.options.gpu)
    session.say(f"{plan.cell.id}\n{verdicts_text(verdicts)}")
    return verdicts, True


def built(session: BuildSession, state: BuildState, plan: Plan) -> "tuple[str, Image] | None":
    """An image of the plan's present inputs, and its name: its tag, or a candidate of an interrupted run."""
    if session.options.rebuild or plan.lock.unresolved:
        return None
    wanted = state.inputs_of(session, plan)
    found = (_named(session, name) for name in (plan.tags[0], plan.candidate))
    return next((pair for pair in found if pair and pair[1].labels.get(INPUTS_LABEL) == wanted), None)


def _named(session: BuildSession, name: str) -> "tuple[str, Image] | None":
    image = session.engine.image(name)
    return (name, image) if image else None


def _build_below(session: BuildSession, state: BuildState, plan: Plan) -> NoReturn:
    """Build the layers below PyTorch of a cell whose lock could not be completed; then raise the reason."""
    session.say(f"{plan.cell.id}: not all of its wheels are known; building the layers below PyTorch")
    with session.disk.room(plan.cell.id, needed((below(plan),), state.present, state.cached)):
        bake.build(session, state.inputs, plan, INTERPRETER)
    raise session.incomplete.get(plan.cell.id) or InputError(
        "its lock lacks hashes", where=plan.cell.id, next_step=build_py("lock", plan.cell.id)
    )
