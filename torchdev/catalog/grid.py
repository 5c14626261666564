"""The grid: Python by CUDA, with the PyTorch releases of each pair, or the reason why there is none."""

from collections.abc import Sequence
from dataclasses import dataclass

from torchdev.catalog import facts, releases
from torchdev.catalog.builds import Source
from torchdev.catalog.releases import cuda_of, flavour_order
from torchdev.catalog.versions import minor, order, python_order
from torchdev.util import tables
from torchdev.util.texts import json_text

LEGEND = (
    "Each box: the PyTorch releases that have wheels for the pair (Linux, amd64), by minor version. "
    "Elsewhere the reason: `to 2.8` - the last PyTorch for that Python is 2.8, before the first for that CUDA; "
    "`from 2.9` - the first PyTorch for that Python is 2.9, after the last for that CUDA; "
    "`never both` - no release had both."
)


@dataclass(frozen=True)
class Box:
    """PyTorch releases of a pair, oldest first; without any, the reason."""

    torch: tuple[str, ...]
    reason: str = ""

    @property
    def text(self) -> str:
        """The releases by minor version, consecutive ones as a range; or the reason, in parentheses."""
        return spans(self.torch) if self.torch else f"({self.reason})"


@dataclass(frozen=True)
class Grid:
    """Boxes by (Python, CUDA variant) for an architecture."""

    pythons: tuple[str, ...]
    flavours: tuple[str, ...]
    boxes: "dict[tuple[str, str], Box]"


def make(pythons: "Sequence[str] | None" = None, flavours: "Sequence[str] | None" = None, arch: str = "amd64") -> Grid:
    """The grid of all that exists, or of some Pythons and CUDA variants."""
    everything = [c for c in releases.all_combinations() if c.arch == arch]
    rows = pythons or sorted({c.python for c in everything}, key=python_order)
    columns = flavours or sorted({c.flavour for c in everything}, key=flavour_order)
    of_python = {p: [c.torch for c in everything if c.python == p] for p in rows}
    of_flavour = {f: [c.torch for c in everything if c.flavour == f] for f in columns}
    pairs: dict[tuple[str, str], list[str]] = {}
    for c in everything:
        pairs.setdefault((c.python, c.flavour), []).append(c.torch)
    boxes = {
        (p, f): Box(tuple(pairs[p, f])) if (p, f) in pairs else Box((), _reason(of_python[p], of_flavour[f]))
        for p in rows
        for f in columns
    }
    return Grid(tuple(rows), tuple(columns), boxes)


def _reason(of_python: "list[str]", of_flavour: "list[str]") -> str:
    """Why a Python and a CUDA variant have no release in common, from the releases of each."""
    if not of_python or not of_flavour:
        return "none"
    if order(of_python[-1]) < order(of_flavour[0]):
        return f"to {minor(of_python[-1])}"
    if order(of_python[0]) > order(of_flavour[-1]):
        return f"from {minor(of_python[0])}"
    return "never both"


def spans(torch: "Sequence[str]") -> str:
    """Releases by minor version, consecutive ones as a range: 2.8, 2.11-2.13."""
    every = list(dict.fromkeys(minor(version) for version in releases.known()))
    there = {minor(version) for version in torch}
    have = [name for name in every if name in there]
    runs: list[list[str]] = []
    for name in have:
        if runs and every.index(name) == every.index(runs[-1][-1]) + 1:
            runs[-1].append(name)
        else:
            runs.append([name])
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def table(grid: Grid) -> "list[list[str]]":
    """The grid as rows of text: a header, a row for each Python, and the oldest driver of each CUDA variant."""
    head = ["Python", *grid.flavours]
    rows = [[python, *(grid.boxes[python, f].text for f in grid.flavours)] for python in grid.pythons]
    drivers = ["driver", *(facts.driver_text(cuda_of(f)) for f in grid.flavours)]
    return [head, *rows, drivers]


def as_text(grid: "Grid | None" = None) -> str:
    """The grid for a terminal."""
    return "\n".join([tables.text(table(grid or make())), "", LEGEND.replace("`", "")])


def as_markdown(grid: Grid) -> str:
    """The grid for a page."""
    return tables.markdown(table(grid)) + "\n"


def as_json(grid: "Grid | None" = None) -> str:
    """The grid for a program: a list of boxes."""
    grid = grid or make()
    boxes = [
        {"python": python, "cuda": flavour, "torch": box.torch, "reason": box.reason}
        for (python, flavour), box in grid.boxes.items()
    ]
    return json_text(boxes, indent=1)


def sources() -> "list[Source]":
    """Where the grid's facts were read."""
    return sorted({s for c in releases.all_combinations() for s in c.sources}, key=lambda s: s.title)
