"""Builds many cells on a small disk, batch by batch: each is built, checked, pushed if asked for, and removed."""

import re
from collections.abc import Collection, Iterable
from dataclasses import replace

from torchdev.engine import buildx
from torchdev.image.plan import Plan
from torchdev.pipeline import run as pipeline
from torchdev.pipeline.backlog import Backlog
from torchdev.pipeline.estimate import chain, layer_bytes, wheel_files
from torchdev.pipeline.inventory import Names
from torchdev.pipeline.progress import PUSHING, Began, Ended, Part, Phase
from torchdev.pipeline.push import push
from torchdev.pipeline.report import Result, State
from torchdev.pipeline.session import BuildSession, BuildState, begin
from torchdev.util import process
from torchdev.util.errors import Exit, TorchdevError

OWN_STEP = re.compile(r"mount .* from exec .* (/scripts/(sealed|packed)|/steps/(fetch-wheels|install-tools))( |$)")
"""Descriptions of those build cache entries that torchdev's Dockerfiles make.

Other entries stay: the cache mount of wheel files ("cached mount ..."), and contexts, which can't be told from those of
other projects.
"""


def run(session: BuildSession, plans: "tuple[Plan, ...]", state: "BuildState | None" = None) -> "list[Result]":
    """Build, check, tag and, if asked for, push; with `prune` in batches, each removed again. A result for each plan.

    A batch is begun only if it fits into the room that there is then. An interrupt ends the run; what is done stays.
    """
    state = state or begin(session, plans)
    session.report(_began(state, plans))
    results: dict[str, Result] = {}
    try:
        _batches(session, state, plans, results)
    except (process.InterruptedRun, KeyboardInterrupt):
        session.say("interrupted")
    return [results.get(plan.cell.id) or pipeline.interrupted(plan.cell.id) for plan in plans]


def _batches(session: BuildSession, state: BuildState, plans: "tuple[Plan, ...]", results: "dict[str, Result]") -> None:
    """Build batch after batch until one is interrupted; `results` gets the result of each cell."""
    backlog = Backlog(plans)
    while batch := backlog.take(state.present, state.cached, session.disk.left() if session.options.prune else None):
        if session.options.prune:
            names = ", ".join(plan.cell.id for plan in batch)
            session.say(f"a batch of {len(batch)} cells, {len(backlog.left)} are left for later ones: {names}")
        _batch(session, state, batch, results)
        if any(results[plan.cell.id].code is Exit.INTERRUPTED for plan in batch):
            return
    results |= {cell: _too_large(cell) for cell in backlog.left}


def _began(state: BuildState, plans: "tuple[Plan, ...]") -> Began:
    """The event for the beginning of a run: each cell's layers."""
    parts = {}
    for plan in plans:
        names = zip(chain(plan)[1:], plan.layers, strict=True)
        parts[plan.cell.id] = tuple(Part(key, layer.name, layer_bytes(layer)) for key, layer in names)
    return Began(parts, frozenset(state.present))


def _batch(session: BuildSession, state: BuildState, plans: "tuple[Plan, ...]", results: "dict[str, Result]") -> None:
    """Build one batch. `results` always has what to report if the run ends at that moment."""
    prune, target = session.options.prune, session.options.push_to
    names = session.engine.names() if prune else {}
    cached = {record.id for record in buildx.records(session.builder.options)} if prune else set()
    done = dict(zip(plans, pipeline.run(session, state, plans), strict=True))
    results |= {plan.cell.id: _unpushed(result) if target else result for plan, result in done.items()}
    if any(result.code is Exit.INTERRUPTED for result in done.values()):
        return
    if target:
        for plan, result in done.items():
            results[plan.cell.id] = _pushed(session, plan, result)
    if prune:
        for plan in plans:
            results[plan.cell.id] = _removed(session, plan, results[plan.cell.id], names)
        _prune(session, cached)
        _note_wheels(session, state, tuple(plan for plan, result in done.items() if result.state is State.BUILT))
        state.look_again(session, plans)


def _note_wheels(session: BuildSession, state: BuildState, built: "tuple[Plan, ...]") -> None:
    """Note the wheels whose files are in the engine's cache now; wheels from local folders never get there."""
    if session.host.folders:
        return
    new = {sha: size for sha, size in wheel_files(built, ()).items() if sha not in state.cached}
    state.cached.update(new)
    session.disk.keep(sum(new.values()))


def _unpushed(result: Result) -> Result:
    """The result of a cell that was to be pushed, if the run is interrupted before the push."""
    if result.state is State.FAILED:
        return result
    error = f"{result.cell}: interrupted before it was pushed"
    return replace(result, state=State.FAILED, error=error, code=Exit.INTERRUPTED)


def _pushed(session: BuildSession, plan: Plan, result: Result) -> Result:
    """Push a cell that has passed its checks; returns its new result."""
    if result.state is State.FAILED or result.image is None:  # a cell that passed has an image
        return result
    session.report(Phase(plan.cell.id, PUSHING))
    keep = not (session.options.prune and result.state is State.BUILT)
    try:
        push(session, plan, result.image.id, session.options.push_to, keep=keep)
    except TorchdevError as error:
        session.say(f"error: {error}")
        result = replace(result, state=State.FAILED, error=str(error), code=error.code)
    session.report(Ended(plan.cell.id, result.state))
    return result


def _removed(session: BuildSession, plan: Plan, result: Result, before: Names) -> Result:
    """Remove an image that this run built, by all its names; its tags return to the images they pointed at before.

    An image that could not be pushed stays, as does one that was there before; so does a tag that was given to another
    image meanwhile.
    """
    image = result.image.id if result.image else ""
    built = result.state is State.BUILT
    failed = result.state is State.FAILED and not result.tags and plan.candidate not in before
    for name in (*(plan.tags if built else ()), *([plan.candidate] if failed else [])):
        session.engine.give_back(name, image, before.get(name, ("", {}))[0])
    there = image in {old for old, _ in before.values()}
    return replace(result, tags=(), removed=True) if (built or failed) and image and not there else result


def _prune(session: BuildSession, before: "set[str]") -> None:
    """Remove build cache entries that torchdev's steps have made since `before` and that no image uses."""
    own = own_entries(buildx.records(session.builder.options), before)
    buildx.prune((record.id for record in own), session.builder.options)
    session.say(f"removed the batch's images, and {len(own)} entries of the build cache")


def own_entries(records: "Iterable[buildx.Record]", before: "Collection[str]") -> "list[buildx.Record]":
    """The entries that torchdev's steps have made, except those whose ids were there before."""
    return [record for record in records if record.id not in before and OWN_STEP.match(record.description)]


def _too_large(cell: str) -> Result:
    what = f"{cell}: the engine's disk is too small even for it alone\n  next: docker system df"
    return Result(cell=cell, state=State.FAILED, error=what, code=Exit.BUILD)
