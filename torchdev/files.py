"""Files written whole: after a kill, and for whoever reads meanwhile, there is the old content or the new."""

import os
import tempfile
from pathlib import Path

from torchdev.errors import InputError


def write(path: Path, content: "str | bytes", mode: int = 0o644) -> None:
    """Write a file by renaming a finished one, with its permissions, into its place; folders are made as needed.

    What stands at `path`, a link included, is replaced and never written through. InputError if it can't be written:
    it names the file, and what was there stays as it was.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, unfinished = tempfile.mkstemp(prefix=f".{path.name[:50]}.", suffix=".unfinished", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                os.fchmod(descriptor, mode)
                stream.write(data)
                stream.flush()
                os.fsync(descriptor)
            Path(unfinished).replace(path)
        except BaseException:
            Path(unfinished).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise unwritable(path, error) from None


def unwritable(path: Path, error: OSError) -> InputError:
    """Why a file or folder can't be written, as an error that names it."""
    step = "make room (df), or allow this user to write there"
    return InputError(f"can't be written: {error.strerror or error}", where=str(path), next_step=step)
