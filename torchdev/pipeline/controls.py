"""Remembers controls, in which a spoiled workload must fail: they prove a check and a workload, not an image.

So each control is run once for every version of check and workloads, Python series, PyTorch release and architecture.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import ClassVar

from pydantic import TypeAdapter

from torchdev.matrix.cells import Cell
from torchdev.util import files, jsonfile
from torchdev.util.errors import InputError

PARTS = (Path("workloads"), Path("tests", "image", "conftest.py"), Path("tests", "image", "programs", "forked.py"))
"""Inputs of every control beside the module of its check: files of the checkout, and a folder."""


@dataclass(frozen=True)
class Noted:
    """A control that has passed: its check, the image and cell that it ran in, and when."""

    __pydantic_config__: ClassVar = jsonfile.STRICT

    check: str
    cell: str
    image: str
    day: str

    def __str__(self) -> str:
        return (
            f"remembered: held on {self.day} in {self.cell} ({self.image[:19]}), with the same workloads and releases"
        )


_NOTED = TypeAdapter(Noted)


def file(folder: Path, checkout: Path, module: Path, check: str, cell: Cell) -> Path:
    """The note of a control that has passed; its name changes as soon as any input changes."""
    parts = [check, cell.python, cell.torch, cell.arch, *_content(checkout, module)]
    return folder / f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}.json"


def remember(path: Path, check: str, cell: Cell, image: str) -> None:
    """Note that a control has passed."""
    noted = Noted(check, cell.id, image, date.today().isoformat())
    files.write(path, json.dumps(asdict(noted), indent=1))


def recall(path: Path, check: str) -> "Noted | None":
    """When and where a control has passed; None if it has not, or if the note is damaged or of another control."""
    try:
        noted, _ = jsonfile.read(path, _NOTED)
    except (FileNotFoundError, InputError, jsonfile.Malformed):
        return None
    return noted if noted.check == check else None


def _content(checkout: Path, module: Path) -> Iterator[str]:
    """Name and sha256 of every input file, in a fixed order."""
    for part in (*PARTS, module):
        root = checkout / part
        found = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
        for path in (path for path in found if "__pycache__" not in path.parts):
            yield f"{path.relative_to(checkout)} {hashlib.sha256(path.read_bytes()).hexdigest()}"
