"""Cells to tagged images: what they share first, then each by itself, several side by side; no failure stops another.

Each cell is built by its own call of bake: in one call, BuildKit cancels every target as soon as one fails. The engine
runs identical steps of several builds once (docs/decisions/0004-one-bake-per-cell.md).
"""

import dataclasses
import time
import traceback
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait

from torchdev.engine.client import CELL_LABEL, Image
from torchdev.image import render
from torchdev.image.plan import INTERPRETER, SHARED, Plan, make_plan
from torchdev.pipeline import bake, memory, push
from torchdev.pipeline.estimate import below, chain, needed
from torchdev.pipeline.progress import BUILDING, CHECKING, PREPARING, WAITING, Ended, Phase
from torchdev.pipeline.report import Result, State, headline, plan_line, verdicts_text
from torchdev.pipeline.run_lock import alone
from torchdev.pipeline.session import Site
from torchdev.pipeline.verify import Outcome, Verdict
from torchdev.util import faults, files, process
from torchdev.util.errors import BuildError, Exit, TorchdevError
from torchdev.wheels import lockfile, resolve


def run(site: Site, plans: tuple[Plan, ...]) -> "list[Result]":
    """Build, check and tag; a result for every plan, in their order.

    An interrupt stops what runs, and leaves no candidate that was not there before; what is done stays done.
    """
    done = settled(site, plans)
    left = tuple(plan for plan in plans if plan not in done)
    futures: dict[Plan, Future[Result]] = {}
    with ThreadPoolExecutor(site.options.jobs) as pool:
        try:
            wait([pool.submit(_share, site, plan) for plan in _first_of_each(site, left)])
            futures = {plan: pool.submit(_cell, site, plan) for plan in left}
            wait(futures.values())
        except KeyboardInterrupt:
            site.say("interrupted; waiting for what runs to stop")
            process.interrupt_all()
            pool.shutdown(cancel_futures=True)
    return [done.get(plan) or _result(plan, futures.get(plan)) for plan in plans]


def settled(site: Site, plans: tuple[Plan, ...]) -> "dict[Plan, Result]":
    """The cells of which nothing is left to do, by two looks at the engine for all of them together.

    Their tags point at an image of the present inputs whose checks have passed, and no run has left anything of them.
    """
    if site.options.rebuild:
        return {}
    code = memory.code(site.paths.checkout)
    names, busy = site.engine.names(), {c.labels.get(CELL_LABEL) for c in site.engine.containers(CELL_LABEL)}
    found = {}
    for plan in plans:
        there = names.get(plan.tags[0])
        if not there or plan.lock.unresolved or plan.candidate in names or plan.candidate in busy:
            continue
        id_, labels = there
        if labels.get(bake.INPUTS_LABEL) != site.inputs(plan) or any(names.get(tag) != there for tag in plan.tags):
            continue
        noted = memory.file(site.paths, plan, id_, site.options.gpu, code)
        verdicts = memory.recall(noted) if site.options.test else ()
        image = site.engine.image(id_) if verdicts is not None else None
        if image and verdicts is not None:
            site.report(Ended(plan.cell.id, State.SKIPPED))
            found[plan] = Result(plan.cell.id, State.SKIPPED, image, plan.tags, verdicts)
    return found


def _first_of_each(site: Site, plans: tuple[Plan, ...]) -> "list[Plan]":
    """One plan for each set of shared layers that more than one cell still to be built has."""
    groups: dict[str, list[Plan]] = {}
    for plan in plans:
        if not built(site, plan) and not site.refusal(plan):
            groups.setdefault(plan.shared, []).append(plan)
    return [group[0] for group in groups.values() if len(group) > 1]


def _share(site: Site, plan: Plan) -> None:
    """Build what lies below Python. If that fails, each cell that needs it will say so for itself."""
    names = ", ".join(layer.name for layer in plan.below_python)
    site.report(Phase(plan.cell.id, PREPARING, site.steps(plan)))
    site.say(f"{plan.cell.id}: first what it shares with others: {names}")
    try:
        with (
            alone(site.meeting, f"shared-{plan.shared[:16]}", lambda: site.say("another run is at it; waiting")),
            site.disk.room(plan.cell.id, needed((below(plan),), site.present, site.cached)),
        ):
            site.build(plan, SHARED)
            site.present.update(chain(below(plan)))
    except (TorchdevError, process.InterruptedRun):
        return
    finally:
        site.report(Phase(plan.cell.id, WAITING))


def _result(plan: Plan, future: "Future[Result] | None") -> Result:
    """What came of a cell; `future` is None, cancelled or broken off if the run was interrupted before its end."""
    try:
        if future:
            return future.result()
    except (process.InterruptedRun, CancelledError):
        pass
    return interrupted(plan.cell.id)


def interrupted(cell: str) -> Result:
    """What came of a cell that the run did not get to, or not to its end."""
    return Result(cell, State.FAILED, error=f"{cell}: interrupted", code=Exit.INTERRUPTED)


def _cell(site: Site, plan: Plan) -> Result:
    """One cell from plan to tags, alone with it among all runs."""
    began = time.perf_counter()
    cell = plan.cell.id
    try:
        with (
            faults.machine(),
            alone(site.meeting, plan.candidate, lambda: site.say(f"{cell}: another run is at it; waiting")),
        ):
            result = _alone_with(site, plan)
    except TorchdevError as error:
        site.say(f"error: {error}")
        result = Result(cell, State.FAILED, error=str(error), code=error.code)
    except process.InterruptedRun:
        raise
    except Exception as error:  # whatever it is, the other cells go on
        log = site.paths.work / "logs" / f"{cell}-fault.log"
        clean = site.host.clean
        files.write(log, clean(traceback.format_exc()))
        what = f"{cell}: {type(error).__name__}: {clean(str(error))}\n  next: this was not foreseen; see {log}"
        site.say(f"error: {what}")
        result = Result(cell, State.FAILED, error=what, code=Exit.BUILD)
    site.report(Ended(cell, result.state))
    return dataclasses.replace(result, seconds=time.perf_counter() - began)


def _alone_with(site: Site, plan: Plan) -> Result:
    """Bring a cell up; if interrupted, take away the candidate that came of it."""
    if refusal := site.refusal(plan):
        raise refusal
    site.engine.remove_containers(f"{CELL_LABEL}={plan.candidate}")
    before = site.engine.image(plan.candidate)
    try:
        return _bring_up(site, _completed(site, plan))
    except process.InterruptedRun:
        if not before:
            site.engine.untag(plan.candidate)
        raise


def _bring_up(site: Site, plan: Plan) -> Result:
    """Do what is still to be done of building, checking and tagging."""
    there, state = built(site, plan), State.SKIPPED
    if not there:
        site.say(plan_line(plan))
        site.report(Phase(plan.cell.id, BUILDING, site.steps(plan)))
        with site.disk.room(plan.cell.id, needed((plan,), site.present, site.cached)):
            site.build(plan)
        site.present.update(chain(plan))
        there, state = _named(site, plan.candidate), State.BUILT
        if not there:
            raise BuildError(f"bake succeeded, but there is no {plan.candidate}", where=plan.cell.id)
    name, image = there
    verdicts, now = _checked(site, plan, image.id, state)
    if any(verdict.outcome is Outcome.FAIL for verdict in verdicts):
        left = f"not tagged, left as {name}" if name == plan.candidate else f"tagged before as {name}"
        error = f"{plan.cell.id}: {headline(verdicts)}; {left}"
        return Result(plan.cell.id, State.FAILED, image, (), verdicts, error, Exit.CHECK)
    push.point(site, plan, image.id)
    site.engine.untag(plan.candidate)
    return Result(plan.cell.id, State.CHECKED if now and state is State.SKIPPED else state, image, plan.tags, verdicts)


def _checked(site: Site, plan: Plan, image: str, state: State) -> "tuple[tuple[Verdict, ...], bool]":
    """What the checks come to for an image, and whether they ran now; none, if they are not wanted."""
    if not site.options.test:
        return (), False
    code = memory.code(site.paths.checkout)
    known = memory.recall(memory.file(site.paths, plan, image, site.options.gpu, code))
    if known is not None:
        return known, False
    site.report(Phase(plan.cell.id, CHECKING))
    site.say(f"{plan.cell.id}: {'built' if state is State.BUILT else 'built before'}; checking")
    verdicts = memory.checked(site.paths, plan, image, site.options.gpu)
    site.say(f"{plan.cell.id}\n{verdicts_text(verdicts)}")
    return verdicts, True


def built(site: Site, plan: Plan) -> "tuple[str, Image] | None":
    """An image made from the plan's present inputs, and its name: its tag, or a candidate of a run that was cut off."""
    if site.options.rebuild or plan.lock.unresolved:
        return None
    wanted = site.inputs(plan)
    found = (_named(site, name) for name in (plan.tags[0], plan.candidate))
    return next((pair for pair in found if pair and pair[1].labels.get(bake.INPUTS_LABEL) == wanted), None)


def _named(site: Site, name: str) -> "tuple[str, Image] | None":
    image = site.engine.image(name)
    return (name, image) if image else None


def _completed(site: Site, plan: Plan) -> Plan:
    """The plan with its lock completed from the PyTorch index; where that fails, all below PyTorch is built anyway."""
    if not plan.lock.unresolved:
        return plan
    try:
        known = resolve.complete(plan.lock, plan.cell, site.host, site.asked)
    except TorchdevError:
        site.say(f"{plan.cell.id}: not all of its wheels are known; building what lies below PyTorch")
        with site.disk.room(plan.cell.id, needed((below(plan),), site.present, site.cached)):
            site.build(plan, INTERPRETER)
        raise
    lockfile.complete(site.paths.lock(plan.cell.id), plan.lock, known, plan.cell)
    made = make_plan(plan.image, plan.cell, known, plan.bases, plan.aliases)
    done = render.with_steps(made, render.Sources(site.paths.templates))
    render.write_cell(done, site.paths.templates, site.paths.images)
    site.say(f"{plan.cell.id}: its lock is complete now; commit {site.paths.images.name}/")
    return done
