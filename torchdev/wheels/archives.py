"""Reads files inside a wheel, with limits on their size: an index may send anything under the name of a wheel."""

import zipfile
import zlib
from email.message import Message
from email.parser import HeaderParser

from packaging.requirements import InvalidRequirement, Requirement

from torchdev.util.texts import REQUIREMENT, NotOfKind, quoted, shown
from torchdev.wheels.remote import FETCHING

TEXT, CODE = 4_000_000, 400_000_000
"""The most bytes of an unpacked text or library: many times what the largest have (0.2 and 35 MB)."""
_BROKEN = (zlib.error, KeyError, EOFError, OSError, NotImplementedError, RuntimeError)
"""Errors of reading an archive that is broken, encrypted or packed in a way that wheels are not."""


def content(archive: zipfile.ZipFile, name: str, largest: int = TEXT) -> bytes:
    """A file of an archive; BadZipFile if it can't be read, or is larger than allowed."""
    try:
        if archive.getinfo(name).file_size > largest:
            raise zipfile.BadZipFile(f"{quoted(name)} in it unpacks to more than {largest:,} bytes")
        return archive.read(name)
    except FETCHING:
        raise
    except _BROKEN as error:
        raise zipfile.BadZipFile(f"{quoted(name)} in it can't be read: {shown(error)}") from None


def text(archive: zipfile.ZipFile, name: str) -> str:
    """A file of an archive as text; BadZipFile if it is not text."""
    try:
        return content(archive, name).decode("utf-8")
    except UnicodeDecodeError:
        raise zipfile.BadZipFile(f"{quoted(name)} in it is not UTF-8") from None


def metadata(archive: zipfile.ZipFile) -> "Message[str, str]":
    """The METADATA of a wheel; BadZipFile if there is none, or more than one."""
    names = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA") and name.count("/") == 1]
    if len(names) != 1:
        raise zipfile.BadZipFile(f"it has {len(names)} files named METADATA, and a wheel has one")
    return HeaderParser().parsestr(text(archive, names[0]))


def requirements(found: "Message[str, str]", *, extras: bool = True) -> "tuple[str, ...]":
    """The requirements in METADATA, optionally without those of extras; NotOfKind for an invalid one."""
    texts = [str(text) for text in found.get_all("Requires-Dist") or []]
    return tuple(_requirement(text) for text in texts if extras or "extra ==" not in text)


def _requirement(text: str) -> str:
    try:
        Requirement(REQUIREMENT.of(text))
    except InvalidRequirement:
        raise NotOfKind(f"{quoted(text)} is not {REQUIREMENT.words}") from None
    return text
