"""What the words of a command line may be: texts, names, numbers; one that may not is refused with what is wrong.

Standard library alone, as the parser that uses it.
"""

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path

from torchdev.util import texts


def text(word: str) -> str:
    """A text that is not empty: an empty one comes from a script whose variable was not set."""
    if not word.strip():
        raise _refused("it is empty; leave the option out, or give it a value")
    if "\0" in word or not _encodable(word):
        raise _refused(f"{texts.quoted(word)} has a character that no file, name or command can have")
    return word


def path(word: str) -> Path:
    """A path of this machine, which may hold bytes that are no UTF-8."""
    return Path(text(word))


def builder(word: str) -> str:
    """The name of a builder of buildx."""
    return _of(texts.BUILDER, text(word))


def repository(word: str) -> str:
    """A repository to push to or to take a cache from: without tag and digest, which torchdev adds."""
    text(word)
    if "://" in word:
        raise _refused(f"{texts.quoted(word)} is a URL; a repository begins with its host: ghcr.io/owner/torchdev")
    if "@" in word or ":" in word.rpartition("/")[2]:
        raise _refused(f"{texts.quoted(word)} has a tag or a digest; name the repository alone")
    if word != word.lower():
        raise _refused(f"{texts.quoted(word)} has upper case, which no repository has")
    return _of(texts.REPOSITORY, word)


def whole(least: int, most: int) -> "Callable[[str], int]":
    """A whole number from `least` to `most`, in digits."""

    def number(word: str) -> int:
        found = int(word) if re.fullmatch("[0-9]{1,18}", word) else -1
        if not least <= found <= most:
            raise _refused(f"{texts.quoted(word)} is not a whole number from {least} to {most}")
        return found

    return number


def gigabytes(word: str) -> int:
    """Bytes from a number of GB such as 120 or 0.5."""
    found = int(float(word) * 1e9) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", word) else 0
    if not found:
        raise _refused(f"{texts.quoted(word)} is not a number of GB such as 120 or 0.5")
    return found


def _of(kind: texts.Kind, word: str) -> str:
    try:
        return kind.of(word)
    except texts.NotOfKind as error:
        raise _refused(str(error)) from None


def _encodable(word: str) -> bool:
    try:
        os.fsencode(word)
    except UnicodeEncodeError:
        return False
    return True


def _refused(why: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(why)
