"""torchdev's own Python environment: found, entered, or made. Standard library alone, since it runs first."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from torchdev.util import streams
from torchdev.util.commands import STARTED, build_py, written

REQUIREMENTS, STAMP = "requirements.txt", "torchdev-requirements"
"""The requirements file; and the file in .venv that says which requirements were installed."""
NEEDED = (
    "docker",
    "jinja2",
    "yaml",
    "packaging",
    "pydantic",
    "requests",
    "remotezip",
    "pypi_simple",
    "uv",
    "pytest",
    "testinfra",
    "xdist",
)
INSTALL = ("-m", "pip", "install", "--require-hashes", "--only-binary=:all:")
"""Only wheels are installed: a source archive would run its own code while it is built."""
MAKERS = ("quickstart", "check")
"""The commands that create a missing environment; all others say how to create it."""
ENTERED = "TORCHDEV_ENTERED"
"""Variable that a process passes to itself when it restarts in .venv: its number, and the user's original command."""


def begin() -> None:
    """Record how this process was started. A process keeps its number when it restarts in .venv, so it can tell."""
    number, _, words = os.environ.pop(ENTERED, "").partition(" ")
    STARTED.entered = number == str(os.getpid())
    STARTED.program = tuple(json.loads(words)) if STARTED.entered else (_interpreter(), sys.argv[0])


def _interpreter() -> str:
    return str(getattr(sys, "orig_argv", [sys.executable])[0])


def enter(root: Path, arguments: "list[str]") -> None:
    """Return if the packages can be imported, else restart in .venv; exit with 2 if there is none."""
    folder = root / ".venv"
    inside = Path(sys.prefix) == folder
    if arguments[0] in MAKERS and (inside or not _complete()) and not _current(folder, root):
        _make(folder, root, ask="--yes" not in arguments)
        inside = STARTED.entered = False
    missing = _missing_without_others(root)
    if not missing:
        return
    if inside or STARTED.entered or not (folder / "bin" / "python").exists():
        pip = written([*STARTED.program[:1], *INSTALL, "-r", str(root / REQUIREMENTS)])
        what = f"not all of torchdev's own Python packages are installed: {', '.join(missing)}"
        raise _failure(what, f"{pip}; or {build_py('quickstart')}")
    _go_on(folder, root, arguments)


def _missing_without_others(root: Path) -> "list[str]":
    """The packages that are missing. PYTHONPATH is dropped, for children, too, unless some are there alone.

    A module there may have the name of a package, and would be imported in its place.
    """
    others = {os.path.realpath(part) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part}
    others.discard(os.path.realpath(root))
    before = sys.path[:]
    sys.path[:] = [part for part in before if os.path.realpath(part) not in others]
    if not _missing():
        os.environ.pop("PYTHONPATH", None)
        return []
    sys.path[:] = before
    return _missing()


def _go_on(folder: Path, root: Path, arguments: "list[str]") -> None:
    """Restart the same command in .venv, once: a broken .venv must not be entered again and again."""
    python = str(folder / "bin" / "python")
    words = f"{os.getpid()} {json.dumps(STARTED.program)}"
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    try:
        os.execve(python, [python, str(root / "build.py"), *arguments], {**os.environ, ENTERED: words})
    except OSError as error:
        raise _failure(f"{python} does not start: {error.strerror}", _anew(folder)) from None


def _anew(folder: Path) -> str:
    return f"{written(['mv', str(folder), f'{folder}-old'])}; then {build_py('quickstart')}"


def _failure(what: str, step: str) -> SystemExit:
    streams.say(f"error: {what}\n  next: {step}")
    return SystemExit(2)


def _missing() -> "list[str]":
    return [name for name in NEEDED if not find_spec(name)]


def _complete() -> bool:
    return not _missing()


def _stamp(root: Path) -> str:
    return hashlib.sha256((root / REQUIREMENTS).read_bytes()).hexdigest()


def _current(folder: Path, root: Path) -> bool:
    stamp = folder / STAMP
    return stamp.is_file() and stamp.read_text(encoding="ascii", errors="replace") == _stamp(root)


def _own(folder: Path) -> bool:
    """Whether a folder may be replaced: it does not exist, is empty, or torchdev made it."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        return False
    return not folder.exists() or (folder / STAMP).is_file() or not any(folder.iterdir())


def _make(folder: Path, root: Path, *, ask: bool) -> None:
    """Create .venv, with Debian's python3-venv if need be, and install requirements.txt into it, by hash.

    An environment that somebody else made keeps its packages; a folder that is no environment is left alone.
    """
    streams.say(f"making torchdev's Python environment in {folder.name}")
    if _own(folder):
        if not find_spec("ensurepip") or not find_spec("venv"):
            _install_venv(ask)
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
    elif not ((folder / "pyvenv.cfg").is_file() and (folder / "bin" / "python").exists()):
        raise _failure(f"{folder} is no Python environment, and was not made by torchdev", _anew(folder))
    _run(
        [
            str(folder / "bin" / "python"),
            *INSTALL,
            "--quiet",
            "--disable-pip-version-check",
            "--requirement",
            str(root / REQUIREMENTS),
        ]
    )
    (folder / STAMP).write_text(_stamp(root), encoding="ascii")


def _install_venv(ask: bool) -> None:
    if not shutil.which("apt-get") or os.geteuid() != 0:
        raise _failure("this Python has no venv module", "as root, apt-get install python3-venv")
    if ask:
        if not sys.stdin.isatty():
            raise _failure("python3-venv must be installed", "add --yes to allow it")
        if input("Install python3-venv with apt-get? [y/N] ").strip().lower() not in ("y", "yes"):
            raise _failure("nothing was installed", "apt-get install python3-venv")
    _run(["apt-get", "-qq", "update"])
    _run(["apt-get", "-qq", "-y", "--no-install-recommends", "install", "python3-venv"])


def _run(command: "list[str]") -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
        )
    except OSError as error:
        raise _failure(f"{command[0]} does not start: {error.strerror}", "check that file") from None
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise _failure(f"{' '.join(command[:4])} … failed\n{tail}", "check the network and pip config")
