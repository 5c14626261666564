"""Files by their paths below a folder: what differs there from what should be, written; a new folder of them, made."""

import shutil
import subprocess
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from torchdev.errors import InputError

Files = dict[str, bytes]
"""Path below a folder to what is in the file."""


def differences(files: Files, root: Path, owned: "Collection[str]") -> "list[str]":
    """Paths below `root` that are missing or differ, and those of `owned` that are there and should not be."""
    changed = [name for name, data in files.items() if not _same(root / name, data)]
    return sorted(changed) + sorted(name for name in owned if name not in files and (root / name).is_file())


def committed(root: Path, folder: str) -> "frozenset[str]":
    """Paths below `root` of the files in a folder that git has, just as they are: no other copy of them is needed.

    Results of a run, and files with changes that git does not have, are not among them; without git there are none.
    """
    tracked, modified = (_git_files(root, folder, option) for option in ("--cached", "--modified"))
    return tracked - modified


def _git_files(root: Path, folder: str, option: str) -> "frozenset[str]":
    if not shutil.which("git"):
        return frozenset()
    done = subprocess.run(["git", "ls-files", "-z", option, "--", folder], cwd=root, capture_output=True, check=False)
    return frozenset(filter(None, done.stdout.decode(errors="surrogateescape").split("\0")))


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
