"""The command list: cells, groups of them for CI, or all combinations that exist; for a terminal or as JSON."""

from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torchdev.catalog import grid
from torchdev.catalog.ids import AMD64
from torchdev.cli.chosen import opened
from torchdev.matrix.load import Cell, Matrix
from torchdev.util import tables
from torchdev.util.streams import show
from torchdev.util.texts import json_text


def run(options: Namespace, root: Path) -> int:
    """Print the list that is asked for."""
    project, chosen = opened(options, root)
    if options.grid:
        show(grid.as_json() if options.json else grid.as_text())
    elif options.shard_by:
        show(shards_json(chosen) if options.json else shards_text(chosen))
    else:
        show((cells_json if options.json else cells_text)(project.matrix, chosen))
    return 0


def cells_text(matrix: Matrix, cells: "Iterable[Cell]") -> str:
    """The cells, one a line, with their shorter tags."""
    rows = [("CELL", "PYTHON", "CUDA", "PYTORCH", "TAGS", "")]
    for cell in cells:
        note = f"legacy: {cell.legacy}" if cell.legacy else ""
        rows.append((cell.id, cell.python, cell.cuda or "none", cell.torch, " ".join(matrix.aliases_of(cell)), note))
    return tables.text(rows)


def cells_json(matrix: Matrix, cells: "Iterable[Cell]") -> str:
    """The cells for a program: a JSON list."""
    entries: list[dict[str, Any]] = [
        {
            "id": cell.id,
            "python": cell.python,
            "flavour": cell.flavour,
            "cuda": cell.cuda,
            "torch": cell.torch,
            "cudnn": cell.cudnn,
            "variant": cell.variant,
            "arch": cell.arch,
            "legacy": cell.legacy,
            "aliases": list(matrix.aliases_of(cell)),
            "requirements": list(cell.requirements),
        }
        for cell in cells
    ]
    return json_text(entries)


def shards(cells: "Iterable[Cell]") -> dict[str, list[str]]:
    """CUDA variant and architecture to the ids of their cells, which share most and are best built on one machine."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        name = cell.flavour if cell.arch == AMD64 else f"{cell.flavour}-{cell.arch}"
        found.setdefault(name, []).append(cell.id)
    return found


def shards_json(cells: "Iterable[Cell]") -> str:
    """Shards as JSON: a list that a CI system's matrix accepts; `cells` is separated by spaces."""
    return json_text([{"shard": name, "cells": " ".join(ids)} for name, ids in shards(cells).items()], indent=None)


def shards_text(cells: "Iterable[Cell]") -> str:
    """A shard a line, with its cells."""
    return tables.text([("SHARD", "CELLS"), *((name, " ".join(ids)) for name, ids in shards(cells).items())])
