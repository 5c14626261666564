"""The bench's command line: its options and what they ask for."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.results import CONTENDERS
from bench.session import MEASURES, Selection
from torchdev.util.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
DEFAULT = ("py311-cu130-torch2.14.1", "py313-cu130-torch2.14.1", "py311-cu132-torch2.15.0", "py313-cu132-torch2.15.0")
"""Two Pythons in two CUDA sets."""
PREDICTED, FIFTY = "predicted", "fifty"
ALL = (*MEASURES, PREDICTED)
ABOUT = """\
Measures torchdev against builds by hand, an earlier commit and the floor, on engines of its own; or prints what was
measured."""


def parser() -> argparse.ArgumentParser:
    """The options."""
    found = argparse.ArgumentParser(
        prog="python -m bench", description=ABOUT, epilog="docs/bench.md says what each figure means"
    )
    add = found.add_argument
    add("--table", type=Path, metavar="FILE", help="measure nothing: print the table of what FILE says was measured")
    add("--page", type=Path, metavar="PAGE", help="with --table: write it into a page, between its marks")
    add("--only", default=",".join(ALL), metavar="A,B", help=f"measure only these, of: {', '.join(ALL)}")
    add("--cells", default="1,4", metavar="N,M", help="with so many cells; default: 1,4")
    add("--cell", action="append", metavar="CELL", help=f"a cell, instead of {', '.join(DEFAULT)}; may be repeated")
    add("--contenders", default=",".join(CONTENDERS), metavar="A,B", help="compare only these")
    add("--repeat", type=int, default=1, metavar="N", help="build cold N times, in alternating order; default: once")
    add("--json", type=Path, default=ROOT / ".torchdev" / "bench.json", metavar="FILE", help="where results go")
    add("--work", type=Path, default=Path("/var/tmp"), metavar="FOLDER", help="where images and engines are kept")
    add("--matrix-file", type=Path, default=ROOT / "matrix.yaml", metavar="FILE", help="where the cells are")
    add("--local-wheels", action="store_true", help="let all take wheels from this machine's own folders, too")
    return found


def selected(options: argparse.Namespace) -> Selection:
    """What the options ask for; InputError where they name something that is not there."""
    measures, who = words_of(options.only, ALL, "--only"), words_of(options.contenders, CONTENDERS, "--contenders")
    try:
        counts = tuple(sorted({int(count) for count in options.cells.split(",")}))
    except ValueError:
        counts = (0,)
    most = len(options.cell or DEFAULT)
    if counts[0] < 1 or counts[-1] > most or options.repeat < 1:
        what = f"numbers from 1 to {most}, the cells that are named, and --repeat from 1"
        raise InputError(what, where="--cells", next_step="python -m bench --cells 1,4")
    return Selection(frozenset(measures), counts, options.repeat, tuple(c for c in CONTENDERS if c in who))


def words_of(text: str, known: "Sequence[str]", option: str) -> "list[str]":
    """The words of an option that takes several."""
    found = text.split(",")
    if unknown := [word for word in found if word not in known]:
        what = f"{', '.join(unknown)}: not one of {', '.join(known)}"
        raise InputError(what, where=option, next_step="python -m bench --help")
    return found
