"""Writes files as a whole, so that a kill leaves the old content or the new; reads only plain files."""

import contextlib
import errno
import fcntl
import glob
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote

from torchdev.util.errors import InputError
from torchdev.util.faults import MACHINE

UNFINISHED = ".*.unfinished"
"""The suffix of files that are being written; a killed writer leaves such a file, which may be removed."""


def write(path: Path, content: "str | bytes", mode: int = 0o644) -> None:
    """Write a file by renaming a finished one, with its permissions, to its path; folders are created as needed.

    What exists at `path`, a link included, is replaced and never written through. InputError, which names the file, if
    it can't be written: then the old content stays. Leftovers of killed writers of the same file are removed.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        descriptor, unfinished = _begun(path)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                os.fchmod(descriptor, mode)
                stream.write(data)
                stream.flush()
                os.fsync(descriptor)
                Path(unfinished).replace(path)  # before it is closed: after that, other writers may remove it
        except BaseException:
            Path(unfinished).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise unwritable(path, error) from None


def _begun(path: Path) -> "tuple[int, str]":
    """A new file beside another, by its open descriptor and name; locked as long as its writer lives."""
    while True:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:50]}.", suffix=".unfinished", dir=path.parent)
        with contextlib.suppress(OSError):  # a file system without locks: then no writer removes leftovers, either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, name
        os.close(descriptor)  # another writer has removed it before it was locked


def _remove_leftovers(path: Path) -> None:
    """Remove what killed writers of a file have left beside it: such files are not locked."""
    for leftover in path.parent.glob(f".{glob.escape(path.name[:50])}.????????.unfinished"):
        with contextlib.suppress(OSError):
            descriptor = os.open(leftover, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                leftover.unlink()
            finally:
                os.close(descriptor)


@contextlib.contextmanager
def temporary(prefix: str) -> "Iterator[tuple[Path, int]]":
    """A temporary folder, removed afterwards, and the descriptor that marks it as in use.

    A child that inherits the descriptor holds the folder, too. Folders of killed runs, which nobody holds, are removed.
    """
    for leftover in Path(tempfile.gettempdir()).glob(f"{glob.escape(prefix)}*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(leftover, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.fstat(descriptor).st_uid == os.geteuid():
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(leftover, ignore_errors=True)
            finally:
                os.close(descriptor)
    folder, descriptor = _marked(prefix)
    try:
        yield folder, descriptor
    finally:
        os.close(descriptor)
        shutil.rmtree(folder, ignore_errors=True)


def _marked(prefix: str) -> "tuple[Path, int]":
    """A new temporary folder, and its descriptor, locked while a process has it open."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        with contextlib.suppress(FileNotFoundError):  # another run removed it before it was locked
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with contextlib.suppress(OSError):  # a file system without locks: no other run can remove it, either
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return folder, descriptor
            os.close(descriptor)


LARGEST = 64 * 1024 * 1024
"""The largest size, in bytes, of a file that is read as a whole, unless its reader says otherwise."""


def read(path: Path, largest: int = LARGEST) -> bytes:
    """The bytes of a file; FileNotFoundError if there is none, InputError if it can't be read or is no plain file.

    A pipe, a device, a folder or a loop of links is never opened, because reading it might not end.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise unreadable(path, "it is not a file")
        with path.open("rb") as stream:
            data = stream.read(largest + 1)
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise unreadable(path, "it is a broken link") from None
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
    except OSError as error:
        raise unreadable(path, error.strerror or str(error)) from None
    if len(data) > largest:
        raise unreadable(path, f"it is larger than {largest:,} bytes")
    return data


def is_endless(path: Path) -> bool:
    """Whether reading a path might never end: a pipe, a socket, or a device other than /dev/null."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or path.samefile(os.devnull))


def unreadable(path: Path, why: str) -> InputError:
    """The error for a file that can't be read."""
    return InputError(f"can't be read: {why}", where=str(path), next_step=f"look at it: ls -ld {quote(str(path))}")


def check_output(path: Path, step: str = "name another file") -> None:
    """Check a path for output, before the work whose result is to be written there."""
    if path.exists() and not path.is_file():
        raise InputError("it exists and is no plain file", where=str(path), next_step=step)
    folder = next(folder for folder in Path(os.path.realpath(path)).parents if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise unwritable(path, error) from None


def unwritable(path: Path, error: OSError) -> InputError:
    """The error for a file or folder that can't be written."""
    step = MACHINE.get(error.errno or 0, "make room (df), or allow this user to write there")
    return InputError(f"can't be written: {error.strerror or error}", where=str(path), next_step=step)


@contextlib.contextmanager
def locked(folder: Path) -> "Iterator[None]":
    """Lock a folder against other runs that write there, if its file system has locks."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise unwritable(folder, error) from None
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def create(folder: Path, made: "Mapping[str, tuple[bytes, int]]") -> None:
    """Create a folder of files, given as path to content and mode: all or nothing. It may exist if it is empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        step = "name another, or remove it"
        raise InputError("it exists and is not an empty folder; nothing was written", where=str(folder), next_step=step)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as unfinished:
            whole = Path(unfinished) / folder.name
            for name, (data, mode) in made.items():
                write(whole / name, data, mode)
            if folder.exists():
                folder.rmdir()
            whole.rename(folder)
    except (OSError, InputError) as error:
        why = error.strerror if isinstance(error, OSError) else error.what.removeprefix("can't be written: ")
        step = "name another folder: --out FOLDER"
        raise InputError(f"can't be written: {why}", where=str(folder), next_step=step) from None
