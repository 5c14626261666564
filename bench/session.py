"""The order of a run: for each number of cells and repetition, each contender on an engine of its own."""

from collections.abc import Callable
from dataclasses import dataclass

from bench import cold, contenders
from bench.cells import Subject
from bench.contenders import CONTENDERS, Setting
from bench.engine import Engine, engine
from bench.results import Results

Say = Callable[[str], None]
Follow = Callable[[Results, Setting, Engine, str, "tuple[Subject, ...]"], None]


@dataclass(frozen=True)
class Wish:
    """What to measure: names of measures, numbers of cells, repetitions of cold builds."""

    measures: frozenset[str]
    counts: tuple[int, ...]
    repeat: int
    contenders: tuple[str, ...] = CONTENDERS


def run(results: Results, setting: Setting, subjects: "tuple[Subject, ...]", wish: Wish, say: Say) -> None:
    """Measure what is wished for; results are written down as they come."""
    for count in wish.counts:
        for repetition in range(wish.repeat):
            for contender in contenders.order(wish.contenders, repetition):
                with engine(setting.site, f"{contender}-{count}", setting.bases.data) as own:
                    cold.build(results, setting, own, contender, subjects[:count])
                    seconds = results.values[("cold", "seconds", contender, count)][-1]
                    say(f"cold, {count} cell(s), {contender}: {seconds:.1f} s")
