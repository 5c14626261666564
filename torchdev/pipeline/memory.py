"""Remembers the verdicts on an image. They are valid until anything changes that could change them."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from torchdev.image.paths import Paths
from torchdev.image.plan import Plan
from torchdev.pipeline import verify
from torchdev.pipeline.verify import Outcome, Verdict
from torchdev.util import files, imports, jsonfile
from torchdev.util.errors import InputError

CHECKS = Path("tests", "image")
DATA = (CHECKS, Path("workloads"), Path("templates"), Path("torchdev", "data"), Path("pyproject.toml"))
"""Files and folders of the checkout that checks read, copy into containers, or need to run; all files in them count.

Which modules count follows from the imports of those in CHECKS, and of the module that runs them.
"""
CONFTEST = "conftest.py"
_NOTED = TypeAdapter(tuple[Verdict, ...])
"""The format of a note."""
GPU_MODES = ("require", "auto", "none")


def checked(paths: Paths, plan: Plan, image: str, gpu: str, *, controls: bool = False) -> "tuple[Verdict, ...]":
    """Run all checks against an image, given by its id, and note the verdicts; `controls` as for verify."""
    before = file(paths, plan, image, gpu, code(paths.checkout))
    verdicts = verify.verify(plan, image, gpu, paths, controls=controls)
    # A file that was edited meanwhile may have been read before or after, so the verdicts are noted for neither.
    if file(paths, plan, image, gpu, code(paths.checkout)) == before:
        remember(before, verdicts)
    return verdicts


def remember(path: Path, verdicts: "tuple[Verdict, ...]") -> None:
    """Note the verdicts, unless a check failed."""
    if any(verdict.outcome is Outcome.FAIL for verdict in verdicts):
        return
    files.write(path, json.dumps([asdict(verdict) for verdict in verdicts], indent=1))


def recall(path: Path) -> "tuple[Verdict, ...] | None":
    """The noted verdicts of the same checks on the same image; None if there are none, or the note is damaged."""
    try:
        verdicts, _ = jsonfile.read(path, _NOTED)
    except (FileNotFoundError, InputError, jsonfile.Malformed):
        return None
    passed = any(v.outcome is Outcome.PASS for v in verdicts) and all(v.outcome is not Outcome.FAIL for v in verdicts)
    return verdicts if passed else None


def recall_any(paths: Paths, plan: Plan, image: str, code: str) -> "tuple[Verdict, ...] | None":
    """The noted verdicts of the present checks on an image: with a GPU if there is such a note, else without."""
    known = (recall(file(paths, plan, image, gpu, code)) for gpu in GPU_MODES)
    return next((verdicts for verdicts in known if verdicts), None)


def file(paths: Paths, plan: Plan, image: str, gpu: str, code: str) -> Path:
    """The note of the verdicts on an image, given by its id; its name changes as soon as any input of the checks
    changes.

    Inputs are `code`, the facts about the cell, and how the checks are run.
    """
    driver = Path("/proc/driver/nvidia/version").exists()
    parts = [image, gpu, driver, _facts(paths, plan), code]
    return paths.work / "checked" / f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}.json"


def code(checkout: Path) -> str:
    """sha256 of the inputs that all cells share: the code of the checks, all that it imports or reads, packages."""
    stamps = tuple((path, (state := path.stat()).st_mtime_ns, state.st_size) for path in deciding(checkout))
    return hashlib.sha256(json.dumps([_content(stamps, checkout), *environment()]).encode()).hexdigest()


def deciding(checkout: Path) -> "list[Path]":
    """Every file of the checkout that can change verdicts, in a fixed order."""
    found = {path for root in DATA for path in _below(checkout / root)}
    checks = {path for path in _below(checkout / CHECKS) if path.suffix == ".py"}
    # pytest runs every conftest.py in the folders above a test.
    above = (checkout / folder / CONFTEST for folder in (Path(), *CHECKS.parents))
    roots = {*checks, checkout / "torchdev" / "pipeline" / "verify.py", *above}
    return sorted(found | imports.reached((path for path in roots if path.is_file()), checkout))


@cache
def environment() -> "tuple[str, ...]":
    """The Python that runs checks, and all its packages with versions."""
    found = {path.name for folder in sys.path if folder for path in Path(folder).glob("*.dist-info")}
    return sys.version, *sorted(found)


def _facts(paths: Paths, plan: Plan) -> "list[str]":
    """The facts about a cell by which its image is judged; its position in the matrix does not matter."""
    cell = {f.name: getattr(plan.cell, f.name) for f in fields(plan.cell) if f.compare}
    contract = paths.contract(plan.cell.id)
    compared = contract.read_text(encoding="utf-8") if contract.is_file() else ""
    named = [*(base.ref for base in plan.bases), *plan.tags]
    return [json.dumps(cell, default=str), plan.lock.digest, *named, compared]


def _below(root: Path) -> Iterator[Path]:
    """A file, or all files in a folder, except bytecode."""
    if not root.is_dir():
        yield from (root,) if root.is_file() else ()
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != "__pycache__"]
        yield from (Path(folder, name) for name in names)


@cache
def _content(stamps: "tuple[tuple[Path, int, int], ...]", checkout: Path) -> str:
    """sha256 of files and their names, for their modification times; they are read once for many images."""
    digest = hashlib.sha256()
    for path, _, size in stamps:
        digest.update(f"{path.relative_to(checkout)} {size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
