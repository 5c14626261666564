"""uv as a resolver: what it is asked, what it is told of this machine, what its refusals mean."""

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pypi_simple import PYPI_SIMPLE_ENDPOINT
from uv import find_uv_bin

from torchdev import pylock
from torchdev.bases import TOOL_PYTHON, suite_of
from torchdev.commands import build_py
from torchdev.errors import BuildError, Step
from torchdev.host import Host
from torchdev.ids import AMD64
from torchdev.lock import UV
from torchdev.matrix import Cell
from torchdev.pylock import Resolved
from torchdev.wheels import machine_of

REACH = ("check the network, proxies (HTTPS_PROXY) and index (pip config list); then ", build_py("doctor"))
"""What to do where an index does not answer."""
UV_KEPT = ("UV_HTTP_TIMEOUT", "UV_HTTP_RETRIES", "UV_CACHE_DIR", "UV_KEYRING_PROVIDER", "UV_CONCURRENT_DOWNLOADS")
"""uv's variables that do not change what is resolved; the indexes are in the uv.toml that is written for it."""
COMPILE = (
    "pip",
    "compile",
    "in.txt",
    "--constraint=at.txt",
    "--override=over.txt",
    "--quiet",
    "--no-header",
    "--only-binary=:all:",
    "--format=pylock.toml",
    "--output-file=pylock.toml",
)

LAST_PATCH = {"3.6": "3.6.15"}
"""Patch versions of series that uv can't be asked for as such: to it 3.6 is 3.6.0, which PyTorch does not serve."""


@dataclass(frozen=True)
class Wanted:
    """What uv is asked for: requirements, bounds, forced versions, and folders of stubs."""

    requirements: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()


def index_refusal(host: Host) -> "str | None":
    """Why the host's package index can't be used, in a line of uv's; None if it answers."""
    done, _ = _run(host, TOOL_PYTHON, TOOL_PYTHON, Wanted((f"uv=={UV}",)))
    return done.stderr.strip().splitlines()[-1].strip() if done.returncode else None


def compile_cell(cell: Cell, host: Host, wanted: Wanted, python: str = "") -> "list[Resolved]":
    """The packages of the pylock.toml (PEP 751) that uv writes for the cell's platform and its Python, or another."""
    done, text = _run(host, python or cell.python, cell.python, wanted, cell.arch)
    if done.returncode:
        raise _not_resolved(cell, done.stderr)
    try:
        return pylock.read(text)
    except ValueError as error:
        what = f"{host.index or PYPI_SIMPLE_ENDPOINT}: an index lists what no index has: {error}"
        step = "find out who runs that index: pip config list"
        raise BuildError(what, where=cell.id, next_step=step) from None


def _run(
    host: Host, python: str, image: str, wanted: Wanted, arch: str = AMD64
) -> "tuple[subprocess.CompletedProcess[str], str]":
    """Uv's outcome, and the pylock.toml it wrote for a Python on the Debian of another Python's images."""
    major, minor = suite_of(image).glibc
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, lines in (("in", wanted.requirements), ("at", wanted.constraints), ("over", wanted.overrides)):
            (folder / f"{file}.txt").write_text("".join(f"{line}\n" for line in lines))
        (folder / "uv.toml").write_text(host.uv_toml())
        command = [find_uv_bin(), *COMPILE, "--python-version", LAST_PATCH.get(python, python)]
        command.append(f"--python-platform={machine_of(arch)}-manylinux_{major}_{minor}")
        command += [f"--find-links={path}" for path in wanted.folders]
        done = subprocess.run(command, cwd=folder, env=_environment(host, folder), capture_output=True, text=True)
        return done, "" if done.returncode else (folder / "pylock.toml").read_text()


def _environment(host: Host, folder: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("UV_") or key in UV_KEPT}
    kept["UV_CONFIG_FILE"] = str(folder / "uv.toml")
    return kept | ({"SSL_CERT_FILE": str(host.ca_bundle)} if host.ca_bundle else {})


def _not_resolved(cell: Cell, message: str) -> BuildError:
    network = ("dns error", "Connection refused", "tcp connect", "timed out", "Could not connect", "client error")
    if any(sign in message for sign in network):
        what = "the package index can't be reached"
        step: Step = REACH
    else:
        what = "uv finds no set of versions that fits"
        step = (f"change the row at {cell.place}, then ", build_py("lock", cell.id))
    return BuildError(f"{what}\n{message.strip()}", where=cell.id, next_step=step)
