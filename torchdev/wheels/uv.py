"""uv as a resolver: its input, its view of this machine, and the meaning of its errors."""

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from uv import find_uv_bin

from torchdev.catalog import facts
from torchdev.catalog.bases import TOOL_PYTHON, suite_of
from torchdev.catalog.ids import AMD64
from torchdev.matrix.load import Cell
from torchdev.util import files, process, streams
from torchdev.util.commands import build_py
from torchdev.util.errors import BuildError, Step
from torchdev.util.texts import printable, shown
from torchdev.wheels import pylock
from torchdev.wheels.host import Host
from torchdev.wheels.lock import UV
from torchdev.wheels.pylock import Resolved
from torchdev.wheels.settings import PYPI_INDEX
from torchdev.wheels.wheel import machine_of

REACH = ("check the network, proxies (HTTPS_PROXY) and index (pip config list); then ", build_py("doctor"))
"""The next step if an index does not answer."""
UV_KEPT = ("UV_HTTP_TIMEOUT", "UV_HTTP_RETRIES", "UV_CACHE_DIR", "UV_KEYRING_PROVIDER", "UV_CONCURRENT_DOWNLOADS")
"""Variables of uv that do not change the result; those that name indexes are set for each call."""
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
)

TEMPORARY = "torchdev-uv-"
"""What temporary folders for uv begin with; a later run removes those of killed ones."""
SECONDS = 900
"""Seconds for one resolution, including everything that uv fetches."""

LONGEST_LINE, MOST_LINES = 2000, 60
"""Characters and lines of uv's output that a message repeats."""

LAST_PATCH = {"3.6": "3.6.15"}
"""Patch versions for series that uv can't handle as such: to uv 3.6 means 3.6.0, which PyTorch does not support."""


@dataclass(frozen=True)
class Wanted:
    """The input of uv: requirements, bounds, overrides, and folders of stubs."""

    requirements: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()


def index_refusal(host: Host) -> "str | None":
    """Why the host's package index can't be used, in a line; None if it answers."""
    try:
        done = _run(host, TOOL_PYTHON, TOOL_PYTHON, Wanted((f"uv=={UV}",)))
    except BuildError as error:
        return error.what
    return _last_said(done) if done.status else None


def _last_said(done: "Ended") -> str:
    """The last line of uv's output, behind the address in it; or how uv ended, if it printed nothing."""
    lines = [line.strip().removeprefix("cause: ") for line in done.output.splitlines() if line.strip()]
    if not lines:
        return ended_by(done.status)
    address = next((found for line in reversed(lines) for found in re.findall(r"https?://[^\s`'\")]+", line)), "")
    return shown(lines[-1] if not address or address in lines[-1] else f"{address}: {lines[-1]}")


def compile_cell(cell: Cell, host: Host, wanted: Wanted, python: str = "") -> "list[Resolved]":
    """The packages in the pylock.toml (PEP 751) that uv writes for the cell's platform and its or another Python."""
    try:
        done = _run(host, python or cell.python, cell.python, wanted, cell.arch)
    except BuildError as error:
        raise BuildError(error.what, where=cell.id, next_step=error.steps) from None
    if done.status:
        what, step = refusal(cell, done.status, done.output)
        said = [
            *_told(done.output),
            *(str(bound) for bound in facts.bounds(cell.torch) if bound.name in done.output),
        ]
        raise BuildError("\n".join(filter(None, [what, *said])), where=cell.id, next_step=step)
    try:
        return pylock.read(done.lock)
    except ValueError as error:
        what = f"{host.index or PYPI_INDEX}: an index lists what no index has: {error}"
        step = "find out who runs that index: pip config list"
        raise BuildError(what, where=cell.id, next_step=step) from None


def _told(output: str) -> "list[str]":
    """What uv printed, for a message: an index may have put long texts into it."""
    lines = [shown(line, LONGEST_LINE) for line in printable(output.strip()).split("\n")]
    return lines if len(lines) <= MOST_LINES else [*lines[:MOST_LINES], f"and {len(lines) - MOST_LINES} more lines"]


@dataclass(frozen=True)
class Ended:
    """How uv ended: its exit status, negative for a signal; its whole output; the pylock.toml."""

    status: int
    output: str
    lock: str


def _run(host: Host, python: str, image: str, wanted: Wanted, arch: str = AMD64) -> Ended:
    """Run uv for a Python on the Debian of another Python's images; BuildError if it does not end in time.

    URLs and indexes reach uv by its environment, and its pylock.toml comes by its output. Its temporary files, which
    may hold URLs, are in the folder that is removed when it ends, even if it is killed.
    """
    major, minor = suite_of(image).glibc
    with _folder() as (folder, held):
        for file, lines in (("in", wanted.requirements), ("at", wanted.constraints), ("over", wanted.overrides)):
            (folder / f"{file}.txt").write_text("".join(f"{line}\n" for line in lines))
        command = [_uv(), *COMPILE, "--python-version", LAST_PATCH.get(python, python)]
        command.append(f"--python-platform={machine_of(arch)}-manylinux_{major}_{minor}")
        command += ["--no-index"] if host.no_index else []
        command += ["--no-cache"] if host.clean.tokens else []  # uv notes the URLs of what it caches
        done = _ended(command, folder, _environment(host, wanted.folders), held)
        return Ended(done.returncode, host.clean(done.stderr), "" if done.returncode else done.stdout)


def _ended(
    command: "list[str]", folder: Path, environment: dict[str, str], held: int
) -> "subprocess.CompletedProcess[str]":
    environment = {**environment, "TMPDIR": str(folder)}
    try:
        with streams.waiting("uv, which asks the package index", SECONDS):
            return process.capture(command, cwd=folder, env=environment, limit=SECONDS, held=(held,))
    except process.TooLong:
        what = f"uv was stopped: it had no answer within {SECONDS // 60} minutes"
        raise BuildError(what, next_step=REACH) from None
    except OSError as error:
        step = "pip install --require-hashes --only-binary :all: --force-reinstall -r requirements.txt"
        raise BuildError(f"uv can't be started: {error.strerror or error}", next_step=step) from None


@contextmanager
def _folder() -> "Iterator[tuple[Path, int]]":
    """A temporary folder for one run of uv; BuildError if the disk has no room for it."""
    try:
        with files.temporary(TEMPORARY) as found:
            yield found
    except OSError as error:
        what = f"a folder for uv can't be written: {error.strerror or error}"
        raise BuildError(
            what, next_step=f"make room there, or name another by TMPDIR: {tempfile.gettempdir()}"
        ) from None


def _uv() -> str:
    try:
        return str(find_uv_bin())
    except FileNotFoundError:
        step = "pip install --require-hashes --only-binary :all: -r requirements.txt"
        raise BuildError("uv, which resolves here, is not installed", next_step=step) from None


def _environment(host: Host, folders: "tuple[Path, ...]") -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("UV_") or key in UV_KEPT}
    kept |= host.uv_variables(folders)
    return kept | ({"SSL_CERT_FILE": str(host.ca_bundle)} if host.ca_bundle else {})


REFUSALS = (
    (
        r"due to a lack of valid authentication|(\(|returned a )(401 Unauthorized|403 Forbidden)",
        "the package index refuses: it wants other credentials",
        "look at ~/.netrc and the user names in index addresses (pip config list); then ",
    ),
    (
        r"No solution found|[Rr]equirements? (are|is) unsatisfiable|Because there is no version",
        "uv finds no set of versions that fits",
        "change the row at {position}, then ",
    ),
    (
        r"No space left on device|Disk quota exceeded",
        "there is no room for what uv writes",
        "make room (df -h; uv cache clean), or name another folder by UV_CACHE_DIR; then ",
    ),
    (
        r"Failed to (parse environment variable|initialize cache|parse: uv\.toml)|invalid value .{0,300} for '--",
        "uv can't use a setting of this machine",
        "correct it, as uv says; then ",
    ),
    (
        r"Failed to fetch|Request failed|dns error|onnection refused|tcp connect|timed out|onnect to|client error|"
        r"error sending request|`Content-Type`|HTTP status|too many redirects|certificate",
        "the package index can't be reached, or does not answer as one",
        "",
    ),
)
"""Patterns of uv's messages, with meaning and next step before the cell is locked again. The first match counts."""


def ended_by(status: int) -> str:
    """The meaning of an exit status alone, negative for a signal."""
    if status >= 0:
        return f"uv failed with exit status {status}"
    return f"uv was ended by {signal.Signals(-status).name if -status in set(signal.Signals) else f'signal {-status}'}"


def refusal(cell: Cell, status: int, output: str) -> "tuple[str, Step]":
    """The meaning of uv's exit status and output for a cell, and the next step."""
    command = build_py("lock", cell.id)
    if status < 0:
        return ended_by(status), ("look whether memory ran out (dmesg), then again: ", command)
    for pattern, what, step in REFUSALS:
        if re.search(pattern, output):
            return what, ((step.format(position=cell.position), command) if step else REACH)
    return ended_by(status), ("see what uv says; ", build_py("doctor"))
