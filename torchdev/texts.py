"""Text from outside: one kind with one pattern for each sort of it, checked where it enters; how it is shown.

Indexes, wheels, locks, the matrix, settings and labels are data. A text that is a `Kind`'s can stand in a command, a
Dockerfile, a URL or a page: no kind admits spaces, quotes, control characters, or a leading dash, unless its
description says so.
"""

import re
from dataclasses import dataclass
from functools import cached_property

LONGEST_SHOWN = 200
"""Characters of a text from outside that a message repeats."""


class NotOfKind(ValueError):
    """A text that is not of the kind that was expected; its message repeats the text, safe to be shown."""


@dataclass(frozen=True)
class Kind:
    """A sort of text: what it is called in a message, the pattern that all of it matches, and its greatest length."""

    words: str
    pattern: str
    longest: int = 200

    def matches(self, text: object) -> bool:
        """Whether a value is a text of this kind."""
        return isinstance(text, str) and len(text) <= self.longest and bool(self._compiled.fullmatch(text))

    @cached_property
    def _compiled(self) -> "re.Pattern[str]":
        return re.compile(self.pattern, re.ASCII)

    def of(self, text: object) -> str:
        """The text, if it is of this kind; NotOfKind otherwise, whatever its type."""
        if not self.matches(text):
            raise NotOfKind(f"{quoted(text)} is not {self.words}")
        return str(text)


_NAME = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"
_RELEASE = r"([0-9]+!)?[0-9]+(\.[0-9]+)*((a|b|rc)[0-9]+)?(\.post[0-9]+)?(\.dev[0-9]+)?"
_HOST = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
_COMPONENT = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
_TAGS = r"[a-z0-9_]+(\.[a-z0-9_]+)*"

PROJECT = Kind("the normalized name of a project such as typing-extensions", r"[a-z0-9]+(-[a-z0-9]+)*")
VERSION = Kind("a normalized version such as 2.13.0+cu126", rf"{_RELEASE}(\+[a-z0-9]+(\.[a-z0-9]+)*)?")
WHEEL = Kind(
    "the file name of a wheel",
    rf"[A-Za-z0-9][A-Za-z0-9._]*-[A-Za-z0-9_.!+]+(-[0-9][A-Za-z0-9_.]*)?-{_TAGS}-{_TAGS}-{_TAGS}\.whl",
    255,
)
SHA256 = Kind("a sha256 of 64 hexadecimal digits", r"[0-9a-f]{64}")
DIGEST = Kind("a digest such as sha256:…, with 64 hexadecimal digits", r"sha256:[0-9a-f]{64}")
TAG = Kind("a tag: letters, digits, points, dashes", r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
REPOSITORY = Kind(
    "a repository such as torchdev or ghcr.io/owner/torchdev",
    rf"({_HOST}(:[0-9]{{1,5}})?/)?{_COMPONENT}(/{_COMPONENT})*",
    255,
)
PLATFORM = Kind("a platform such as linux/amd64", r"linux/[a-z0-9]+(/v[0-9]+)?")
SERIES = Kind('a Python series such as "3.11"', r"3\.(0|[1-9][0-9]*)", 8)


def quoted(value: object) -> str:
    """A value of any type as a message repeats it: a text in quotes, shortened, and without control characters."""
    return f'"{shown(value)}"' if isinstance(value, str) else shown(repr(value))


def shown(text: object, longest: int = LONGEST_SHOWN) -> str:
    """A text in one line, shortened: what a terminal would obey instead of show is escaped."""
    text = str(text)
    return _escaped(text if len(text) <= longest else text[: longest - 1] + "…")


def printable(text: str) -> str:
    """A text of several lines for a terminal or a log: all that is neither printable nor a line's end is escaped."""
    return re.sub(r"[^\t\n]+", lambda match: _escaped(match[0]), text)


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
