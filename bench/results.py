"""What was measured, as values by measure, quantity, contender and number of cells; as JSON and back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from torchdev.util.errors import InputError

CONTENDERS = ("naive", "uv", "expert", "torchdev", "floor")
"""Those that are compared."""
BUILDERS = CONTENDERS[:4]
"""Those that leave images."""
EARLIER = "e4195ce"
"""The commit that today's checks and quickstart are held to: it ran one check after another."""
Key = tuple[str, str, str, int]
"""Measure, such as cold; quantity, such as seconds or bytes; contender; number of cells."""


@dataclass(kw_only=True)
class Results:
    """One run of the bench. `about` says on what machine and with what; `missing` why a measure was not run."""

    about: dict[str, Any] = field(default_factory=dict)
    values: dict[Key, list[float]] = field(default_factory=dict)
    images: dict[str, dict[str, int]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, measure: str, quantity: str, contender: str, cells: int, value: float) -> None:
        """Note one value; repetitions stand beside each other."""
        self.values.setdefault((measure, quantity, contender, cells), []).append(value)

    def get(self, measure: str, quantity: str, contender: str, cells: int) -> "float | None":
        """The median of a quantity's values; None if it was not measured."""
        found = self.values.get((measure, quantity, contender, cells))
        return median(found) if found else None

    def most(self) -> int:
        """The largest number of cells that was built cold."""
        return max((cells for measure, _, _, cells in self.values if measure == "cold"), default=1)

    def to_json(self) -> str:
        """All of it, one value's repetitions a line."""
        rows = [
            {"measure": m, "quantity": q, "contender": c, "cells": n, "values": [round(v, 3) for v in found]}
            for (m, q, c, n), found in self.values.items()
        ]
        lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
        rest = {"about": self.about, "images": self.images, "missing": self.missing, "notes": self.notes}
        return json.dumps(rest, indent=1).removesuffix("\n}") + f',\n "values": [\n{lines}\n ]\n}}\n'


def from_json(text: str, where: str) -> Results:
    """Results as `to_json` writes them; InputError if it is something else."""
    try:
        found: Mapping[str, Any] = json.loads(text)
        values = {(v["measure"], v["quantity"], v["contender"], int(v["cells"])): v["values"] for v in found["values"]}
        return Results(
            about=found["about"], values=values, images=found["images"], missing=found["missing"], notes=found["notes"]
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"not a result of the bench: {error!r}", where=where, next_step="python -m bench") from None
