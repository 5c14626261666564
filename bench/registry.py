"""A registry on the loopback, in the bench's network and folder: Debian's docker-registry, which is not installed."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.engine import Workspace, stop
from torchdev.util.errors import EngineError

PACKAGE = "docker-registry"
ADDRESS = "127.0.0.1:5000"
START = 30
"""Seconds that it gets to answer."""
SERVED = re.compile(r'"(?:GET|HEAD) /v2/[^"]+ HTTP/[0-9.]+" 2[0-9][0-9] ([0-9]+)')
"""A line of its access log, which is Apache's combined format: the bytes of an answer."""


@dataclass(frozen=True)
class Registry:
    """A running registry: its storage and its log."""

    storage: Path
    log: Path

    def stored(self) -> int:
        """Bytes of what has been pushed: each layer once."""
        return sum(path.stat().st_size for path in self.storage.glob("**/blobs/sha256/*/*/data"))

    def served(self) -> int:
        """Bytes that it has sent so far."""
        return served(self.log.read_text(errors="replace"))


def served(log: str) -> int:
    """Bytes of all answers in an access log."""
    return sum(int(size) for size in SERVED.findall(log))


def program(workspace: Workspace) -> str:
    """The registry's program: this machine's, or the one of Debian's package, unpacked into the bench's folder."""
    if found := shutil.which(PACKAGE):
        return found
    folder = workspace.work / PACKAGE
    unpacked = folder / "root" / "usr" / "bin" / PACKAGE
    if not unpacked.exists():
        folder.mkdir(exist_ok=True)
        for command in (["apt-get", "-qq", "download", PACKAGE], ["sh", "-c", f"dpkg-deb -x {PACKAGE}_*.deb root"]):
            if not shutil.which(command[0]) or subprocess.run(command, cwd=folder, capture_output=True).returncode:
                raise EngineError(
                    f"there is no {PACKAGE}, and apt-get gives none", next_step=f"apt-get install {PACKAGE}"
                )
    return str(unpacked)


@contextmanager
def registry(workspace: Workspace) -> Iterator[Registry]:
    """An empty registry; it and what it stores are gone afterwards."""
    folder = workspace.fresh("registry")
    found = Registry(folder / "storage", folder / "log")
    config = {
        "version": 0.1,
        "log": {"accesslog": {"disabled": False}, "level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(found.storage)}},
        "http": {"addr": ADDRESS},
    }
    (folder / "config.yml").write_text(json.dumps(config))
    command = [*workspace.network.prefix, program(workspace), "serve", str(folder / "config.yml")]
    with found.log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, start_new_session=True)
    try:
        _wait(workspace, found, process)
        yield found
    finally:
        stop(process)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(workspace: Workspace, found: Registry, process: "subprocess.Popen[bytes]") -> None:
    probe = [*workspace.network.prefix, "bash", "-c", f"exec 3<>/dev/tcp/{ADDRESS.replace(':', '/')}"]
    deadline = time.monotonic() + START
    while subprocess.run(probe, capture_output=True, check=False).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            raise EngineError(f"the registry does not start: {found.log.read_text()[-500:]}", next_step="docs/bench.md")
        time.sleep(0.2)
