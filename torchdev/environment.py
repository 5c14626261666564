"""torchdev's own Python environment: found, entered, or made. Standard library alone, since it runs first."""

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

NEEDED = ("docker", "jinja2", "yaml", "packaging", "requests", "remotezip", "uv", "pytest", "testinfra")
MAKERS = ("quickstart", "check")
"""The stages that make the environment if it is missing; the others say how to."""


def enter(root: Path, arguments: "list[str]") -> None:
    """Return if the packages are importable, else go on in .venv; exits with 2 where there is none to enter."""
    python = root / ".venv" / "bin" / "python"
    inside = Path(sys.prefix) == root / ".venv"
    if arguments[0] in MAKERS and (inside or not _complete()) and not _current(root):
        _make(root, ask="--yes" not in arguments)
        inside = False
    if inside or _complete():
        return
    if not python.exists():
        print(
            "error: torchdev's own Python packages are not installed\n"
            "  next: python3 build.py quickstart, or: pip install --require-hashes -r requirements.txt",
            file=sys.stderr,
        )
        raise SystemExit(2)
    sys.stdout.flush()
    os.execv(python, [str(python), str(root / "build.py"), *arguments])


def _complete() -> bool:
    return all(find_spec(name) for name in NEEDED)


def _stamp(root: Path) -> str:
    return hashlib.sha256((root / "requirements.txt").read_bytes()).hexdigest()


def _current(root: Path) -> bool:
    stamp = root / ".venv" / "torchdev-requirements"
    return stamp.exists() and stamp.read_text() == _stamp(root)


def _make(root: Path, *, ask: bool) -> None:
    """Make .venv and install requirements.txt into it, by hash; with Debian's python3-venv if need be."""
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts this may have an older one
        raise SystemExit("error: torchdev needs Python 3.11 or newer")
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
        raise SystemExit("error: this Python has no venv module\n  next: as root, apt-get install python3-venv")
    if ask:
        if not sys.stdin.isatty():
            raise SystemExit("error: python3-venv must be installed\n  next: add --yes to allow it")
        if input("Install python3-venv with apt-get? [y/N] ").strip().lower() not in ("y", "yes"):
            raise SystemExit("error: nothing was installed\n  next: apt-get install python3-venv")
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
        raise SystemExit(f"error: {' '.join(command[:4])} … failed\n{tail}\n  next: check the network and pip config")
