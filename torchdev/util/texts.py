"""Text from outside: a `Kind` with one pattern for each sort of it, checked where it enters; and how to show it.

Indexes, wheels, locks, the matrix, settings and labels are data. A text of a kind can be part of a command, a
Dockerfile, a URL or a page: no kind allows spaces, quotes, control characters, or a leading dash. Two do, and are
passed in files only: REQUIREMENT, of which uv reads one a line, and SENTENCE, which is for people; and ADDRESS may
contain `&`.
"""

import json
import re
from dataclasses import dataclass
from functools import cached_property

from torchdev.util.terminal import escaped
from torchdev.util.terminal import printable as printable

LONGEST_SHOWN = 200
"""Longer texts from outside are cut to so many characters in a message."""


class NotOfKind(ValueError):
    """A text that is not of the expected kind; the message repeats it, escaped."""


@dataclass(frozen=True)
class Kind:
    """A sort of text: its name in messages, a pattern that the whole text must match, and its greatest length.

    A text that also matches `never` is refused. Patterns mean the same to Python's `re`, to JSON schema (ECMA 262) and
    to Rust: no lookaround, and character classes are written out.
    """

    words: str
    pattern: str
    longest: int = 200
    never: str = ""

    def matches(self, text: object) -> bool:
        """Whether a value is a text of this kind."""
        return not self.refusal(text)

    @cached_property
    def _compiled(self) -> "re.Pattern[str]":
        return re.compile(self.pattern)

    def of(self, text: object) -> str:
        """The text, if it is of this kind; else NotOfKind, whatever its type."""
        if refusal := self.refusal(text):
            raise NotOfKind(refusal)
        return str(text)

    def refusal(self, text: object) -> str:
        """Why a value is not of this kind, as a sentence that can be shown; empty if it is."""
        if isinstance(text, str) and len(text) > self.longest:
            return f"{quoted(text)} is longer than {self.longest} characters"
        fits = isinstance(text, str) and self._compiled.fullmatch(text) and not _all_of(self.never, text)
        return "" if fits else f"{quoted(text)} is not {self.words}"


def _all_of(pattern: str, text: str) -> bool:
    return bool(pattern and re.fullmatch(pattern, text))


_NUMBER = r"(0|[1-9][0-9]*)"
_RELEASE = rf"({_NUMBER}!)?{_NUMBER}(\.{_NUMBER})*((a|b|rc){_NUMBER})?(\.post{_NUMBER})?(\.dev{_NUMBER})?"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
_PORT = r":(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
_REGISTRY = rf"((localhost|{_LABEL}(\.{_LABEL})+)({_PORT})?|{_LABEL}{_PORT})/"
_NETWORK_HOST = r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
"""A host name or address: also with underscores, or IPv6."""
_LOGIN = r"([A-Za-z0-9._~!$&()*+,;=:%-]*@)?"
_URL = r"A-Za-z0-9._~:@&+,=%\-"
"""Characters of the path and the query of an index's URL, beside the slash; a login may have some more."""
_COMPONENT = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = rf"({_REGISTRY})?{_COMPONENT}(/{_COMPONENT})*"
_IDENTIFIER = r"[0-9a-f]{64}"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"sha256:[0-9a-f]{64}"
_TAGS = r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*"
_UNSEEN = (
    r"\u0000-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u180b-\u180f\u200b-\u200f\u2028-\u202f\u205f-\u206f\u3164"
    r"\ufeff\uffa0\ufff0-\uffff"
)
"""Invisible characters, and those that change how others are shown: controls, marks of direction."""

PROJECT = Kind("the normalized name of a project such as typing-extensions", r"[a-z0-9]+(-[a-z0-9]+)*")
VERSION = Kind("a normalized version such as 2.13.0+cu126", rf"{_RELEASE}(\+[a-z0-9]+(\.[a-z0-9]+)*)?")
WHEEL = Kind(
    "the file name of a wheel",
    rf"[A-Za-z0-9][A-Za-z0-9._]*-[A-Za-z0-9_.!+]+(-[0-9][A-Za-z0-9_.]*)?-{_TAGS}-{_TAGS}-{_TAGS}\.whl",
    255,
)
FILE = Kind("the name of a file on an index, without odd characters", r"[A-Za-z0-9_][A-Za-z0-9._+!~-]*", 255)
REQUIREMENT = Kind(
    "a package requirement such as numpy>=2, in one line, without a URL",
    r"[A-Za-z0-9][A-Za-z0-9 ._,<>=!~;'" r'"()+*\[\]-]*',
    400,
)
SHA256 = Kind("a sha256 of 64 hexadecimal digits", r"[0-9a-f]{64}")
DIGEST = Kind("a digest such as sha256:…, with 64 hexadecimal digits", _DIGEST)
TAG = Kind("a name that can be a tag: letters, digits, points, dashes", _TAG)
ADDRESS = Kind("the http or https address of a file", r"https?://[A-Za-z0-9._~:/?#@&+,=%\[\]-]+", 2000)
REPOSITORY = Kind(
    "a repository such as torchdev or ghcr.io/owner/torchdev: lower case, no tag", _REPOSITORY, never=_IDENTIFIER
)
REFERENCE = Kind(
    "the name of an image such as ghcr.io/owner/torchdev:py311-cu130, or with @sha256:… behind it",
    rf"{_REPOSITORY}(:{_TAG})?(@{_DIGEST})?",
    400,
    never=_IDENTIFIER,
)
OFFICIAL = Kind(
    "an official base image such as debian:bookworm-slim", r"(debian:[a-z]+-slim|python:3\.[0-9]{1,2}-slim-[a-z]+)"
)
BUILDER = Kind("the name of a builder, as docker buildx ls has it", r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
DEBIAN_VERSION = Kind("the version of a Debian package such as 3.11.2-6+deb12u8", r"[0-9][A-Za-z0-9.+~:-]*")
SUITE = Kind("a suite of Debian such as bookworm-security", r"[a-z]+(-[a-z]+)*")
PLATFORM = Kind("a platform such as linux/amd64", r"linux/[a-z0-9]+(/v[0-9]+)?")
HOST_PORT = Kind("a host such as mirror.example:8080", rf"{_NETWORK_HOST}({_PORT})?", 300)
INDEX_URL = Kind(
    "a URL such as https://mirror.example/simple, with http or https, a host, and other characters percent-encoded",
    rf"https?://{_LOGIN}{_NETWORK_HOST}({_PORT})?(/[{_URL}/]*)?(\?[{_URL}/?]*)?",
    2000,
)
PROXY = Kind(
    "a proxy such as http://proxy.example:3128, with other characters percent-encoded",
    rf"((https?|socks[45][ah]?)://)?{_LOGIN}{_NETWORK_HOST}({_PORT})?/?",
    400,
)
UNPROXIED = Kind(
    "a host, a domain or a network that needs no proxy, or *",
    rf"(\*|(\*?\.)?{_NETWORK_HOST}({_PORT})?(/[0-9]{{1,3}})?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(/[0-9]{{1,3}})?)",
    300,
)
SERIES = Kind('a Python series such as "3.11"', r"3\.(0|[1-9][0-9]{0,2})")
FLAVOUR = Kind("a CUDA variant such as cu130, or cpu", r"(cpu|cu[1-9][0-9]{2})")
RELEASE = Kind('a full version such as "2.13.0"', rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}")
CUDNN = Kind('a full cuDNN version such as "9.20.0.48"', rf"{_NUMBER}(\.{_NUMBER}){{3}}")
VARIANT = Kind("a variant: plain or devel", r"(plain|devel)")
ARCH = Kind("a processor architecture: amd64 or arm64", r"(amd64|arm64)")
COMPANION = Kind("a companion: torchvision or torchaudio", r"(torchvision|torchaudio)")
GPU_ARCHITECTURE = Kind("a GPU architecture such as sm_90", r"(sm|compute)_[0-9]{2,3}[a-z]?")
DATE = Kind("a day such as 2026-11-23", r"[0-9]{4}-[01][0-9]-[0-3][0-9]")
SENTENCE = Kind(
    "one line of text that can be seen",
    rf"[^{_UNSEEN} ]([^{_UNSEEN}]*[^{_UNSEEN} ])?",
    500,
    never=r".*[\ud800-\udfff].*",
)


URL_SECRETS = re.compile(r"([a-z][a-z0-9+.-]{0,30}://)([^/@\s]*@)?([^/\s\"'?#]*)[^\s\"']*", re.IGNORECASE)
"""A URL in parts: its scheme; user and password; its host and port. The rest may contain tokens, too."""


def quoted(value: object) -> str:
    """A value of any type for a message: text in quotes, shortened, with control characters escaped."""
    return f'"{shown(value)}"' if isinstance(value, str) else shown(repr(value))


def shown(text: object, longest: int = LONGEST_SHOWN) -> str:
    """A text in one line, shortened, with everything escaped that a terminal would obey."""
    text = str(text)
    return escaped(text if len(text) <= longest else text[: longest - 1] + "…")


def few(lines: "list[str]", most: int = 20) -> str:
    """Lines for a message, indented; of many, the first ones and the number of the others."""
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join(f"  {line}" for line in [*lines[:most], *more])


def json_text(value: object, indent: "int | None" = 2) -> str:
    """JSON in printable ASCII, for programs and for terminals."""
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


def markdown_text(text: object) -> str:
    """A text escaped for a line or a table cell of Markdown."""
    return re.sub(r"([\\`*_\[\]<>|~&])", r"\\\1", escaped(str(text)))


def line_not_utf8(error: UnicodeDecodeError) -> int:
    """The line, from 1, of the first byte of a file that is not UTF-8."""
    return error.object[: error.start].count(b"\n") + 1
