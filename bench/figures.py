"""What was measured against the figures to reach: ratios within one run. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import mean

from bench.results import EARLIER, Results

SEVERAL, EIGHT, FIFTY = 4, 8, 50
"""Numbers of cells that the figures speak of."""
BARE = "torchdev without bytecode"


@dataclass(frozen=True)
class Figure:
    """One figure to reach: at most `limit` in `unit`; `value` is None where what it needs was not measured."""

    text: str
    limit: float
    value: "float | None"
    unit: str = ""

    @property
    def reached(self) -> bool:
        """Whether it holds."""
        return self.value is not None and self.value <= self.limit

    @property
    def verdict(self) -> str:
        """In words; a figure that is missed says by how much."""
        if self.value is None:
            return "not measured"
        if self.reached:
            return "reached"
        return f"missed by {shown(self.value - self.limit, self.unit)} ({self.value / self.limit - 1:.0%})"


def shown(value: float, unit: str) -> str:
    """A value with its unit."""
    if unit == "GB":
        return f"{value / 1e9:.2f} GB"
    return f"{value:.1f} s" if unit == "s" else f"{value:.3f}"


def figures(results: Results) -> "list[Figure]":
    """All of them, those of the whole main job first; where two limits were asked for, the sharper one holds."""
    ratio = _ratios(results)
    found = [
        Figure(f"checks of one CUDA cell, alone, of {EARLIER}'s", 0.33, ratio("checks", "seconds", 1, other=EARLIER)),
        Figure("build, check and tag of 1 cell from bases on, of the naive pip build alone", 1.6, _job(results)),
        Figure("1 cell cold, of uv in a plain Dockerfile", 1.0, ratio("cold", "seconds", 1, other="uv")),
        Figure("1 cell cold, of naive", 0.5, ratio("cold", "seconds", 1)),
        Figure("4 cells cold, of naive", 0.33, ratio("cold", "seconds", SEVERAL)),
        Figure("4 cells cold, of the floor", 2.0, ratio("cold", "seconds", SEVERAL, other="floor")),
        Figure("4 cells cold, of the expert's bake", 0.9, ratio("cold", "seconds", SEVERAL, other="expert")),
        Figure("stored bytes of 4 cells, of naive", 0.55, ratio("stored", "bytes", SEVERAL)),
        Figure("stored bytes of 8 cells, predicted, of naive", 0.4, ratio("predicted", "bytes", EIGHT)),
        Figure("each image, of its naive twin (the largest ratio)", 0.9, _largest_image(results)),
        Figure(f"quickstart on a bare Debian, of {EARLIER}'s", 0.6, ratio("quickstart", "seconds", 1, other=EARLIER)),
        Figure("nothing changed, 50 cells", 2.0, results.get("nothing", "seconds", "torchdev", FIFTY), "s"),
        Figure("one small package, a cell", 20.0, _each(results, "small", "seconds"), "s"),
        Figure("a Debian update: bytes rewritten, a cell", 1.6e9, _each(results, "debian", "rewritten"), "GB"),
    ]
    for state in ("cold", "warm"):
        quantity = f"{state} seconds"
        found.append(Figure(f"import torch, {state} page cache, of naive", 1.0, ratio("import", quantity, 1)))
        bare = ratio("import", quantity, 1, other=BARE)
        found.append(Figure(f"import torch, {state} page cache, of an image without bytecode", 0.6, bare))
    return [
        *found,
        Figure("push of 4 cells: bytes, of naive", 0.65, ratio("push", "bytes", SEVERAL)),
        Figure("push of 4 cells: time, of naive", 0.4, ratio("push", "seconds", SEVERAL)),
        Figure("pull of a second Python of the same release: bytes, of naive", 0.15, ratio("pull second", "bytes", 1)),
        Figure("predicted stored bytes of 4 cells: distance from measured", 0.1, _error(results, "stored", "bytes")),
        Figure("predicted bytes to fetch for 4 cells: distance from measured", 0.1, _error(results, "cold", "fetched")),
    ]


def _ratios(results: Results) -> "Callable[..., float | None]":
    def ratio(measure: str, quantity: str, cells: int, *, other: str = "naive") -> "float | None":
        own, theirs = (results.get(measure, quantity, who, cells) for who in ("torchdev", other))
        return own / theirs if own is not None and theirs else None

    return ratio


def _job(results: Results) -> "float | None":
    """Of one cell: all that a user waits for, checks included, of a build that checks nothing."""
    own, naive = results.get("job", "seconds", "torchdev", 1), results.get("cold", "seconds", "naive", 1)
    return own / naive if own is not None and naive else None


def _largest_image(results: Results) -> "float | None":
    pairs = [sizes for sizes in results.images.values() if {"naive", "torchdev"} <= sizes.keys()]
    return max((sizes["torchdev"] / sizes["naive"] for sizes in pairs), default=None)


def _each(results: Results, measure: str, quantity: str) -> "float | None":
    """The most that a cell cost, over all numbers of cells."""
    counts = {cells for m, q, who, cells in results.values if (m, q, who) == (measure, quantity, "torchdev")}
    found = [(results.get(measure, quantity, "torchdev", cells) or 0) / cells for cells in counts]
    return max(found, default=None)


def _error(results: Results, measure: str, quantity: str) -> "float | None":
    predicted = results.get("predicted", quantity, "torchdev", SEVERAL)
    measured = results.get(measure, quantity, "torchdev", SEVERAL)
    return abs(predicted / measured - 1) if predicted is not None and measured else None


def predicted_naive(
    unpacked: "Iterable[int]", pythons: "Iterable[str]", beside: float, base: float, lowest: float
) -> float:
    """Bytes that naive images are expected to take.

    Each has its wheels unpacked and what pip adds, bytecode most of all (`beside`, as measured on average). The bases,
    of `base` bytes each, are stored once for each Python; their lowest layer, Debian, once.
    """
    unpacked, pythons = list(unpacked), set(pythons)
    return sum(unpacked) + beside * len(unpacked) + lowest + (base - lowest) * len(pythons)


def beside_wheels(images: "Iterable[tuple[int, int]]", base: float) -> float:
    """Bytes that a naive image has beside its base and its wheels; `images` are (bytes, bytes of its wheels)."""
    return mean(size - unpacked - base for size, unpacked in images)
