"""The command lock: resolves cells and writes their locks, or reads the digests of base images."""

import contextlib
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from torchdev.catalog import bases, facts
from torchdev.cli.chosen import opened
from torchdev.docgen.project import Project
from torchdev.engine.client import Engine
from torchdev.image import render
from torchdev.image.paths import BASES, LOCK
from torchdev.matrix.load import Cell
from torchdev.util import files, process, texts, trees
from torchdev.util.commands import build_py
from torchdev.util.errors import BuildError, InputError, TorchdevError
from torchdev.util.streams import say
from torchdev.wheels import lock, lockfile, pytorch, resolve
from torchdev.wheels.host import read_host

Say = Callable[[str], None]


def run(options: Namespace, root: Path) -> int:
    """Lock the named cells, or the bases."""
    project, chosen = opened(options, root)
    if options.bases:
        lock_bases(project, say)
    else:
        lock_cells(project, chosen, say)
    return 0


def lock_cells(project: Project, cells: "tuple[Cell, ...]", say: Say) -> None:
    """Resolve the named cells, or all, and write their locks; known sizes of wheels are kept.

    A cell that can't be resolved does not stop the others; a BuildError at the end names all of these. After an
    interrupt, the locks written so far stay.
    """
    command = build_py("lock", *(cell.id for cell in cells if cells != project.matrix.cells))
    trees.refuse_links(render.tree({}, project.images), [f"{cell.id}/{LOCK}" for cell in cells], command)
    for cell in cells:
        files.check_output(project.paths.lock(cell.id), "move it out of the way")
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
    say(f"next: {trees.RENDER}")


def complete_locks(project: Project, cells: "tuple[Cell, ...]", say: Say) -> "dict[str, TorchdevError]":
    """Complete the locks that lack hashes, and render their cells again; returns the errors, by cell id."""
    lacking = tuple(plan.cell for plan in project.plans(cells) if plan.lock.unresolved)
    if not lacking:
        return {}
    host, asked = read_host(), pytorch.Asked(say)

    def one(cell: Cell) -> "TorchdevError | None":
        try:
            before = project.lock(cell)
            known = resolve.complete(before, cell, host, asked)
            lockfile.complete(project.paths.lock(cell.id), before, known, cell)
        except TorchdevError as error:
            return error
        return None

    found = dict(zip(lacking, process.at_once(2, one, lacking, all_of_them=True), strict=True))
    for plan in project.plans(tuple(cell for cell, error in found.items() if not error)):
        render.write_cell(plan, project.paths.templates, project.images)
        say(f"{plan.cell.id}: its lock is complete now; commit {project.images.name}/")
    return {cell.id: error for cell, error in found.items() if error}


def _write_lock(project: Project, found: lock.Lock, cell: Cell) -> str:
    """Write a lock; returns a line that describes it.

    Hashes of the same wheels that another run has written since this run began are kept.
    """
    path = project.paths.lock(cell.id)
    with files.locked(project.images):
        found = lock.completed_by(found, _there(project, (cell,)))
        text = lock.to_text(found)
        changed = not path.is_file() or path.is_symlink() or path.read_bytes() != text.encode()
        if changed:
            files.write(path, text)
    size = sum(package.size or 0 for package in found.packages) / 1e9
    unresolved = f", {len(found.unresolved)} of them unresolved" if found.unresolved else ""
    return f"{found.cell}: {len(found.packages)} wheels{unresolved}, {size:.1f} GB{'' if changed else ', unchanged'}"


def _refuse(failed: "dict[Cell, TorchdevError]", cells: int) -> None:
    """Raise the error of the only cell that was named, or one error that names all failed cells."""
    if failed and cells == 1:
        raise next(iter(failed.values()))
    if failed:
        names = " ".join(cell.id for cell in failed)
        what = f"{len(failed)} of {cells} cells could not be locked; the reasons are above"
        raise BuildError(f"{what}: {names}", next_step=build_py("lock", *(cell.id for cell in failed)))


def _there(project: Project, cells: "tuple[Cell, ...]") -> "list[lock.Lock]":
    """The locks of some cells, as far as they can be read."""
    found = []
    for cell in cells:
        with contextlib.suppress(InputError):
            found.append(lockfile.read_lock(project.paths.lock(cell.id), cell))
    return found


def lock_bases(project: Project, say: Say) -> None:
    """Ask the registry for the digests of the official bases and write them to images/bases.json."""
    trees.refuse_links(render.tree({}, project.images), [BASES], build_py("lock", "--bases"))
    engine = Engine()
    names = {base.name for cell in project.matrix.cells for base in bases.bases_of(cell.python, {})}
    found = {name: engine.registry_digest(name) for name in sorted(names)}
    known = {name: digest for name, digest in found.items() if digest and texts.DIGEST.matches(digest)}
    if known:
        bases.write_digests(project.paths.bases, project.paths.own_bases, known)
    for name, digest in found.items():
        left = f"{texts.quoted(digest)} is no digest" if digest else "no registry answers"
        say(f"{name}: {known.get(name) or f'{left}; left as it was'}")
    say(f"next: {trees.RENDER}")
