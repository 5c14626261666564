"""Shared by several commands: the project and cells that options name, and the options of the builder."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from torchdev.docgen.project import Project, open_project
from torchdev.matrix.load import Cell
from torchdev.util.errors import InputError


def opened(options: Namespace, root: Path) -> "tuple[Project, tuple[Cell, ...]]":
    """The project, and the cells that the command line names; all cells if it names none."""
    project = open_project(root, options.matrix_file)
    groups = [*options.group, "default"] if getattr(options, "matrix", False) else options.group
    return project, project.matrix.select([*options.cells, *options.select], groups)


def of_builder(options: Namespace) -> "dict[str, Any]":
    """The command line's options for the builder and its cache."""
    return {
        "builder": options.builder or "",
        "cache_from": tuple(options.cache_from),
        "cache_to": options.cache_to or "",
    }


def one(cells: "tuple[Cell, ...]") -> Cell:
    """The single cell that is expected; InputError if there are more."""
    if len(cells) == 1:
        return cells[0]
    raise InputError(f"one cell is wanted, not {len(cells)}", next_step=f"name one: {cells[0].id}")
