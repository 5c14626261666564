"""Which names of images are torchdev's own: what it gave each to last. Any other image under one is the user's."""

import json
from collections.abc import Mapping
from pathlib import Path

from torchdev.image.paths import Paths
from torchdev.util import files


def noted(paths: Paths, cell: str) -> "dict[str, str]":
    """The ids of the images that torchdev gave names to, for a cell: by name; none where nothing can be read."""
    try:
        found = json.loads(_file(paths, cell).read_text(encoding="utf-8"))
        return {str(name): str(image) for name, image in found.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def note(paths: Paths, cell: str, given: "Mapping[str, str]") -> None:
    """Note that names were given to images, by id; those noted before stay noted."""
    known = noted(paths, cell)
    if known != {**known, **given}:
        files.write(_file(paths, cell), json.dumps({**known, **given}, indent=1))


def _file(paths: Paths, cell: str) -> Path:
    return paths.work / "names" / f"{cell}.json"
