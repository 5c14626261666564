"""What 64-bit ELF files are made of (System V gABI). Runs on every Python from 3.6."""

import hashlib
import struct

ALLOC = 2
STRINGS, SYMBOLS, NOBITS = 3, 2, 8


class Section:
    """A section: its name, its type, whether a loader maps it and to which address, and where it lies in the file."""

    def __init__(self, name, kind, flags, address, start, size):
        """As its header says."""
        self.name, self.kind, self.flags, self.address, self.start, self.size = name, kind, flags, address, start, size

    @property
    def loaded(self):
        """Whether it is part of what a program finds in memory."""
        return bool(self.flags & ALLOC)

    @property
    def of_debuggers(self):
        """Whether it is a symbol table or debug information that no loader maps."""
        return not self.loaded and (self.kind == SYMBOLS or self.name.startswith(".debug"))


def sections(path):
    """The sections of a file; none if it is no ELF file."""
    with open(path, "rb") as file:
        head = file.read(64)
        if head[:4] != b"\x7fELF":
            return []
        (table,) = struct.unpack_from("<Q", head, 40)
        entry, count, names = struct.unpack_from("<HHH", head, 58)
        file.seek(table)
        raw = file.read(entry * count)
        heads = [struct.unpack_from("<IIQQQQ", raw, number * entry) for number in range(count)]
        file.seek(heads[names][4])
        texts = file.read(heads[names][5])
    return [Section(texts[at : texts.index(b"\0", at)].decode(), *rest) for at, *rest in heads]


def content(path, section):
    """The bytes of a section."""
    with open(path, "rb") as file:
        file.seek(section.start)
        return file.read(section.size)


def loaded(path):
    """sha256 of all that a loader maps: of each such section, by address, its name, type, flags, address and bytes."""
    found = hashlib.sha256()
    for section in sorted(sections(path), key=lambda section: (section.address, section.name)):
        if section.loaded:
            found.update(repr((section.name, section.kind, section.flags, section.address, section.size)).encode())
            found.update(b"" if section.kind == NOBITS else content(path, section))
    return found.hexdigest()
