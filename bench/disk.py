"""What the bench needs of the disk, told before it starts: it never fills one."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from bench.cells import Subject, unique
from torchdev.util.errors import EngineError

BESIDE = 450_000_000
"""Bytes of an image beside its wheels: base and bytecode."""
PACKED = 0.6
"""Of its bytes an image takes in a registry, at most."""
REWRITTEN = {"small": 500_000_000, "debian": 3_000_000_000}
"""Bytes that a cell of torchdev's writes anew for a change, at most."""
SHARED = 0.75
"""Of its images' bytes torchdev stores, at most."""
RESERVE = 5_000_000_000
"""Bytes that stay free: BuildKit's own, downloads while they are unpacked, logs."""


def needed(subjects: "Iterable[Subject]", measures: "Iterable[str]", contenders: "Iterable[str]" = ()) -> int:
    """Bytes that are used at once, at most: by the images of one contender, and by what follows on them."""
    subjects, measures = tuple(subjects), set(measures)
    images = [subject.unpacked + BESIDE for subject in subjects]
    pushed = PACKED if "registry" in measures else 0
    naive = sum(images) * (1 + pushed)
    changes = sum(REWRITTEN.get(measure, 0) for measure in measures) * len(images)
    beside = images[0] if "import" in measures else 0
    own = SHARED * sum(images) * (1 + pushed) + changes + beside
    # The expert's cache has each wheel unpacked once; a machine with nothing has wheels, bases and an engine, too.
    cached = sum(wheel.installed for _, wheels in unique(subjects) for wheel in wheels)
    expert = sum(images) + cached if "expert" in contenders else 0
    machine = 2 * images[0] if "quickstart" in measures else 0
    return int(max(naive, own, expert, machine)) + RESERVE


def check(folder: Path, need: int) -> None:
    """Return if a folder's disk has so many bytes; EngineError with the figures if not."""
    free = shutil.disk_usage(folder).free
    if free < need:
        what = f"the disk is too small: {free / 1e9:.1f} GB free at {folder}, {need / 1e9:.1f} GB needed"
        raise EngineError(what, next_step="--work FOLDER on another disk, or less at once: --only cold --cells 1")
