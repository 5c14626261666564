"""Logins of .netrc: parsed as pip and requests do, and written for builds with only the hosts of indexes."""

import netrc
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from torchdev.util import files, texts
from torchdev.util.errors import InputError
from torchdev.wheels.settings import refusal


@dataclass(frozen=True)
class Login:
    """A login for a host."""

    host: str
    user: str
    password: str = field(repr=False)


def read(path: Path, urls: "Iterable[str]") -> tuple[Login, ...]:
    """The logins in a .netrc for the hosts of some URLs; InputError if pip or uv could not read the file."""
    found = _entries(path)
    hosts = dict.fromkeys(host for url in urls if (host := urlsplit(url).hostname))
    logins = []
    for host in hosts:
        entry = found.authenticators(host)
        if entry:
            user, _, password = entry
            logins.append(Login(host, _checked(user or "", path), _checked(password or "", path)))
    return tuple(logins)


def as_netrc(logins: "Iterable[Login]") -> str:
    """A .netrc with only these logins."""
    return "".join(f"machine {x.host} login {_quoted(x.user)} password {_quoted(x.password)}\n" for x in logins)


def open_to_others(path: Path) -> bool:
    """Whether other users of this machine can read a file."""
    return bool(path.stat().st_mode & 0o044)


def _entries(path: Path) -> netrc.netrc:
    if files.is_endless(path):
        raise _refusal("can't be read: it is not a file", path)
    try:
        return netrc.netrc(path)
    except netrc.NetrcParseError as error:
        what = re.sub(
            r"[\s:]*['\"].*", "", str(error.msg)
        )  # the rest of the message repeats a word, which may be the password
        raise _refusal(f"not a .netrc: {what}", path, error.lineno) from None
    except (OSError, ValueError) as error:
        raise _refusal(f"can't be read: {getattr(error, 'strerror', None) or type(error).__name__}", path) from None


def _refusal(what: str, path: Path, line: "int | None" = None) -> InputError:
    return refusal(what, f"{path}:{line}" if line else str(path), "mend it: machine HOST login USER password PASSWORD")


def _checked(word: str, path: Path) -> str:
    if not word.isprintable():
        raise _refusal(f"a word with control characters: {texts.quoted(re.sub('[ -~]', '', word))}", path)
    return word


def _quoted(word: str) -> str:
    """A word in netrc's grammar; quoted only if necessary, because older parsers know no quotes."""
    if re.fullmatch(r"[^\s\"\\#]+", word):
        return word
    return '"' + re.sub(r"([\"\\])", r"\\\1", word) + '"'
