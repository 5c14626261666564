"""Which names of images are torchdev's own: what it gave each to last. Any other image under one is the user's."""

import json
from collections.abc import Mapping
from pathlib import Path

from torchdev.image.paths import Places
from torchdev.util import files


def noted(places: Places, cell: str) -> "dict[str, str]":
    """The ids of the images that torchdev gave names to, for a cell: by name; none where nothing can be read."""
    try:
        found = json.loads(_file(places, cell).read_text(encoding="utf-8"))
        return {str(name): str(image) for name, image in found.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def note(places: Places, cell: str, given: "Mapping[str, str]") -> None:
    """Note that names were given to images, by id; those noted before stay noted."""
    known = noted(places, cell)
    if known != {**known, **given}:
        files.write(_file(places, cell), json.dumps({**known, **given}, indent=1))


def _file(places: Places, cell: str) -> Path:
    return places.work / "names" / f"{cell}.json"
