"""What is read inside a wheel: by bounds, since an index may send anything under the name of one."""

import zipfile
import zlib
from email.message import Message
from email.parser import HeaderParser

from packaging.requirements import InvalidRequirement, Requirement

from torchdev.texts import REQUIREMENT, NotOfKind, quoted

TEXT, CODE = 4_000_000, 400_000_000
"""Bytes that a text or a library in a wheel may have unpacked: many times what the largest have (0.2 and 35 MB)."""
UNREADABLE = (
    zipfile.BadZipFile, zlib.error, KeyError, EOFError, UnicodeDecodeError, NotImplementedError, RuntimeError,
)  # fmt: skip
"""What reading an archive raises that is broken, encrypted or packed in a way that wheels are not."""


def content(archive: zipfile.ZipFile, name: str, largest: int = TEXT) -> bytes:
    """A file of an archive; BadZipFile if it unpacks to more than it may."""
    if archive.getinfo(name).file_size > largest:
        raise zipfile.BadZipFile(f"{quoted(name)} in it unpacks to more than {largest:,} bytes")
    return archive.read(name)


def metadata(archive: zipfile.ZipFile) -> "Message[str, str]":
    """The METADATA of a wheel; BadZipFile if there is none, or more than one."""
    names = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA") and name.count("/") == 1]
    if len(names) != 1:
        raise zipfile.BadZipFile(f"it has {len(names)} files named METADATA, and a wheel has one")
    return HeaderParser().parsestr(content(archive, names[0]).decode("utf-8"))


def requirements(found: "Message[str, str]", *, extras: bool = True) -> "tuple[str, ...]":
    """What METADATA requires, perhaps without that of extras; NotOfKind if that is not a requirement in one line."""
    texts = [str(text) for text in found.get_all("Requires-Dist") or []]
    return tuple(_requirement(text) for text in texts if extras or "extra ==" not in text)


def _requirement(text: str) -> str:
    try:
        Requirement(REQUIREMENT.of(text))
    except InvalidRequirement:
        raise NotOfKind(f"{quoted(text)} is not {REQUIREMENT.words}") from None
    return text
