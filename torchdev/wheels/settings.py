"""Settings of package indexes, in a form common to pip and uv; every value is validated. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from torchdev.util import redact, texts
from torchdev.util.errors import InputError

PYPI_INDEX = "https://pypi.org/simple/"
"""The default index of pip and uv. Importing it from pypi_simple takes a sixth of a second."""
TIMEOUT = 60
"""Seconds that pip or uv may take to print its configuration."""


@dataclass(frozen=True)
class Location:
    """A URL or a path, and the setting that names it."""

    text: str = field(repr=False)
    where: str

    @property
    def folder(self) -> "Path | None":
        """The folder that it names on this disk; None for a remote location."""
        scheme = urlsplit(self.text).scheme
        if scheme == "file":
            return Path(unquote(urlsplit(self.text).path))
        return None if scheme in ("http", "https") else Path(self.text)

    def checked(self) -> "Location":
        """The location itself; InputError if it is neither a path nor a URL that builds can use."""
        if self.folder and ("://" not in self.text or self.text.startswith(("file:///", "file://localhost/"))):
            if not self.text or not self.text.isprintable():
                raise refusal("is neither a URL nor a path", self.where)
            return self
        if not texts.INDEX_URL.matches(self.text):
            raise refusal(f"{texts.quoted(redact.urls(self.text))} is not {texts.INDEX_URL.words}", self.where)
        return self


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Indexes, pages and folders of wheels; `trusted` are hosts whose certificates are not verified.

    With `no_index`, no index may be asked. `lenient`: a missing folder gives a note and no error.
    """

    index: "Location | None" = None
    extra: tuple[Location, ...] = ()
    links: tuple[Location, ...] = ()
    no_index: bool = False
    trusted: tuple[str, ...] = ()
    cert: "Location | None" = None
    lenient: bool = False


def refusal(what: str, where: str, step: str = "mend that setting, or take it away") -> InputError:
    """The error for a setting of this machine that can't be used; no setting is ignored."""
    return InputError(what, where=where, next_step=step)


def locations(values: "Iterable[str]", where: str) -> tuple[Location, ...]:
    """Locations that one setting names, each checked."""
    return tuple(Location(value, where).checked() for value in values)


def hosts(values: "Iterable[str]", where: str) -> tuple[str, ...]:
    """Hosts, with a port or without, that one setting names."""
    found = tuple(values)
    for value in found:
        if not texts.HOST_PORT.matches(value):
            raise refusal(f"{texts.quoted(value)} is not {texts.HOST_PORT.words}", where)
    return found
