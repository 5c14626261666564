"""torchdev's own Python environment: found, entered, or made. Standard library alone, since it runs first."""

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

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
)
MAKERS = ("quickstart", "check")
"""The stages that make the environment if it is missing; the others say how to."""


def enter(root: Path, arguments: "list[str]") -> None:
    """Return if the packages are importable, else go on in .venv; exits with 2 where there is none to enter."""
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts this may have an older one
        raise _failure("torchdev needs Python 3.11 or newer", "start it with one: python3.11 build.py")
    python = root / ".venv" / "bin" / "python"
    inside = Path(sys.prefix) == root / ".venv"
    if arguments[0] in MAKERS and (inside or not _complete()) and not _current(root):
        _make(root, ask="--yes" not in arguments)
        inside = False
    if _complete():
        return
    if inside or not python.exists():
        step = "python3 build.py quickstart, or: pip install --require-hashes -r requirements.txt"
        raise _failure("not all of torchdev's own Python packages are installed", step)
    sys.stdout.flush()
    os.execv(python, [str(python), str(root / "build.py"), *arguments])


def _failure(what: str, step: str) -> SystemExit:
    print(f"error: {what}\n  next: {step}", file=sys.stderr)
    return SystemExit(2)


def _complete() -> bool:
    return all(find_spec(name) for name in NEEDED)


def _stamp(root: Path) -> str:
    return hashlib.sha256((root / "requirements.txt").read_bytes()).hexdigest()


def _current(root: Path) -> bool:
    stamp = root / ".venv" / "torchdev-requirements"
    return stamp.exists() and stamp.read_text() == _stamp(root)


def _make(root: Path, *, ask: bool) -> None:
    """Make .venv and install requirements.txt into it, by hash; with Debian's python3-venv if need be."""
    folder = root / ".venv"
    print(f"making torchdev's Python environment in {folder.name}", file=sys.stderr)
    if not find_spec("ensurepip") or not find_spec("venv"):
        _install_venv(ask)
    _run([sys.executable, "-m", "venv", "--clear", str(folder)])
    _run(
        [
            str(folder / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--require-hashes",
            "--requirement",
            str(root / "requirements.txt"),
        ]
    )
    (folder / "torchdev-requirements").write_text(_stamp(root))


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
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise _failure(f"{' '.join(command[:4])} … failed\n{tail}", "check the network and pip config")
