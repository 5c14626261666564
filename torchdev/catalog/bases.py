"""The base images of every Dockerfile, their digests, and the names of their substitutes."""

import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import TypeAdapter

from torchdev.util import files, jsonfile, texts
from torchdev.util.commands import written
from torchdev.util.errors import InputError

TOOL_PYTHON = "3.11"
"""The one Python that unpacks wheels which do not depend on Python, for every cell of every matrix."""

PREFIX = "torchdev.invalid/bootstrap/"
"""Repository prefix of the images made here. RFC 2606 keeps .invalid out of the DNS, so no registry can have it."""
FORMER_PREFIX = "torchdev-bootstrap/"
"""The former prefix: a name on docker.io that anybody may register."""


@dataclass(frozen=True)
class Suite:
    """A Debian release below images: its glibc, and its names of the libraries that CPython loads."""

    name: str
    glibc: tuple[int, int]
    libraries: tuple[str, ...]

    @property
    def image(self) -> str:
        """Name of its official image."""
        return f"debian:{self.name}-slim"


def _libraries(ffi: str, ssl: str) -> tuple[str, ...]:
    """What the extension modules of CPython load, as in the official slim images."""
    first = ("libdb5.3", "libexpat1", ffi, "libgdbm6", "libncursesw6", "libnsl2", "libreadline8", "libsqlite3-0", ssl)
    return (*first, "libtirpc3", "netbase", "tzdata")


BOOKWORM = Suite("bookworm", (2, 36), _libraries("libffi8", "libssl3"))
BULLSEYE = Suite("bullseye", (2, 31), _libraries("libffi7", "libssl1.1"))
SUITES = {suite.name: suite for suite in (BOOKWORM, BULLSEYE)}
OLDER = {"3.6": BULLSEYE}
"""Python series whose last official image stands on an older Debian than the others'."""
DEBIAN = BOOKWORM.image

SOURCE_SUITES = {
    "3.9": ("bullseye-security", "bullseye"),
    "3.11": ("bookworm-security", "bookworm"),
    "3.13": ("trixie-security", "trixie"),
    "3.14": ("forky", "sid"),
}
"""Debian suites that carry the source package of a Python series, read from their Sources on 2026-11-23."""

SOURCE_PINS = {
    "3.14": "python3.14_3.14.7-4.dsc 8decf7d2e2d30a80384b96df3997d63db33e691312450aa69874664420ceda2d",
}
"""Source package and its sha256, for a mirror whose index of an unreleased suite names files that it has no longer.

Read off Debian's pool on 2026-11-23.
"""


@dataclass(frozen=True)
class Base:
    """An official image by name and, where it is known, the digest of its index."""

    name: str
    digest: "str | None"

    @property
    def ref(self) -> str:
        """The FROM string; a named context must equal it letter by letter."""
        return f"{self.name}@{self.digest}" if self.digest else self.name

    @property
    def substitute(self) -> str:
        """The name of the substitute that is made here where no registry answers."""
        return PREFIX + self.name

    @property
    def former(self) -> str:
        """The name of the substitute in an earlier torchdev."""
        return FORMER_PREFIX + self.name

    @property
    def series(self) -> "str | None":
        """The Python series of a python image, such as 3.11; None for Debian."""
        name, tag = self.name.split(":")
        return tag.split("-")[0] if name == "python" else None

    @property
    def suite(self) -> Suite:
        """The Debian release of the image."""
        return SUITES[next(part for part in re.split("[:-]", self.name) if part in SUITES)]


def suite_of(python: str) -> Suite:
    """The Debian release on which images of a Python series stand."""
    return OLDER.get(python, BOOKWORM)


def python_image(series: str, suite: Suite) -> str:
    """Name of the official image of a Python series on a Debian release."""
    return f"python:{series}-slim-{suite.name}"


@dataclass(frozen=True)
class Noted:
    """A digest in images/bases.json, with where and when it was read."""

    __pydantic_config__: ClassVar = jsonfile.STRICT

    digest: Annotated[str, jsonfile.of(texts.DIGEST)]
    read: Annotated[str, jsonfile.of(texts.SENTENCE)]
    source: Annotated[str, jsonfile.of(texts.SENTENCE)]


_ADAPTER = TypeAdapter(dict[Annotated[str, jsonfile.of(texts.OFFICIAL)], Noted])


def read_digests(path: Path) -> dict[str, str]:
    """Image name to digest, from images/bases.json; empty if there is no such file."""
    return {name: noted.digest for name, noted in _noted(path).items()}


def _noted(path: Path) -> dict[str, Noted]:
    try:
        return jsonfile.read(path, _ADAPTER)[0]
    except FileNotFoundError:
        return {}
    except jsonfile.Malformed as error:
        step = written(["git", "-C", str(path.parent), "checkout", "--", path.name])
        where = f"{path}:{error.line}"
        raise InputError(f"not a list of digests: {error.what}", where=where, next_step=step) from None


def write_digests(source: Path, path: Path, found: dict[str, str]) -> None:
    """Write digests that a registry gave into images/bases.json; the others in `source` stay.

    What another run has written there since `source` was read stays, too.
    """
    today = datetime.now(UTC).date().isoformat()
    with files.locked(path.parent):
        noted = _noted(path if path.exists() else source)
        for name, digest in found.items():
            if name not in noted or noted[name].digest != digest:
                noted[name] = Noted(digest, today, "docker.io")
        entries = {name: asdict(one) for name, one in noted.items()}
        files.write(path, json.dumps(entries, indent=2, sort_keys=True) + "\n")


def bases_of(python: str, digests: dict[str, str]) -> "tuple[Base, Base, Base]":
    """Debian, the cell's Python and the tool Python, in that order: all three of one Debian release.

    The tool Python runs on the cell's Debian while wheels are installed, so it must not need a newer glibc.
    """
    suite = suite_of(python)
    names = (suite.image, python_image(python, suite), python_image(TOOL_PYTHON, suite))
    debian, own, tool = (Base(name, digests.get(name)) for name in names)
    return debian, own, tool
