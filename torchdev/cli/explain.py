"""The command explain: whether a combination can exist; if not, why, and the nearest that exist."""

from argparse import Namespace
from pathlib import Path

from torchdev.catalog import explain, ids
from torchdev.catalog.axes import AXES
from torchdev.matrix import load
from torchdev.util.errors import Exit
from torchdev.util.streams import show


def run(options: Namespace, root: Path) -> int:
    """Print an explanation; the exit code says yes or no."""
    if options.cell and not ids.query(options.cell):
        aliases = load.load(options.matrix_file).aliases
        options.cell = aliases[options.cell].id if options.cell in aliases else options.cell
    constraints = {axis: getattr(options, axis) for axis in AXES if getattr(options, axis)}
    said = explain.answer(options.cell, constraints)
    show(explain.as_json(said) if options.json else explain.as_text(said))
    return int(Exit.OK if said.possible else Exit.NO)
