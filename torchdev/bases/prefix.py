"""Packs an installed Python into an archive: the files that an official image has, moved to /usr/local."""

import hashlib
import io
import os
import platform
import re
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from torchdev.catalog.versions import order
from torchdev.catalog.wheel_name import ARCHITECTURES
from torchdev.image.plan import EPOCH
from torchdev.util.errors import InputError

OPTION = "--python-prefix"
HOME = "/usr/local"
"""Where Python is in the official images."""
ELF = b"\x7fELF"
MACHINES = {"linux/amd64": 62, "linux/arm64": 183}
"""Platform to the e_machine of its programs, by the ELF specification."""
PLATFORM = f"linux/{ARCHITECTURES.get(platform.machine(), platform.machine())}"
"""The platform of this machine and of everything installed on it."""
MACHINE_NAMES = {3: "32-bit x86", 40: "32-bit ARM", 62: "x86-64", 183: "ARM 64", 243: "RISC-V"}
EXCLUDED = frozenset({"__pycache__", "site-packages", "test", "tests", "idle_test"})
"""Folders of the library that the substitute lacks: tests, as the official image does; other packages, on purpose."""
OF_THE_MACHINE = frozenset({"EXTERNALLY-MANAGED", "sitecustomize.py", "usercustomize.py"})
"""Files by which the machine's owner, or an installer such as uv, makes a Python fit the machine."""


@dataclass(frozen=True)
class Prefix:
    """An installed Python: its series, its folder, and the prefix that it was compiled for."""

    series: str
    root: Path
    compiled_for: str


def parse(options: "Iterable[str]") -> "dict[str, Path]":
    """Python series to folder, from options such as 3.8=/opt/python3.8; a malformed one is an InputError."""
    found: dict[str, Path] = {}
    for text in options:
        match = re.fullmatch(r"(3\.[0-9]+)=(.+)", text)
        if not match:
            what = f'"{text}" is not a Python series, an equals sign and a folder'
            raise InputError(what, where=OPTION, next_step=f"write it as {OPTION} 3.8=/opt/python3.8")
        series, folder = match.groups()
        if series in found:
            raise InputError(f"Python {series} is given twice", where=OPTION, next_step="leave one of them out")
        found[series] = Path(folder)
    return found


def read_prefix(series: str, folder: Path) -> Prefix:
    """Look at an installed Python without running it; InputError if no substitute can be made of it."""
    root = Path(os.path.normpath(folder.expanduser().absolute()))
    with _readable(series):
        refusal = _no_prefix(series, root) or _no_program(root / "bin" / f"python{series}") or _incomplete(series, root)
        if refusal:
            what, step = refusal
            raise InputError(f"{what}: {root}", where=f"{OPTION} {series}", next_step=step)
        return Prefix(series, root, _compiled_for(root / "lib" / f"python{series}") or str(root))


@contextmanager
def _readable(series: str) -> Iterator[None]:
    """Turn what the operating system refuses into an InputError."""
    try:
        yield
    except OSError as error:
        step = "see to it that this user can read that whole folder"
        raise InputError(str(error), where=f"{OPTION} {series}", next_step=step) from None


Refusal = tuple[str, str]
"""What is wrong, and what to do."""


def _no_prefix(series: str, root: Path) -> "Refusal | None":
    give = f"give what Python {series} itself says: python{series} -c 'import sys; print(sys.base_prefix)'"
    if not root.is_dir():
        return ("this is a file, and not the folder" if root.exists() else "there is no such folder"), give
    if (root / "pyvenv.cfg").exists():
        return "this is a virtual environment, which has no Python of its own", give
    if root.resolve() == Path("/usr"):
        step = "compile one into a folder of its own, as pyenv does"
        return "this is the system's own Python, which is changed to fit the system alone", step
    named = {path.name.removeprefix("python") for path in root.glob("bin/python3.*")}
    others = sorted((name for name in named if re.fullmatch(r"3\.[0-9]+", name)), key=order)
    if series not in others:
        wrong = f"this is Python {', '.join(others)}, not {series}" if others else f"no bin/python{series} is in it"
        return wrong, give
    return None


def _no_program(path: Path) -> "Refusal | None":
    """Why a program can't be used, by its ELF header; empty if it can."""
    with path.open("rb") as file:
        head = file.read(4096)
    if not head.startswith(ELF):
        step = "give the folder of the real program, not of a script that looks for it (a pyenv shim, say)"
        return f"bin/{path.name} is not a program", step
    machine = int.from_bytes(head[18:20], "little")
    if machine != MACHINES.get(PLATFORM):
        name = MACHINE_NAMES.get(machine, f"another processor ({machine})")
        return f"bin/{path.name} is for {name}, not for {PLATFORM}", f"give one that is compiled for {PLATFORM}"
    if b"ld-musl" in head:
        return f"bin/{path.name} is for musl, and Debian has glibc", "give one that is compiled on Debian"
    return None


def _incomplete(series: str, root: Path) -> "Refusal | None":
    """Which files, needed for the substitute, an installed Python does not have."""
    library = f"lib/python{series}"
    for wanted in (f"{library}/os.py", f"include/python{series}*/Python.h", f"{library}/ensurepip/_bundled/pip-*.whl"):
        if not any(root.glob(wanted)):
            step = f"give a whole Python {series}, with its headers and ensurepip, as `make install` leaves it"
            return f"no {wanted} is in it", step
    return None


def _compiled_for(library: Path) -> "str | None":
    """The prefix that was configured when a Python was compiled; its folder may have been moved since."""
    for path in sorted(library.glob("_sysconfigdata*.py")):
        match = re.search(r"^ *'prefix': '(/[^']+)'", path.read_text(encoding="utf-8"), re.MULTILINE)
        if match:
            return match[1].rstrip("/")
    return None


def wanted(path: PurePosixPath, series: str) -> bool:
    """Whether a file, by its path in the prefix, belongs to the interpreter, its library, headers or manual."""
    top, name = path.parts[0], path.name
    if top == "bin":
        own = rf"python{series}m?(-config)?|(2to3|pyvenv)-{series}|(idle|pydoc){series}"
        return re.fullmatch(own.replace(".", r"\."), name) is not None
    if name.endswith((".pyc", ".pyo")) or re.fullmatch(r"libpython.*\.a", name) or name in OF_THE_MACHINE:
        return False
    if top == "lib" and len(path.parts) == 2:
        return re.match(rf"libpython({re.escape(series)}m?|3)\.so", name) is not None
    if path.parts[:2] == ("lib", "pkgconfig"):
        return re.fullmatch(rf"python-?({re.escape(series)}m?|3)(-embed)?\.pc", name) is not None
    if path.parts[:2] == ("lib", f"python{series}"):
        return not EXCLUDED.intersection(path.parts[2:-1])
    if top == "share":
        return name in (f"python{series}.1", "python3.1")
    return top == "include" and path.parts[1] in (f"python{series}", f"python{series}m")


def files(prefix: Prefix) -> "list[PurePosixPath]":
    """The files of a prefix that go into the substitute, sorted."""
    found = []
    for top in ("bin", "include", "lib", "share/man/man1"):
        for folder, folders, names in os.walk(prefix.root / top):
            folders[:] = [name for name in folders if name not in EXCLUDED]
            paths = (PurePosixPath(Path(folder, name).relative_to(prefix.root)) for name in names)
            found += [path for path in paths if wanted(path, prefix.series)]
    return sorted(found)


def relocated(data: bytes, olds: "Iterable[str]") -> bytes:
    """A file's content with its prefix changed to /usr/local; programs stay unchanged.

    In a program the prefix is only the last place where Python looks for its library, after the folder of the program.
    And the end of the prefix may be another string, too: a linker stores "/versions/3.8.18" and the version "3.8.18" as
    one string.
    """
    if data.startswith(ELF):
        return data
    for old in sorted({old.encode() for old in olds} - {HOME.encode()}, key=len, reverse=True):
        # Not in the middle of another path, but after an option such as -L.
        pattern = rb"(?:(?<![\w/})-])|(?<=-[LIR]))" + re.escape(old) + rb"(?![\w.-])"
        data = re.sub(pattern, HOME.encode(), data)
    return data


def pack(prefix: Prefix, archive: Path) -> str:
    """Write the substitute's part of a prefix as a tar archive; its sha256, which depends on the content alone."""
    olds = {prefix.compiled_for, str(prefix.root), str(prefix.root.resolve())}
    with _readable(prefix.series), tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in files(prefix):
            source = prefix.root / path
            entry = tarfile.TarInfo(path.as_posix())
            entry.mtime = EPOCH
            if source.is_symlink() and not source.readlink().is_absolute():
                entry.type, entry.linkname = tarfile.SYMTYPE, str(source.readlink())
                tar.addfile(entry)
                continue
            data = relocated(source.read_bytes(), olds)
            entry.size, entry.mode = len(data), 0o755 if source.stat().st_mode & 0o100 else 0o644
            tar.addfile(entry, io.BytesIO(data))
    with archive.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
