"""Walks the whole image as root and tells what may not be there: JSON on standard output. Runs on Python 3.6, too."""

import json
import os
import re
import stat
import struct
import sys

OTHERS = ("/proc", "/sys", "/dev", "/opt/programs")
"""Mounted by the engine, or put there for this very check."""


def source_of(bytecode):
    """Where the source of a file in a __pycache__ is; importlib refuses names with one more dot."""
    folder, name = os.path.split(os.path.dirname(bytecode))[0], os.path.basename(bytecode)
    return os.path.join(folder, re.sub(r"\.cpython-\d+(\.opt-\d)?\.pyc$", ".py", name))


def bytecode_is_stale(path):
    """Whether bytecode is not that of the source beside it: its header has the source's time and size (PEP 552)."""
    source = source_of(path)
    with open(path, "rb") as file:
        head = file.read(16)
    try:
        found = os.stat(source)
    except FileNotFoundError:
        return True
    if sys.version_info >= (3, 7):
        flags, time, size = struct.unpack("<III", head[4:16])
    else:
        flags, (time, size) = 0, struct.unpack("<II", head[4:12])
    return flags != 0 or time != int(found.st_mtime) & 0xFFFFFFFF or size != found.st_size & 0xFFFFFFFF


def main():
    """Walk, and print what was found."""
    found = {"writable": [], "setuid": [], "capable": [], "stale_bytecode": [], "files": 0}
    device = os.lstat("/").st_dev
    for folder, folders, names in os.walk("/"):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in OTHERS]
        for name in folders + names:
            path = os.path.join(folder, name)
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue
            if stat.S_ISLNK(status.st_mode) or (status.st_dev != device and not stat.S_ISREG(status.st_mode)):
                continue
            found["files"] += 1
            if status.st_mode & stat.S_IWOTH and not (stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX):
                found["writable"].append(path)
            if stat.S_ISREG(status.st_mode):
                if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
                    found["setuid"].append(path)
                if status.st_mode & stat.S_IXUSR and "security.capability" in os.listxattr(path, follow_symlinks=False):
                    found["capable"].append(path)
                if name.endswith(".pyc") and bytecode_is_stale(path):
                    found["stale_bytecode"].append(path)
    json.dump(found, sys.stdout)


main()
