"""Files by their paths below a folder: what differs there from what should be, written; a new folder of them, made."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from torchdev.errors import InputError

Files = dict[str, bytes]
"""Path below a folder to what is in the file."""


def differences(files: Files, root: Path, owned: str) -> "list[str]":
    """Paths below `root` that are missing or differ, and those below its folder `owned`, if any, that should not be."""
    changed = [name for name, data in files.items() if not _same(root / name, data)]
    found = [path for path in (root / owned).rglob("*") if not path.is_dir()] if owned else []
    return sorted(changed) + sorted(name for path in found if (name := path.relative_to(root).as_posix()) not in files)


def update(files: Files, root: Path, changed: "list[str]") -> None:
    """Write, below `root`, those of `changed` that should be there, and remove the others."""
    for name in changed:
        if name in files:
            _write(root / name, files[name])
        else:
            (root / name).unlink()


def create(files: "Mapping[str, bytes]", folder: Path) -> None:
    """Make a folder of files that is not there yet, or is empty: whole or not at all."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        step = "name another, or remove it"
        raise InputError("it is there, and not an empty folder; nothing was written", where=str(folder), next_step=step)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as unfinished:
            whole = Path(unfinished) / folder.name
            for name, data in files.items():
                _write(whole / name, data)
            if folder.exists():
                folder.rmdir()
            whole.rename(folder)
    except OSError as error:
        step = "name another folder: --out FOLDER"
        raise InputError(f"can't be written: {error.strerror}", where=str(folder), next_step=step) from None


def _same(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data and path.stat().st_mode & 0o100 == _mode(path.name) & 0o100


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(_mode(path.name))


def _mode(name: str) -> int:
    return 0o755 if name.endswith(".sh") else 0o644
