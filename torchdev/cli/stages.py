"""The stages that build.py offers, each one function: from the files of a checkout to files, images, verdicts."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Collection
from pathlib import Path

from torchdev.bases import prefix
from torchdev.catalog import bases, builds, facts
from torchdev.docgen.project import Project, without_lock
from torchdev.engine import buildx
from torchdev.engine.client import Engine
from torchdev.image import render
from torchdev.image.paths import Places
from torchdev.image.plan import Plan
from torchdev.matrix.load import Cell
from torchdev.pipeline import bake, batches, capacity, display, memory, run
from torchdev.pipeline.capacity import Outlook
from torchdev.pipeline.push import push
from torchdev.pipeline.report import Result, State, Storage, headline, results_junit, storage, verdicts_text
from torchdev.pipeline.run_lock import Disk, alone
from torchdev.pipeline.session import Options, Site, make_bases, meeting_of, open_site
from torchdev.pipeline.verify import Outcome
from torchdev.util import files, process, texts, trees
from torchdev.util.commands import build_py
from torchdev.util.errors import BuildError, EngineError, Exit, InputError, TorchdevError
from torchdev.wheels import lock, lockfile, pytorch, refresh, resolve
from torchdev.wheels.host import local_wheels, read_host

Say = Callable[[str], None]


def refresh_catalog(say: Say, *, accept_removed: bool) -> None:
    """Bring data/catalog.json up to date with the package indexes, or leave it as it is and say why."""
    old, host = builds.load(), read_host()

    def tell(text: str) -> None:
        say(host.clean(text))

    with host.hidden():
        new = refresh.refresh(old, host, facts.index_flavours(), tell, accept_removed=accept_removed)
    lines = refresh.changes(old, new)
    files.write(builds.DATA, builds.to_text(new))
    for line in [*lines, *refresh.gaps(new)]:
        say(line)
    say(f"{len(lines)} changes in {builds.DATA.name}" + (f"; next: {build_py('list', '--grid')}" if lines else ""))


def lock_cells(project: Project, cells: "tuple[Cell, ...]", say: Say) -> None:
    """Resolve the named cells, or all, and write their locks; what was resolved before keeps its sizes.

    One that can't be resolved keeps no other from its lock; they are named at the end, in a BuildError. An interrupt
    leaves the locks that were written by then.
    """
    command = build_py("lock", *(cell.id for cell in cells if cells != project.matrix.cells))
    trees.refuse_links(render.tree({}, project.images), [f"{cell.id}/lock.json" for cell in cells], command)
    host = read_host()
    for note in host.notes:
        say(f"note: {note}")
    known_locks = _there(project, project.matrix.cells)
    known = {
        package.sha256: package.installed
        for found in known_locks
        for package in found.packages
        if package.sha256 and package.installed
    }

    asked = pytorch.Asked(say)

    def one(cell: Cell) -> "TorchdevError | None":
        try:
            found = lock.completed_by(resolve.resolve(cell, host, known, asked), known_locks)
            say(_write_lock(project, lockfile.sound(found, cell), cell))
            for bound in facts.bounds(cell.torch):
                say(f"  {bound}")
        except TorchdevError as error:
            if len(cells) > 1:
                say(f"error: {error}")
            return error
        return None

    refusals = zip(cells, process.at_once(2, one, cells, all_of_them=True), strict=True)
    failed = {cell: error for cell, error in refusals if error}
    _refuse(failed, len(cells))
    say(f"next: {render.RENDER}")


def _refuse(failed: "dict[Cell, TorchdevError]", cells: int) -> None:
    """Raise the error of the only cell that was asked for, or one that names those of several that have failed."""
    if failed and cells == 1:
        raise next(iter(failed.values()))
    if failed:
        names = " ".join(cell.id for cell in failed)
        what = f"{len(failed)} of {cells} cells could not be locked, for what is said above"
        raise BuildError(f"{what}: {names}", next_step=build_py("lock", *(cell.id for cell in failed)))


def _write_lock(project: Project, found: lock.Lock, cell: Cell) -> str:
    """Write a lock; a line that says what is in it.

    Another run may have written one since this run began: what that one knows of the same wheels is kept.
    """
    path = project.images / cell.id / "lock.json"
    with files.alone(project.images):
        found = lock.completed_by(found, _there(project, (cell,)))
        text = lock.to_text(found)
        changed = not path.is_file() or path.is_symlink() or path.read_bytes() != text.encode()
        if changed:
            files.write(path, text)
    size = sum(package.size or 0 for package in found.packages) / 1e9
    unresolved = f", {len(found.unresolved)} of them unresolved" if found.unresolved else ""
    return f"{found.cell}: {len(found.packages)} wheels{unresolved}, {size:.1f} GB{'' if changed else ', unchanged'}"


def _there(project: Project, cells: "tuple[Cell, ...]") -> "list[lock.Lock]":
    """The locks of some cells, as far as they can be read."""
    found = []
    for cell in cells:
        with contextlib.suppress(InputError):
            found.append(lockfile.read_lock(project.images / cell.id / "lock.json", cell))
    return found


def lock_bases(project: Project, say: Say) -> None:
    """Ask the registry for the digests of the official bases and write them to images/bases.json."""
    trees.refuse_links(render.tree({}, project.images), ["bases.json"], build_py("lock", "--bases"))
    engine = Engine()
    names = {base.name for cell in project.matrix.cells for base in bases.bases_of(cell.python, {})}
    found = {name: engine.registry_digest(name) for name in sorted(names)}
    known = {name: digest for name, digest in found.items() if digest and texts.DIGEST.matches(digest)}
    if known:
        bases.write_digests(project.places.bases, project.images / "bases.json", known)
    for name, digest in found.items():
        left = f"{texts.quoted(digest)} is no digest" if digest else "no registry answers"
        say(f"{name}: {known.get(name) or f'{left}; left as it was'}")
    say(f"next: {render.RENDER}")


def bootstrap_bases(project: Project, cells: "tuple[Cell, ...]", given: "list[str]", say: Say) -> None:
    """Make stand-ins for the bases of the named cells, or of all, whether a registry answers or not.

    `given` names Pythons that are installed here, as SERIES=FOLDER, of which to make those series.
    """
    wanted = project.bases(cells)
    prefixes = {series: prefix.read_prefix(series, folder) for series, folder in prefix.parse(given).items()}
    for series in prefixes.keys() - {base.series for base in wanted}:
        what = f"none of the named cells has Python {series}"
        raise InputError(what, where=prefix.OPTION, next_step=build_py("list"))
    engine = Engine()
    for error in make_bases(engine, read_host(), wanted, project.places, meeting_of(engine), say, prefixes).values():
        raise error


def build_cells(project: Project, cells: "tuple[Cell, ...]", options: Options, say: Say) -> "list[Result]":
    """Build, check and tag cells; one that fails does not stop the others."""
    locked, unlocked = project.by_lock(cells)
    if not locked:
        return [_without_lock(cell) for cell in unlocked]
    render.check([project.image_tree()])
    plans = project.plans(locked)
    refusal = capacity.refusal(_look(project.places, plans, Engine(), (), options.room), prune=options.prune)
    if refusal:
        raise refusal
    with display.shown(say, verbose=options.verbose) as view:
        site = open_site(project.places, plans, options, view.say, report=view.note)
        return [*batches.run(site, plans), *map(_without_lock, unlocked)]


def _without_lock(cell: Cell) -> Result:
    return Result(cell.id, State.FAILED, error=str(without_lock((cell,))), code=Exit.INPUT)


def test_cells(project: Project, cells: "tuple[Cell, ...]", gpu: str, say: Say, *, controls: bool) -> "list[Result]":
    """Check images that were built and tagged before; `controls`: even those controls of which a pass is remembered."""
    engine = Engine()
    results = []
    for plan in project.plans(cells):
        began = time.perf_counter()
        image = engine.image(plan.tags[0])
        if not image:
            what = f"the engine has no image {plan.tags[0]}"
            raise InputError(what, where=plan.cell.id, next_step=build_py("build", plan.cell.id))
        with alone(meeting_of(engine), plan.candidate, lambda: say("another run is at this cell; waiting")):
            verdicts = memory.checked(project.places, plan, image.id, gpu, controls=controls)
        say(f"{plan.cell.id}\n{verdicts_text(verdicts)}")
        failed = any(verdict.outcome is Outcome.FAIL for verdict in verdicts)
        state, code = (State.FAILED, Exit.CHECK) if failed else (State.CHECKED, Exit.OK)
        seconds = time.perf_counter() - began
        results.append(
            Result(plan.cell.id, state, image, plan.tags, verdicts, headline(verdicts) if failed else "", code, seconds)
        )
    return results


def write_junit(file: Path, results: "list[Result]") -> None:
    """Write the verdicts of a run as JUnit's XML, into a folder that need not be there yet."""
    files.write(file, results_junit(results))


def look_ahead(project: Project, cells: "tuple[Cell, ...]", room: "int | None") -> Outlook:
    """What building these cells takes, and whether the engine's disk has room for it, or `room` bytes of it.

    Locks tell it: nothing is fetched, and an engine is asked only for what it has. Cells without lock are not in it;
    if none has one, that is an InputError.
    """
    project.require_locks(cells)
    plans = project.plans(project.by_lock(cells)[0])
    host, wheels = read_host(), {package for plan in plans for package in plan.lock.packages}
    names = {path.name for project in {wheel.name for wheel in wheels} for path in local_wheels(host, project)}
    local = {wheel.sha256 for wheel in wheels if wheel.sha256 and wheel.file in names}
    try:
        engine: Engine | None = Engine()
    except EngineError:
        engine = None
    return _look(project.places, plans, engine, local, room)


def _look(
    places: Places,
    plans: "tuple[Plan, ...]",
    engine: "Engine | None",
    local: "Collection[str]",
    room: "int | None",
) -> Outlook:
    """The outlook for an engine's disk; its build cache is asked for only where room is short: that takes time."""
    present: set[str] = set()
    if engine:
        wanted = bake.possible_inputs(engine, places, plans)
        present = bake.present(engine.names(), plans, wanted)
    left = Disk(engine.disk() if engine else None, room).left()
    found = capacity.look(plans, local, present, left)
    if engine and left is not None and found.needed > left:
        cache = sum(record.size for record in buildx.records() if not record.shared)
        found = dataclasses.replace(found, cache=cache)
    return found


def push_cells(project: Project, cells: "tuple[Cell, ...]", target: str, say: Say) -> None:
    """Push the tags of cells to a repository; only images that are current and whose checks have passed."""
    plans = project.plans(cells)
    site = open_site(project.places, plans, Options(), say, make=False)
    code = memory.code(project.places.checkout)
    checked = [(plan, _checked(site, plan, code)) for plan in plans]
    for plan, image in checked:
        push(site, plan, image, target, keep=True)


def _checked(site: Site, plan: Plan, code: str) -> str:
    """The id of a cell's image that is current and whose checks have passed; InputError if there is none."""
    name, image = run.built(site, plan) or ("", None)
    if name != plan.tags[0] or not image or not memory.recall_any(site.places, plan, image.id, code):
        what = "it has not been built from what is in this checkout, or its checks have not passed"
        raise InputError(what, where=plan.cell.id, next_step=build_py("build", plan.cell.id))
    return image.id


def stored(results: "list[Result]") -> "Storage | None":
    """What the images of some results take up on the engine; None if there is none."""
    images = [result.image for result in results if result.image and not result.removed]
    engine = Engine() if images else None
    return storage(engine.layer_sizes(image) for image in images) if engine else None
