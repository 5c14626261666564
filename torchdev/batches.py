"""Many cells on a small disk, wave by wave: built and checked, pushed if asked for, and removed before the next."""

from dataclasses import replace

from torchdev import builder, buildx, pipeline
from torchdev.engine import Engine
from torchdev.errors import Exit, TorchdevError
from torchdev.forecast import chain, layer_bytes
from torchdev.outlook import waves_of
from torchdev.plan import Plan
from torchdev.progress import Began, Part
from torchdev.report import Result, State
from torchdev.site import Say, Site

OWN_STEPS = ("/scripts/", "/steps/", "local source for ")
"""What the build cache says of entries that torchdev's Dockerfiles make; others are left alone."""


def run(site: Site, plans: "tuple[Plan, ...]") -> "list[Result]":
    """Build, check and tag; then push if asked for; with `prune` in waves, each removed again. A result for each plan.

    The waves are planned anew after each, from the room that there is then.
    """
    site.report(_began(site, plans))
    left = {plan.cell.id: plan for plan in plans}
    results: dict[str, Result] = {}
    while left:
        waves = waves_of(left.values(), site.present, site.disk.left() if site.options.prune else None)
        if waves.too_large and not waves.waves:
            results |= {cell: _too_large(cell) for cell in waves.too_large}
            break
        wave = tuple(left.pop(cell) for cell in waves.waves[0])
        if site.options.prune:
            names = ", ".join(plan.cell.id for plan in wave)
            site.say(f"a wave of {len(wave)} cells, {len(left)} are left for later ones: {names}")
        found = _wave(site, wave)
        results |= {result.cell: result for result in found}
        if any(result.code is Exit.INTERRUPTED for result in found):
            results |= {cell: pipeline.interrupted(cell) for cell in left}
            break
    return [results[plan.cell.id] for plan in plans]


def _began(site: Site, plans: "tuple[Plan, ...]") -> Began:
    """What the run is about to do: each cell's layers."""
    parts = {}
    for plan in plans:
        names = zip(chain(plan)[1:], plan.layers, strict=True)
        parts[plan.cell.id] = tuple(Part(key, layer.name, layer_bytes(layer)) for key, layer in names)
    return Began(parts, frozenset(site.present))


def _wave(site: Site, plans: "tuple[Plan, ...]") -> "list[Result]":
    """One wave; interrupted, it leaves what is done."""
    prune = site.options.prune
    names = site.engine.names() if prune else {}
    cached = {record.id for record in buildx.records(site.way.options)} if prune else set()
    results = pipeline.run(site, plans)
    if any(result.code is Exit.INTERRUPTED for result in results):
        return results
    if site.options.push_to:
        results = [_pushed(site, plan, result) for plan, result in zip(plans, results, strict=True)]
    if prune:
        results = [_removed(site, plan, result, names) for plan, result in zip(plans, results, strict=True)]
        _prune(site, cached)
        site.look_again(plans)
    return results


def push(engine: Engine, plan: Plan, target: str, say: Say) -> None:
    """Push all tags of a cell to a repository."""
    for remote, tag in remotes(plan, target).items():
        engine.tag(tag, remote)
        say(f"pushing {remote}")
        engine.push(remote)


def remotes(plan: Plan, target: str) -> "dict[str, str]":
    """What each tag of a cell is called in a repository, if one is given: that name to the tag here."""
    return {f"{target}:{tag.rpartition(':')[2]}": tag for tag in plan.tags if target}


def _pushed(site: Site, plan: Plan, result: Result) -> Result:
    """Push a cell that holds; what became of it then."""
    if result.state is State.FAILED:
        return result
    try:
        push(site.engine, plan, site.options.push_to, site.say)
    except TorchdevError as error:
        site.say(f"error: {error}")
        return replace(result, state=State.FAILED, error=str(error), code=error.code)
    return result


def _removed(site: Site, plan: Plan, result: Result, before: builder.Names) -> Result:
    """Take away the image that this run built, by all its names; its tags go back to what they pointed at before.

    One that could not be pushed stays, and so does one that was there.
    """
    image = result.image.id if result.image else ""
    names = [*plan.tags, *remotes(plan, site.options.push_to)] if result.state is State.BUILT else []
    failed = result.state is State.FAILED and not result.tags and plan.candidate not in before
    for name in (*names, *([plan.candidate] if failed else [])):
        old = before.get(name, ("", {}))[0]
        if not old:
            site.engine.untag(name)
        elif old != image:
            site.engine.tag(old, name)
    there = image in {old for old, _ in before.values()}
    return replace(result, tags=(), removed=True) if (names or failed) and image and not there else result


def _prune(site: Site, before: "set[str]") -> None:
    """Remove what torchdev's steps have left in the build cache since `before`, and no image has."""
    new = [record for record in buildx.records(site.way.options) if record.id not in before]
    own = [record for record in new if any(step in record.description for step in OWN_STEPS)]
    buildx.prune((record.id for record in own), site.way.options)
    site.say(f"removed the wave's images, and {len(own)} entries of the build cache")


def _too_large(cell: str) -> Result:
    what = f"{cell}: the engine's disk is too small even for it alone\n  next: docker system df"
    return Result(cell, State.FAILED, error=what, code=Exit.BUILD)
