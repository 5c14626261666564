"""A cell's local tags: which image torchdev gave each one to, and moving all of them to another image.

A tag that points at any other image was moved by someone else. Names with a registry in them are noted, too.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from torchdev.image.paths import Paths
from torchdev.image.plan import Plan
from torchdev.pipeline.session import BuildSession
from torchdev.util import files


def point(session: BuildSession, plan: Plan, image: str) -> None:
    """Move every tag of a cell to an image; a message names each tag that someone else had moved."""
    known = noted(session.paths, plan.cell.id)
    for tag in plan.tags:
        current = session.engine.image(tag)
        if not current or current.id != image:
            if current and known.get(tag, current.id) != current.id:
                session.say(
                    f"{plan.cell.id}: {tag} pointed at another image, {current.id}; it points at the cell's again"
                )
            session.engine.tag(image, tag)
    note(session.paths, plan.cell.id, dict.fromkeys(plan.tags, image))


def noted(paths: Paths, cell: str) -> "dict[str, str]":
    """The ids of the images that torchdev gave a cell's names to, by name; empty if the note can't be read."""
    try:
        found = json.loads(_file(paths, cell).read_text(encoding="utf-8"))
        return {str(name): str(image) for name, image in found.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def note(paths: Paths, cell: str, given: "Mapping[str, str]") -> None:
    """Note the images, by id, that names were given to; earlier notes stay."""
    known = noted(paths, cell)
    if known != {**known, **given}:
        files.write(_file(paths, cell), json.dumps({**known, **given}, indent=1))


def _file(paths: Paths, cell: str) -> Path:
    return paths.work / "names" / f"{cell}.json"
