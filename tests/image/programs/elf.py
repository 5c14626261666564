"""What 64-bit ELF files are made of (System V gABI). Runs on every Python from 3.6."""

import hashlib
import struct

LOAD, ALLOC = 1, 2
STRINGS, SYMBOLS = 3, 2


class Section:
    """A section: its name, its type, its flags, and where it lies in the file."""

    def __init__(self, name, kind, flags, start, size):
        """As its header says."""
        self.name, self.kind, self.flags, self.start, self.size = name, kind, flags, start, size

    @property
    def loaded(self):
        """Whether it is part of what a program finds in memory."""
        return bool(self.flags & ALLOC)

    @property
    def of_debuggers(self):
        """Whether it is a symbol table or debug information that no loader maps."""
        return not self.loaded and (self.kind == SYMBOLS or self.name.startswith(".debug"))


def sections(path):
    """The sections of a file; none if it is no ELF file, or has lost their table."""
    with open(path, "rb") as file:
        head = file.read(64)
        if head[:4] != b"\x7fELF":
            return []
        (table,) = struct.unpack_from("<Q", head, 40)
        entry, count, names = struct.unpack_from("<HHH", head, 58)
        if not count:
            return []
        file.seek(table)
        raw = file.read(entry * count)
        heads = [struct.unpack_from("<IIQQQQ", raw, number * entry) for number in range(count)]
        file.seek(heads[names][4])
        texts = file.read(heads[names][5])
    return [
        Section(texts[at : texts.index(b"\0", at)].decode(), kind, flags, start, size)
        for at, kind, flags, _, start, size in heads
    ]


def content(path, section):
    """The bytes of a section."""
    with open(path, "rb") as file:
        file.seek(section.start)
        return file.read(section.size)


def loaded(path):
    """sha256 of all that a loader goes by: each program header but where in the file, and the bytes of each segment.

    Without the headers themselves, which say where things lie in the file.
    """
    found = hashlib.sha256()
    with open(path, "rb") as file:
        head = file.read(64)
        (table,), (entry, count) = struct.unpack_from("<Q", head, 32), struct.unpack_from("<HH", head, 54)
        file.seek(table)
        raw = file.read(entry * count)
        for kind, flags, start, *rest in struct.iter_unpack("<IIQQQQQQ", raw):
            found.update(repr((kind, flags, rest)).encode())
            if kind == LOAD:
                skipped = 0 if start else table + entry * count
                file.seek(start + skipped)
                found.update(file.read(max(0, rest[2] - skipped)))
    return found.hexdigest()
