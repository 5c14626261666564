"""The base images: an engine's data folder that holds them and nothing else, to be copied for each measurement."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.cells import Subject
from bench.engine import Engine, Workspace, engine
from torchdev.catalog.bases import Base, bases_of, read_digests
from torchdev.util.errors import TorchdevError

Say = Callable[[str], None]
KEPT = "bases"
"""Name of the folder in the bench's."""


@dataclass(frozen=True)
class Bases:
    """The data folder; whether the images are official or bootstrapped; Python series to what a FROM names."""

    data: Path
    origin: str
    froms: dict[str, str]


def prepare(workspace: Workspace, root: Path, matrix: Path, subjects: "tuple[Subject, ...]", say: Say) -> Bases:
    """Have the bases of some cells ready: pulled where a registry answers, else as torchdev bootstraps them.

    Substitutes that this machine's own engine has are taken over; torchdev makes anew what is not up to date.
    """
    digests = read_digests(root / "images" / "bases.json")
    found = {subject.python: bases_of(subject.python, digests) for subject in subjects}
    wanted = list(dict.fromkeys(base for bases in found.values() for base in bases))
    kept = workspace.work / KEPT
    with engine(workspace, "bases", None) as own:
        origin = "official" if _pulled(own, wanted) else "bootstrapped"
        say(f"bases: {origin}")
        if origin == "bootstrapped":
            _take_over(own, wanted)
            command = [sys.executable, str(root / "build.py"), "bootstrap", "--matrix-file", str(matrix)]
            own.run([*command, *(subject.id for subject in subjects)])
            own.docker("builder", "prune", "--all", "--force")
        own.stop()
        shutil.move(own.data, kept)
    pythons = {series: bases[1] for series, bases in found.items()}
    official = origin == "official"
    return Bases(kept, origin, {series: b.ref if official else b.substitute for series, b in pythons.items()})


def _pulled(own: Engine, wanted: "list[Base]") -> bool:
    """Whether a registry gave all of them."""
    try:
        for base in wanted:
            own.docker("pull", "--quiet", base.ref)
    except TorchdevError:
        return False
    return True


def _take_over(own: Engine, wanted: "list[Base]") -> None:
    """Load the substitutes that this machine's own engine has, if there is one."""
    there = [
        base.substitute
        for base in wanted
        if subprocess.run(["docker", "image", "inspect", base.substitute], capture_output=True, check=False).returncode
        == 0
    ]
    if there:
        archive = own.cache / "bases.tar"
        subprocess.run(["docker", "save", "--output", str(archive), *there], check=True, capture_output=True)
        own.docker("load", "--input", str(archive))
        archive.unlink()
