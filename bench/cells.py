"""The cells that are measured: a matrix of their own, with the checkout's locks, in the bench's folder."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from torchdev.util.errors import InputError

IMAGE = "torchdev-bench"
"""The repository name of the images that torchdev builds for the bench."""
ASKED = ("torch", "torchvision", "torchaudio", "numpy", "scipy", "pillow")
"""What people name when they write a Dockerfile; the rest comes as dependencies."""
AXES = ("python", "cuda", "torch", "cudnn", "variant", "arch")


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A locked wheel. `size` and `installed` are bytes."""

    name: str
    version: str
    file: str
    sha256: "str | None"
    size: int
    installed: int


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A cell that is measured, and what its lock says."""

    id: str
    python: str
    flavour: str
    wheels: tuple[Wheel, ...]
    uv: str

    @property
    def asked(self) -> "list[str]":
        """What a Dockerfile as people write it names."""
        return [f"{wheel.name}=={wheel.version}" for wheel in self.wheels if wheel.name in ASKED]

    @property
    def pins(self) -> str:
        """Constraints that leave no other versions than the lock's."""
        return "".join(f"{wheel.name}=={wheel.version}\n" for wheel in self.wheels)

    @property
    def unpacked(self) -> int:
        """Bytes of its wheels."""
        return sum(wheel.installed for wheel in self.wheels)


def read_subject(images: Path, entry: "Mapping[str, Any]") -> Subject:
    """A cell, as `build.py list --json` gives it, with its lock; InputError where it has none that is whole."""
    path = images / str(entry["id"]) / "lock.json"
    if not path.is_file():
        raise InputError("it has no lock", where=str(entry["id"]), next_step=f"python build.py lock {entry['id']}")
    lock = json.loads(path.read_text(encoding="utf-8"))
    wheels = tuple(
        Wheel(
            name=p["name"],
            version=p["version"],
            file=p["file"],
            sha256=p["sha256"],
            size=p["size"] or 0,
            installed=p["installed"] or 0,
        )
        for p in lock["packages"]
    )
    if any(wheel.sha256 is None for wheel in wheels):
        what = "not all of its wheels are resolved, so that nothing can be compared"
        raise InputError(what, where=str(entry["id"]), next_step="take another cell: --cells")
    return Subject(
        id=str(entry["id"]),
        python=str(entry["python"]),
        flavour=str(entry["flavour"]),
        wheels=wheels,
        uv=str(lock["uv"]["version"]),
    )


def unique(subjects: "tuple[Subject, ...]") -> "list[tuple[Subject, list[Wheel]]]":
    """For each cell the wheels that none before it has."""
    seen: set[str] = set()
    found = []
    for subject in subjects:
        new = [wheel for wheel in subject.wheels if wheel.file not in seen]
        seen |= {wheel.file for wheel in new}
        found.append((subject, new))
    return found


def own_matrix(source: "Mapping[str, Any]", entries: "list[dict[str, Any]]") -> dict[str, Any]:
    """A matrix of just these cells, each by the row that it has in the source, so that its lock stays valid."""
    rows = []
    for entry in entries:
        row = next((row for row in source["rows"] if _has(row, source.get("axes", {}), entry)), None)
        if row is None:
            raise InputError("it has no row of its own in the matrix", where=entry["id"], next_step="take another cell")
        kept = {key: value for key, value in row.items() if key not in AXES}
        named = {key: entry[key] for key in ("python", "torch", "cudnn", "variant", "arch") if entry[key]}
        rows.append({**kept, "cuda": entry["flavour"], **named})
    kept = {key: source[key] for key in ("packages", "constraints", "companions") if key in source}
    return {"image": IMAGE, **kept, "rows": rows}


def _has(row: "Mapping[str, Any]", axes: "Mapping[str, Any]", entry: "Mapping[str, Any]") -> bool:
    defaults = {"variant": "plain", "arch": "amd64", "cudnn": None}
    wanted = {**{axis: entry[axis] for axis in AXES if axis != "cuda"}, "cuda": entry["flavour"]}
    for axis in AXES:
        given = row.get(axis, axes.get(axis, defaults.get(axis)))
        if wanted[axis] not in (given if isinstance(given, list) else [given]):
            return False
    return True


def write_matrix(matrix: "Mapping[str, Any]", folder: Path, locks: "Mapping[str, Path]") -> Path:
    """Write a matrix, and locks beside it; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "matrix.yaml"
    file.write_text(json.dumps(matrix, indent=2), encoding="utf-8")  # which is YAML, too
    for cell, lock in locks.items():
        (folder / "images" / cell).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(lock, folder / "images" / cell / "lock.json")
    return file


def read_matrix(path: Path) -> dict[str, Any]:
    """A matrix, as it stands; build.py has validated it before."""
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found
