"""The order of a run: for each number of cells and repetition, each contender on an engine of its own."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from bench import change, cold, contenders, fifty, importing, job, transfer
from bench.cells import Subject
from bench.contenders import Setting
from bench.engine import Engine, engine
from bench.results import BUILDERS, CONTENDERS, EARLIER, Results
from torchdev.util.errors import TorchdevError

Say = Callable[[str], None]
Subjects = tuple[Subject, ...]
Measure = Callable[[Results, Setting, Engine, str, Subjects], None]

FOLLOWING: "Mapping[str, Measure]" = {
    "nothing": change.nothing,
    "import": importing.importing,
    "small": change.small,
    "debian": change.debian,
    "registry": transfer.transfer,
}
"""What is measured on an engine after a cold build, in this order: the last one takes the engine away."""
APART = ("job", "checks", "quickstart", "fifty")
"""What has engines, or a whole machine, for itself."""
MEASURES = ("cold", *FOLLOWING, *APART)


@dataclass(frozen=True)
class Selection:
    """What to measure: names of measures, numbers of cells, repetitions of cold builds, contenders."""

    measures: frozenset[str]
    counts: tuple[int, ...]
    repeat: int
    contenders: tuple[str, ...] = CONTENDERS

    def applies(self, measure: str, contender: str, count: int) -> bool:
        """Whether a measure is wanted of a contender with so many cells."""
        few, many = count == min(self.counts), count == max(self.counts)
        who = {
            "cold": True,
            "nothing": contender in BUILDERS,
            "import": contender == "torchdev" and few,
            "small": contender == "torchdev" or (contender == "naive" and few),
            "debian": contender == "torchdev" or (contender == "naive" and few),
            "registry": contender in ("naive", "torchdev") and many,
        } | dict.fromkeys(APART, contender == "torchdev")
        return measure in self.measures and contender in self.contenders and who[measure]


def run(
    results: Results, setting: Setting, subjects: Subjects, selection: Selection, say: Say, save: "Callable[[], None]"
) -> None:
    """Run the selected measurements; results are saved as they come, and a failed measurement stops no other."""
    for count in selection.counts:
        for repetition in range(selection.repeat if "cold" in selection.measures else 1):
            last = repetition == selection.repeat - 1 or "cold" not in selection.measures
            for contender in contenders.order(selection.contenders, repetition):
                every = ("cold", *FOLLOWING) if last else ("cold",)
                wanted = [measure for measure in every if selection.applies(measure, contender, count)]
                if wanted:
                    _contender(results, setting, contender, subjects[:count], wanted, say)
                    save()
    for name, act in apart(results, setting, subjects, selection):
        _try(results, name, say, act)
        save()


def apart(
    results: Results, setting: Setting, subjects: Subjects, selection: Selection
) -> "Iterator[tuple[str, Callable[[], None]]]":
    """What has engines, or a machine, for itself: the name of each measurement, and what makes it."""
    own = {measure for measure in APART if selection.applies(measure, "torchdev", max(selection.counts))}
    for count in selection.counts if "job" in own else ():
        if "naive" in selection.contenders and results.get("cold", "seconds", "naive", count) is None:
            yield f"cold, {_with('naive', count)}", partial(job.naive, results, setting, subjects[:count])
        yield f"job, {_with('torchdev', count)}", partial(job.job, results, setting, subjects[:count])
    if "checks" in own:
        yield f"checks, {_with(EARLIER, 1)}", partial(job.earlier, results, setting, subjects[0])
        yield f"checks, {_with('torchdev', 1)}", partial(job.checks, results, setting, subjects[0])
    for who in job.COMMITS if "quickstart" in own else ():
        yield (
            f"quickstart, {_with(who, 1)}",
            partial(job.quickstart, results, setting, subjects[0], who),
        )
    if "fifty" in own:
        yield "fifty", partial(_fifty, results, setting)


def _fifty(results: Results, setting: Setting) -> None:
    with engine(setting.workspace, "fifty", setting.bases.data) as own:
        fifty.fifty(results, setting, own)


def _with(who: str, count: int) -> str:
    return f"{who}, {count} cells" if count > 1 else f"{who}, 1 cell"


def _contender(
    results: Results, setting: Setting, contender: str, subjects: Subjects, wanted: "list[str]", say: Say
) -> None:
    """Measure one contender on an engine of its own: every measure needs the cold build, wanted or not."""
    name = _with(contender, len(subjects))
    with engine(setting.workspace, f"{contender}-{len(subjects)}", setting.bases.data) as own:
        target = results if "cold" in wanted else Results()
        if not _try(results, f"cold, {name}", say, lambda: cold.build(target, setting, own, contender, subjects)):
            return
        if "registry" in wanted:
            transfer.keep(own, contender, subjects)
        for measure in (one for one in FOLLOWING if one in wanted):
            act = partial(FOLLOWING[measure], results, setting, own, contender, subjects)
            _try(results, f"{measure}, {name}", say, act)


def _try(results: Results, name: str, say: Say, act: "Callable[[], None]") -> bool:
    """Do it; if it fails, write down why."""
    say(name)
    try:
        act()
    except TorchdevError as error:
        say(f"failed: {error}")
        results.missing[name] = str(error)
        return False
    return True
