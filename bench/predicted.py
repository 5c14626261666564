"""What `build.py plan` predicts, and what the same cells would take naively."""

import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from bench import cells
from bench.cells import Subject
from bench.contenders import Setting
from bench.engine import Engine
from bench.figures import EIGHT, beside_wheels, predicted_naive
from bench.results import Results
from torchdev.util.errors import Exit, InputError

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""Four Pythons, which with two CUDA sets make eight cells."""
Subjects = tuple[Subject, ...]


def plan(engine: Engine, root: Path, matrix: Path, subjects: Subjects) -> dict[str, int]:
    """The sums of `build.py plan --json` for some cells, on an engine that has nothing, however large its disk."""
    command = [sys.executable, str(root / "build.py"), "plan", "--json", "--matrix-file", str(matrix)]
    said = engine.run([*command, *(subject.id for subject in subjects)], allowed=(0, Exit.BUILD)).output
    found: dict[str, int] = json.loads(said)["sum"]
    return found


def same(results: Results, setting: Setting, engine: Engine, subjects: Subjects) -> None:
    """What is predicted for cells that are then measured."""
    found = plan(engine, setting.root, setting.matrix, subjects)
    results.add("predicted", "bytes", "torchdev", len(subjects), found["stored"])
    results.add("predicted", "fetched", "torchdev", len(subjects), found["fetch"])


def eight(
    results: Results, setting: Setting, engine: Engine, subjects: Subjects, source: Path, listed: "list[dict[str, Any]]"
) -> None:
    """What is predicted for eight cells: those of the same sets in four Pythons; `listed` are all cells of `source`."""
    sets = {subject.id.partition("-")[2] for subject in subjects}
    entries = [e for e in listed if e["python"] in PYTHONS and e["id"].partition("-")[2] in sets]
    if len(entries) != EIGHT:
        what = f"the matrix has {len(entries)} cells of the sets {', '.join(sorted(sets))}, not {EIGHT}"
        raise InputError(what, next_step="name cells of two sets that it has for Python " + ", ".join(PYTHONS))
    images = source.resolve().parent / "images"
    chosen = tuple(cells.read_subject(images, entry) for entry in entries)
    locks = {subject.id: images / subject.id / "lock.json" for subject in chosen}
    matrix = cells.write_matrix(
        cells.own_matrix(cells.read_matrix(source), entries), setting.workspace.fresh("eight"), locks
    )
    results.add("predicted", "bytes", "torchdev", EIGHT, plan(engine, setting.root, matrix, chosen)["stored"])
    naive(results, subjects, chosen)


def naive(results: Results, measured: Subjects, chosen: Subjects) -> None:
    """What naive images of some cells would take, told from those that were built; nothing where none was."""
    bases = [n for (m, q, _, _), n in results.values.items() if (m, q) == ("base", "bytes")]
    lowest = [n for (m, q, _, _), n in results.values.items() if (m, q) == ("base", "lowest")]
    built = [(results.images[s.id]["naive"], s.unpacked) for s in measured if "naive" in results.images.get(s.id, {})]
    if not built or not bases:
        return
    base, bottom = mean(n[0] for n in bases), mean(n[0] for n in lowest)
    beside = beside_wheels(built, base)
    for some in (chosen, tuple(s for s in measured if "naive" in results.images.get(s.id, {}))):
        value = predicted_naive((s.unpacked for s in some), (s.python for s in some), beside, base, bottom)
        results.add("predicted", "bytes", "naive", len(some), value)
