"""The list, in a folder, of the files that torchdev wrote there. Other files belong to somebody else and are never
removed.

It has the format of `sha256sum -c`, with a path a line, so that git merges it by lines (.gitattributes: both sides are
kept).
"""

import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from torchdev.util import files
from torchdev.util.commands import build_py
from torchdev.util.errors import InputError
from torchdev.util.texts import quoted

LIST = "rendered.sha256"
LARGEST = 128 * 1024 * 1024
"""The largest size of a list, in bytes: a list for twenty thousand cells has half of it."""
CONFLICT = ("<<<<<<<", "|||||||", "=======", ">>>>>>>")
"""Conflict markers of git: the files of all sides are taken to be listed."""

Listed = dict[str, frozenset[str]]
"""Path below a folder to the sha256 of what was written there; several if git has merged two lists."""


def read(folder: Path, others: "Callable[[str], bool]") -> "Listed | None":
    """The files that a folder's list names; None if there is no list.

    InputError for a line whose path is not below the folder, or is one of the `others`, which other commands write.
    """
    path = folder / LIST
    if not os.path.lexists(path):
        return None
    found: Listed = {}
    for number, line in enumerate(files.read(path, LARGEST).decode("utf-8", "replace").split("\n"), 1):
        if not line.strip() or line.startswith(CONFLICT):
            continue
        match = re.fullmatch(r"([0-9a-f]{64})  (.+)", line.rstrip("\r"))
        if not match or not _proper(match[2]) or others(match[2]):
            what = f"{quoted(line)} is not a line of sha256 and the path of a generated file"
            step = ("remove this line, then: ", build_py("render"))
            raise InputError(what, where=f"{path}:{number}", next_step=step)
        found[match[2]] = found.get(match[2], frozenset()) | {match[1]}
    return found


def to_text(listed: Listed) -> bytes:
    """A list as text, sorted by path."""
    return "".join(f"{sha256}  {name}\n" for name in sorted(listed) for sha256 in sorted(listed[name])).encode()


def _proper(name: str) -> bool:
    """Whether a path stays below its folder, and is in normal form."""
    parts = PurePosixPath(name).parts
    spelled = name == "/".join(parts) and name.isprintable() and not {"\\", "\ufffd"} & set(name)
    return spelled and name != LIST and not {"..", "/"} & set(parts)
