"""The version of torchdev: pyproject.toml has it, `--version` prints it, and images name it in a label.

Standard library alone, since `--version` is answered before the environment is entered.
"""

import re
import tomllib
from pathlib import Path

from torchdev.util.errors import InputError

FILE = Path(__file__).parents[2] / "pyproject.toml"
"""Where the version is written, and nowhere else."""
NUMBER = "(0|[1-9][0-9]*)"
SEMVER = re.compile(rf"{NUMBER}\.{NUMBER}\.{NUMBER}")
"""MAJOR.MINOR.PATCH of Semantic Versioning; torchdev has no pre-releases."""


def version() -> str:
    """The version of this checkout; InputError if pyproject.toml does not say it."""
    try:
        found = str(tomllib.loads(FILE.read_text(encoding="utf-8"))["project"]["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"torchdev's version can't be read: {type(error).__name__}: {error}"
        raise InputError(what, where=FILE.name, next_step=f"git checkout {FILE.name}") from None
    if not numbers(found):
        what = f"[project] version is not MAJOR.MINOR.PATCH: {found!r}"
        raise InputError(what, where=FILE.name, next_step="write one such as 1.2.3")
    return found


def numbers(text: str) -> "tuple[int, ...]":
    """The numbers of a version, by which versions are ordered; empty if it is not MAJOR.MINOR.PATCH."""
    found = SEMVER.fullmatch(text)
    return tuple(map(int, found.groups())) if found else ()
