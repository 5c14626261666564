"""What was measured, as Markdown that reads well on a terminal too. Pure."""

from collections.abc import Iterable, Sequence

from bench.figures import figures, shown
from bench.results import Results

GB = 1e9
ROWS = (
    ("cold", "seconds", "cold: wall time", "s"),
    ("cold", "others", "cold: processor time of other programs", "s"),
    ("cold", "memory", "cold: peak memory", "MB"),
    ("cold", "fetched", "cold: bytes fetched", "GB"),
    ("stored", "bytes", "unique bytes stored", "GB"),
    ("predicted", "bytes", "predicted: bytes stored", "GB"),
    ("predicted", "fetched", "predicted: bytes to fetch", "GB"),
    ("nothing", "seconds", "nothing changed: wall time", "s"),
    ("nothing", "fetched", "nothing changed: bytes fetched", "MB"),
    ("small", "seconds", "one small package: wall time", "s"),
    ("small", "lock seconds", "one small package: lock and render, before", "s"),
    ("small", "fetched", "one small package: bytes fetched", "MB"),
    ("small", "rewritten", "one small package: bytes rewritten", "GB"),
    ("debian", "seconds", "Debian layer: wall time", "s"),
    ("debian", "fetched", "Debian layer: bytes fetched", "MB"),
    ("debian", "rewritten", "Debian layer: bytes rewritten", "GB"),
    ("import", "cold seconds", "import torch, empty page cache", "s"),
    ("import", "warm seconds", "import torch, warm page cache", "s"),
    ("push", "seconds", "push: wall time", "s"),
    ("push", "bytes", "push: bytes", "GB"),
    ("pull first", "seconds", "pull of a first cell: wall time", "s"),
    ("pull first", "bytes", "pull of a first cell: bytes", "GB"),
    ("pull second", "seconds", "pull of a second of its set: wall time", "s"),
    ("pull second", "bytes", "pull of a second of its set: bytes", "GB"),
)
"""Measure, quantity, title and unit, in the order of the table."""


def as_text(results: Results) -> str:
    """Where it was measured, the figures to reach, all values, what was not measured."""
    parts = [_about(results), _figures(results), _values(results), _images(results), _missing(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(results: Results) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in results.about.items())


def _figures(results: Results) -> str:
    rows = [("figure", "at most", "measured", "")]
    for figure in figures(results):
        value = "-" if figure.value is None else shown(figure.value, figure.unit)
        rows.append((figure.text, shown(figure.limit, figure.unit), value, figure.verdict))
    return table(rows)


def _values(results: Results) -> str:
    who = _contenders(results)
    rows = [("", "cells", *who)]
    for measure, quantity, title, unit in ROWS:
        for cells in sorted({n for m, q, _, n in results.values if (m, q) == (measure, quantity)}):
            found = [results.values.get((measure, quantity, name, cells), []) for name in who]
            rows.append((title, str(cells), *(_cell(values, unit) for values in found)))
    return table(rows) if len(rows) > 1 else ""


def _contenders(results: Results) -> "list[str]":
    order = ("naive", "uv", "torchdev", "floor", "torchdev without bytecode")
    there = {who for _, _, who, _ in results.values}
    return [who for who in order if who in there]


def _cell(values: "Sequence[float]", unit: str) -> str:
    """A quantity's median, with the range of its repetitions."""
    if not values:
        return ""
    ordered = sorted(values)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    text = _amount(middle, unit)
    if len(values) > 1 and _amount(ordered[0], unit) != _amount(ordered[-1], unit):
        text += f" ({_amount(ordered[0], unit)} to {_amount(ordered[-1], unit)})"
    return f"{text} {unit}"


def _amount(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    return f"{value / GB:.2f}" if unit == "GB" else f"{value / 1e6:.0f}"


def _images(results: Results) -> str:
    who = [name for name in ("naive", "uv", "torchdev") if any(name in sizes for sizes in results.images.values())]
    rows = [("image", *who)]
    for cell, sizes in results.images.items():
        rows.append((cell, *(f"{sizes[name] / GB:.2f} GB" if name in sizes else "" for name in who)))
    return table(rows) if len(rows) > 1 else ""


def _missing(results: Results) -> str:
    lines = [f"- not measured: {name}: {' '.join(why.split())}" for name, why in results.missing.items()]
    return "\n".join([*lines, *(f"- {note}" for note in results.notes)])


def table(rows: "Iterable[Sequence[str]]") -> str:
    """Rows, the first of them the head, as a Markdown table whose columns are as wide as what is in them."""
    rows = [tuple(row) for row in rows]
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "| " + " | ".join("-" * width for width in widths) + " |", *lines[1:]])
