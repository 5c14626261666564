"""Push to an empty registry, and pull to an engine that has nothing: bytes and time."""

import shutil

from bench import contenders
from bench.cells import Subject
from bench.contenders import Setting
from bench.engine import Engine, restarted
from bench.registry import ADDRESS, Registry, registry
from bench.results import Results

Subjects = tuple[Subject, ...]


def keep(engine: Engine, contender: str, subjects: Subjects) -> None:
    """Give the images the names by which they will be pushed, before anything is changed about them."""
    for subject in subjects:
        engine.docker("tag", contenders.image(contender, subject), _remote(contender, subject))


def transfer(results: Results, setting: Setting, engine: Engine, contender: str, subjects: Subjects) -> None:
    """Push all cells, as `keep` found them; then, elsewhere, pull a cell and another Python of its release.

    The engine that has built the images is stopped and its data removed, since both would need too much of a disk.
    """
    with registry(setting.workspace) as target:
        costs = [engine.run(["docker", "push", _remote(contender, subject)]) for subject in subjects]
        results.add("push", "seconds", contender, len(subjects), sum(cost.seconds for cost in costs))
        results.add("push", "bytes", contender, len(subjects), target.stored())
        pair = of_one_release(subjects)
        if not pair:
            return
        engine.stop()
        shutil.rmtree(engine.data)
        with restarted(engine, f"pull-{contender}") as other:
            for which, subject in zip(("pull first", "pull second"), pair, strict=True):
                _pull(results, other, target, which, contender, subject)


def of_one_release(subjects: Subjects) -> "tuple[Subject, Subject] | None":
    """The first two cells of different Pythons with the same PyTorch for the same CUDA; None if there are none."""
    for number, first in enumerate(subjects):
        for second in subjects[number + 1 :]:
            if first.python != second.python and release(first) == release(second):
                return first, second
    return None


def release(subject: Subject) -> "tuple[str, str]":
    """A cell's CUDA, and its PyTorch."""
    return subject.flavour, next(wheel.version for wheel in subject.wheels if wheel.name == "torch")


def _pull(results: Results, engine: Engine, target: Registry, measure: str, contender: str, subject: Subject) -> None:
    before = target.served()
    cost = engine.run(["docker", "pull", "--quiet", _remote(contender, subject)])
    results.add(measure, "seconds", contender, 1, cost.seconds)
    results.add(measure, "bytes", contender, 1, target.served() - before)


def _remote(contender: str, subject: Subject) -> str:
    return f"{ADDRESS}/{contender}:{subject.id}"
