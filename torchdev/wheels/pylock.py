"""Reads pylock.toml (PEP 751), which uv writes from what indexes send; every value is validated."""

import tomllib
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name

from torchdev.catalog.wheel_name import parsed
from torchdev.util import texts
from torchdev.util.texts import NotOfKind, quoted


@dataclass(frozen=True, kw_only=True)
class Link:
    """A wheel file: its URL or path; sha256, bytes and upload time, if the index gives them."""

    file: str
    location: str
    sha256: "str | None"
    size: "int | None"
    uploaded: "datetime | None" = None


@dataclass(frozen=True)
class Resolved:
    """A resolved release of a project, by normalized name, and all its wheels."""

    name: str
    version: str
    wheels: tuple[Link, ...]

    @property
    def links(self) -> dict[str, Link]:
        """The wheels by their file names."""
        return {link.file: link for link in self.wheels}

    @property
    def uploaded(self) -> "datetime | None":
        """When the first of its wheels was uploaded, if that is known."""
        return min((link.uploaded for link in self.wheels if link.uploaded), default=None)


def read(text: str) -> "list[Resolved]":
    """The releases in a pylock.toml; NotOfKind if the file or any value is invalid."""
    try:
        entries: list[dict[str, Any]] = tomllib.loads(text).get("packages", [])
        return [_resolved(entry) for entry in entries]
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        raise NotOfKind(f"uv's pylock.toml has another form than PEP 751 gives it: {texts.shown(error)}") from None


def _resolved(entry: "dict[str, Any]") -> Resolved:
    name = texts.PROJECT.of(canonicalize_name(entry["name"]))
    if "version" not in entry or not entry.get("wheels"):
        raise NotOfKind(f"{name} has no wheels")
    version = texts.VERSION.of(entry["version"])
    return Resolved(name, version, tuple(_link(wheel, name, version) for wheel in entry["wheels"]))


def _location(wheel: "dict[str, Any]") -> "tuple[str, bool]":
    """The location of a wheel, and whether it is remote; for a local wheel uv writes a path or a file: URL."""
    if "url" not in wheel:
        return str(wheel["path"]), False
    url = str(wheel["url"])
    if url.startswith("file:///"):
        return unquote(urlsplit(url).path), False
    return texts.ADDRESS.of(url), True


def _link(wheel: "dict[str, Any]", name: str, version: str) -> Link:
    """A wheel of a release; uv, pip and builds take its name from the URL."""
    location, remote = _location(wheel)
    file = unquote(urlsplit(location).path.rpartition("/")[2]) if remote else location.rpartition("/")[2]
    if wheel.get("name", file) != file:
        raise NotOfKind(f"{quoted(wheel['name'])} of {name} is at {quoted(location)}, the address of another file")
    found = parsed(texts.WHEEL.of(file))
    if (found.project, found.version) != (name, version):
        raise NotOfKind(f"{file} is listed as a wheel of {name} {version}")
    sha256, size, uploaded = wheel.get("hashes", {}).get("sha256"), wheel.get("size"), wheel.get("upload-time")
    time = uploaded if isinstance(uploaded, datetime) and uploaded.tzinfo else None
    return Link(
        file=file,
        location=location,
        sha256=None if sha256 is None else texts.SHA256.of(sha256),
        size=size,
        uploaded=time,
    )
