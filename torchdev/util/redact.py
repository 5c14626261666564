"""Removes secrets from texts: logs, messages and outputs may repeat what children and indexes say. Pure."""

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import quote, unquote, urlsplit

from torchdev.util.terminal import HIDDEN, LOGIN

SHORTEST = 4
"""A shorter password may be part of a text by chance, and is hidden inside URLs only."""
QUERY = re.compile(r"\?[^#]+")
URL = re.compile(r"\bhttps?://[^\s'\"<>]+", re.IGNORECASE)
PLAIN_SEGMENTS = frozenset(
    {
        "artifactory",
        "download",
        "downloads",
        "mirrors",
        "packages",
        "repositories",
        "repository",
        "+simple",
        "_packaging",
    }
)
"""Parts of an index's path that are not secret, and may be words of a log."""
PLAIN = re.compile(r"v?[0-9.]{1,6}|cpu|cu[0-9]{2,3}|[a-z]{1,7}", re.ASCII)
"""More such parts: versions, CUDA variants of PyTorch, short words such as simple or pypi."""


def urls(text: str) -> str:
    """A text whose URLs have neither user, password nor query; for where the machine's settings are not known."""
    return URL.sub(lambda url: QUERY.sub(f"?{HIDDEN}", url[0]), LOGIN.sub(rf"\1{HIDDEN}@", text))


@dataclass(frozen=True)
class Redactor:
    """Replaces secrets by a mark: words anywhere, and parts of an index's path in any URL."""

    words: frozenset[str] = frozenset()
    segments: frozenset[str] = frozenset()

    def __call__(self, text: str) -> str:
        """The text without secrets, and with URLs without users, passwords and queries."""
        text = urls(text)
        if self.segments:
            text = URL.sub(lambda match: self._without_segments(match[0]), text)
        return self._pattern.sub(HIDDEN, text) if self.words else text

    @property
    def tokens(self) -> frozenset[str]:
        """Parts of an index's path that look like tokens; a cache that stores URLs would store them."""
        return self.segments & self.words

    @cached_property
    def _pattern(self) -> "re.Pattern[str]":
        longest_first = sorted(self.words, key=lambda word: (-len(word), word))
        return re.compile("|".join(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])" for word in longest_first))

    def _without_segments(self, url: str) -> str:
        return "/".join(HIDDEN if part in self.segments else part for part in url.split("/"))


def redactor(indexes: "Iterable[str]", proxies: "Iterable[str]", passwords: "Iterable[str]") -> Redactor:
    """A redactor for the secrets of these indexes' and proxies' URLs, and for these passwords."""
    indexes = tuple(indexes)
    words = {form for url in (*indexes, *proxies) for secret in _userinfo(url) for form in _forms(secret)}
    words |= {form for password in passwords for form in _forms(password)}
    segments = {part for url in indexes for part in _segments(url)}
    words |= {part for part in segments if _is_token(part)}
    return Redactor(frozenset(word for word in words if len(word) >= SHORTEST), frozenset(segments))


def _userinfo(url: str) -> "Iterator[str]":
    """The password of a URL, or its user if it has no password; and both as in a request's header."""
    userinfo, at, _ = url.partition("://")[2].partition("/")[0].rpartition("@")
    user, _, password = userinfo.partition(":")
    if at:
        yield password or user
        yield base64.b64encode(unquote(userinfo).encode()).decode()


def _forms(secret: str) -> "set[str]":
    """A secret as it may appear in URLs and messages."""
    plain = unquote(secret)
    return {secret, plain, quote(plain, safe=""), quote(plain)}


def _segments(url: str) -> "Iterator[str]":
    """The parts of a URL's path, and the values of its query, that may be secret."""
    parts = urlsplit(url)
    for part in (*parts.path.split("/"), *re.split(r"[=&]", parts.query)[1::2]):
        if part and part.lower() not in PLAIN_SEGMENTS and not PLAIN.fullmatch(part):
            yield from _forms(part)


def _is_token(part: str) -> bool:
    """Whether a part of a path looks like a token, so that it is hidden outside URLs, too; ordinary words do not."""
    return len(part) >= 2 * SHORTEST and not re.fullmatch(r"[a-z]+([._-][a-z]+)*", part)


@dataclass(frozen=True)
class Private:
    """What only one child may know: variables of its environment, and a redactor for its output."""

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    clean: "Callable[[str], str]" = urls
