"""The state of a run, computed from events, and as lines of text. Pure; events carry their time, in seconds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from torchdev.engine.buildlog import STEP, moved, step_name
from torchdev.util import tables
from torchdev.util.amounts import clock, rate, size

WAITING, PREPARING, BUILDING, CHECKING, PUSHING = "waiting", "shared layers", "building", "checking", "pushing"
"""The phases of a cell."""
PACE_AFTER = 3.0
"""Seconds of work after which a rate is meaningful."""


@dataclass(frozen=True)
class Part:
    """A layer of a cell: `key` names it and all layers below, so that equal ones count once; its size is in bytes."""

    key: str
    name: str
    size: int


@dataclass(frozen=True)
class Began:
    """A run begins: each cell's layers, lowest first, by id. `there` are keys of layers that need no building."""

    cells: "Mapping[str, tuple[Part, ...]]"
    there: "frozenset[str]" = frozenset()


@dataclass(frozen=True)
class Phase:
    """A cell enters a phase; `texts` are the names of its build's steps in the log, to the names of layers.

    A cell that has ended can only be pushed.
    """

    cell: str
    phase: str
    texts: "Mapping[str, str]" = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """A line of BuildKit's log, as `--progress=plain` prints it."""

    cell: str
    text: str


@dataclass(frozen=True)
class Ended:
    """A cell has ended; `state` is a word for its result."""

    cell: str
    state: str


Event = Began | Phase | Line | Ended


@dataclass(frozen=True)
class Step:
    """A running step of BuildKit: its short name, when it began, and the bytes it reports."""

    name: str
    since: float
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell: its phase and since when, the running steps of its build, by number, and those that are known."""

    phase: str = WAITING
    since: float = 0.0
    steps: "Mapping[str, Step]" = field(default_factory=dict)
    names: "Mapping[str, str]" = field(default_factory=dict)
    texts: "Mapping[str, str]" = field(default_factory=dict)
    ended: str = ""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A run: its cells, their layers, and the keys of the layers that are made. `worked` are seconds of building."""

    began: float = 0.0
    parts: "Mapping[str, tuple[Part, ...]]" = field(default_factory=dict)
    cells: "Mapping[str, Cell]" = field(default_factory=dict)
    there: "frozenset[str]" = frozenset()
    made: "Mapping[str, int]" = field(default_factory=dict)


def advance(progress: Progress, event: Event, at: float) -> Progress:
    """The state after an event."""
    if isinstance(event, Began):
        cells = {cell: Cell(since=at) for cell in event.cells}
        return Progress(began=at, parts=dict(event.cells), cells=cells, there=event.there)
    cell = progress.cells.get(event.cell)
    if cell is None or (cell.ended and not (isinstance(event, Phase) and event.phase == PUSHING)):
        return progress
    if isinstance(event, Phase):
        begun = Cell(phase=event.phase, since=at, texts=event.texts)
        return _with(progress, event.cell, begun)
    if isinstance(event, Ended):
        return _with(progress, event.cell, replace(cell, ended=event.state, since=at, steps={}, names={}))
    return _read(progress, event.cell, cell, event.text.rstrip("\n"), at)


def _with(progress: Progress, name: str, cell: Cell) -> Progress:
    return replace(progress, cells={**progress.cells, name: cell})


def _read(progress: Progress, name: str, cell: Cell, line: str, at: float) -> Progress:
    """Handle a line of BuildKit's log: a step begins, moves bytes, or ends."""
    found = STEP.fullmatch(line)
    if not found:
        return progress
    number, text = found.groups()
    known = cell.names.get(number)
    if known is None:
        known = step_name(cell.texts, text)
        cell = replace(cell, names={**cell.names, number: known})
        steps = {**cell.steps, number: Step(known, at)} if known else cell.steps
        return _with(progress, name, replace(cell, steps=steps))
    if text.startswith(("DONE ", "CACHED", "ERROR: ", "CANCELED")):
        steps = {key: step for key, step in cell.steps.items() if key != number}
        done = _with(progress, name, replace(cell, steps=steps))
        return done if text.startswith(("ERROR", "CANCELED")) else _made(done, name, known, cached="CACHED" in text)
    detail = moved(text)
    if detail and number in cell.steps:
        step = replace(cell.steps[number], detail=detail)
        return _with(progress, name, replace(cell, steps={**cell.steps, number: step}))
    return progress


def _made(progress: Progress, name: str, layer: str, *, cached: bool) -> Progress:
    """Note a finished step; if it made a layer, the layer's bytes count, unless it was there."""
    part = next((part for part in progress.parts.get(name, ()) if part.name == layer), None)
    if not part or part.key in progress.made or part.key in progress.there:
        return progress
    return replace(progress, made={**progress.made, part.key: 0 if cached else part.size})


def still(progress: Progress) -> int:
    """Bytes of layers that are still to be made, for the cells that have not ended; each layer once."""
    parts = {
        part.key: part.size
        for name, cell in progress.cells.items()
        for part in progress.parts[name]
        if not cell.ended and cell.phase not in (CHECKING, PUSHING)
    }
    return sum(n for key, n in parts.items() if key not in progress.made and key not in progress.there)


def time_left(progress: Progress, now: float) -> "float | None":
    """Seconds that the remaining layers will take, at the rate of the finished ones; None while that is not known."""
    done, spent, left = sum(progress.made.values()), now - progress.began, still(progress)
    if not left or not done or spent < PACE_AFTER:
        return None
    return left * spent / done


def lines(progress: Progress, now: float, height: int) -> "list[str]":
    """The state for a terminal: a headline, and a line for each active cell, at most `height` of them."""
    ended = [cell for cell in progress.cells.values() if cell.ended]
    at = {name: cell for name, cell in progress.cells.items() if not cell.ended and cell.phase != WAITING}
    waiting = len(progress.cells) - len(ended) - len(at)
    rows = [_headline(progress, now, len(ended), waiting)]
    activities = [(name, _activity(cell, progress.parts[name], progress, now)) for name, cell in at.items()]
    rows += tables.text(activities).splitlines()
    return rows if len(rows) <= height else [*rows[: height - 1], f"and {len(rows) - height + 1} more"]


def _headline(progress: Progress, now: float, ended: int, waiting: int) -> str:
    done, left = sum(progress.made.values()), still(progress)
    spent = now - progress.began
    words = [f"{ended} of {len(progress.cells)} cells"]
    if done or left:
        words.append(f"layers {size(done)} of {size(done + left)}")
    if done and spent >= PACE_AFTER:
        words.append(f"{size(done / spent)}/s")
    words.append(f"{clock(spent)} so far")
    remaining = time_left(progress, now)
    if remaining is not None:
        words.append(f"about {clock(remaining)} of building left")
    return ", ".join([*words, *([f"{waiting} waiting"] if waiting else [])])


def _activity(cell: Cell, parts: "tuple[Part, ...]", progress: Progress, now: float) -> str:
    """A cell's line: its phase, the number of its layer, other running steps, and for how long."""
    text = f"{cell.phase} {clock(now - cell.since)}"
    if cell.phase not in (BUILDING, PREPARING):
        return text
    count = sum(part.key in progress.made or part.key in progress.there for part in parts)
    steps = [
        f"{step.name} {clock(now - step.since)}{f' ({step.detail})' if step.detail else ''}"
        for step in cell.steps.values()
    ]
    return f"{text}, {count} of {len(parts)} layers" + (f": {', '.join(steps)}" if steps else "")


def told(before: Progress, event: Event, at: float) -> "list[str]":
    """The lines about an event where nothing is drawn: each layer that was made, how long it took, how fast."""
    if not isinstance(event, Line):
        return []
    after = advance(before, event, at)
    new = after.made.keys() - before.made.keys()
    number = event.text.partition(" ")[0].removeprefix("#")
    cell = before.cells.get(event.cell)
    step = cell.steps.get(number) if cell else None
    if not new or not step or not after.made[next(iter(new))]:
        return []
    amount, seconds = after.made[next(iter(new))], at - step.since
    return [f"{event.cell}: {step.name} made in {clock(seconds)}, {size(amount)}{rate(amount, seconds)}"]


def live(terminal: bool, environment: "Mapping[str, str]", words: "Iterable[str]" = ("CI", "NO_COLOR")) -> bool:
    """Whether to draw: on a terminal that can, unless the environment asks for plain text."""
    plain = any(environment.get(word) for word in words) or environment.get("TERM", "dumb") == "dumb"
    return terminal and not plain
