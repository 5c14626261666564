"""Builds from nothing: no build cache, no wheels; and what comes of them."""

from collections.abc import Iterable, Mapping

from bench import contenders
from bench.cells import Subject
from bench.contenders import Setting
from bench.engine import Engine
from bench.measure import Measured
from bench.results import BUILDERS, Results


def note(results: Results, contender: str, cells: int, cost: Measured, *, measure: str = "cold") -> None:
    """Write down what a cold build cost, or another measure that starts from nothing."""
    results.add(measure, "seconds", contender, cells, cost.seconds)
    results.add(measure, "memory", contender, cells, cost.memory)
    results.add(measure, "fetched", contender, cells, cost.fetched)
    results.add(measure, "others", contender, cells, cost.others)


def note_images(results: Results, engine: Engine, contender: str, subjects: "tuple[Subject, ...]") -> None:
    """Write down what the engine stores now; the size of each image."""
    images = {subject.id: engine.layers(contenders.image(contender, subject)) for subject in subjects}
    results.add("stored", "bytes", contender, len(subjects), stored(images.values()))
    for cell, layers in images.items():
        results.images.setdefault(cell, {})[contender] = sum(layers.values())


def stored(images: "Iterable[Mapping[str, int]]") -> int:
    """Bytes of some images, given by chain ids and bytes: what several have is stored once."""
    return sum({name: size for image in images for name, size in image.items()}.values())


def rewritten(before: "Iterable[Mapping[str, int]]", after: "Iterable[Mapping[str, int]]") -> int:
    """Bytes of layers that only the images of later have."""
    there = {name for image in before for name in image}
    return sum({name: size for image in after for name, size in image.items() if name not in there}.values())


def build(
    results: Results,
    setting: Setting,
    engine: Engine,
    contender: str,
    subjects: "tuple[Subject, ...]",
) -> None:
    """Build some cells on an engine that has only the bases, and write down what that came to."""
    note(results, contender, len(subjects), contenders.build(setting, engine, contender, subjects))
    if contender in BUILDERS:
        results.values.pop(("stored", "bytes", contender, len(subjects)), None)
        note_images(results, engine, contender, subjects)
        for subject in subjects:
            _note_base(results, engine, setting.bases.froms[subject.python], subject.python)


def _note_base(results: Results, engine: Engine, name: str, python: str) -> None:
    """Write down what a base image takes, and its lowest layer."""
    if results.get("base", "bytes", python, 1) is None:
        sizes = list(engine.layers(name).values())
        results.add("base", "bytes", python, 1, sum(sizes))
        results.add("base", "lowest", python, 1, sizes[0])
