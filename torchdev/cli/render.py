"""The command render: every generated file written or compared, and what it leaves alone named."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from torchdev.docgen.project import Project, open_project, without_lock
from torchdev.matrix.load import Cell
from torchdev.util import trees
from torchdev.util.streams import say
from torchdev.util.trees import Changes, Tree

Say = Callable[[str], None]


def run(options: Namespace, root: Path) -> int:
    """Render the matrix, or compare."""
    render_images(open_project(root, options.matrix_file), check=options.check, say=say)
    return 0


def render_images(project: Project, *, check: bool, say: Say) -> None:
    """Write every generated file, or with `check` fail if any is not as it would be written.

    Cells without lock are rendered by none; they are named in an InputError, unless the matrix says why, once all else
    is done.
    """
    cells = project.matrix.cells
    project.require_locks(cells)
    if check:
        told = trees.check(project.trees())
        say(f"{project.images.name}/ is up to date ({len(project.by_lock(cells)[0])} cells)")
    else:
        done = trees.write(project.trees())
        lines = [line for tree, changes in done for line in _changed(tree, changes)]
        say("\n".join([*lines, f"{len(lines)} files changed"]))
        trees.refuse_strays(done)
        told = done
    for line in [line for tree, changes in told for line in _left(tree, changes)] + project.abandoned():
        say(line)
    name_unlocked(project, cells, say)


def _changed(tree: Tree, changes: Changes) -> "list[str]":
    return [
        *(tree.shown(name) + _note(name, changes) for name in changes.write),
        *(f"{tree.shown(name)}: removed" for name in changes.remove),
    ]


def _note(name: str, changes: Changes) -> str:
    """What else there is to say of a file that was written."""
    edited = ": had been edited by hand, and is written again" if name in changes.edited else ""
    copy = changes.kept.get(name)
    return edited + (f"; the old content is kept: {copy}" if copy else "")


def _left(tree: Tree, changes: Changes) -> "list[str]":
    return [f"{tree.shown(name)}: left, though it is no longer generated: {why}" for name, why in changes.left.items()]


def name_unlocked(project: Project, cells: "tuple[Cell, ...]", say: Say) -> None:
    """Name those of some cells that have no lock: in an InputError, or in a line where the matrix says why."""
    unlocked = project.by_lock(cells)[1]
    for cell in unlocked:
        if cell.unlocked:
            say(f"{cell.id} has no lock, and is left out: {cell.unlocked}")
    missing = tuple(cell for cell in unlocked if not cell.unlocked)
    if missing:
        raise without_lock(missing)
