"""Makes output safe for terminals and logs: escapes what a terminal would obey, and hides logins.

Standard library alone, and any Python 3: it works before the environment with other packages is entered.
"""

import re
import sys
from typing import Any

HIDDEN = "[hidden]"
"""The mark that replaces a secret."""
LOGIN = re.compile(r"([a-z][a-z0-9+.-]{0,30}://)[^\s/'\"<>]*@(?!sha256:)", re.IGNORECASE)
"""User and password in a URL; NAME@sha256:... is an image. The bound keeps the time proportional to the text."""
BEFORE_AT = re.compile(r"(?<![^\s/@\"'])[^\s/@\"']+@(?!sha256:)")
"""What precedes an @, back to a space, a quote or a slash."""
USER = re.compile(r"(?:^|(?<=[(=,]))[^:()=,]+:(?=[^@])")
"""In that, a user before a password, for a host without a scheme."""


def without_logins(text: str) -> str:
    """A text without user and password in URLs, and without a password before a host."""
    return BEFORE_AT.sub(_without_password, LOGIN.sub(rf"\1{HIDDEN}@", text)) if "@" in text else text


def _without_password(found: "re.Match[str]") -> str:
    words, start = found.group(), found.start()
    user = USER.search(words, int(start > 0 and found.string[start - 1] in "/@"))
    return f"{words[: user.end()]}{HIDDEN}@" if user else words


def escaped(text: str) -> str:
    """A text whose unprintable characters are escaped as Python would."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def printable(text: str) -> str:
    """A text of several lines, without logins: all that is neither printable, a tab nor a line end is escaped."""
    return re.sub(r"[^\t\n]+", lambda match: escaped(match.group()), without_logins(text))


class Shown:
    """A stream that escapes what a terminal would obey before it passes a text on to another stream."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write a text with characters that the stream's encoding has, escaped where needed."""
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        self.stream.write(printable(text).encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: "list[str]") -> None:
        """Write some texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def guard() -> None:
    """Guard standard output and error of this process from now on."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, Shown):
            setattr(sys, name, Shown(stream))


def drawable(stream: Any) -> Any:
    """The unguarded stream, for drawing on a terminal by code that escapes texts itself."""
    return stream.stream if isinstance(stream, Shown) else stream
