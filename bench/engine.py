"""Engines of the bench's own: each measurement gets one whose data holds the base images and nothing else.

So cold means cold, and nobody's images or caches are touched.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import measure
from bench.measure import Measured
from bench.network import Network, write_setting
from torchdev.util.errors import BuildError, EngineError

START, STOP = 60, 90
"""Seconds that dockerd gets to answer, and to end."""
CONFIG = {"builder": {"gc": {"enabled": False}}, "features": {"containerd-snapshotter": False}}
"""No garbage collection in the middle of a measurement; the classic store, which newer engines must be told to have."""
DROP_CACHES = Path("/proc/sys/vm/drop_caches")
RESOLV = ("/run/systemd/resolve/resolv.conf", "/etc/resolv.conf")


@dataclass
class Workspace:
    """Where the bench works: its folder, its network, the variables that every command gets."""

    work: Path
    network: Network
    variables: dict[str, str]
    counter: int = 0

    def fresh(self, name: str) -> Path:
        """A new folder."""
        self.counter += 1
        path = self.work / f"{self.counter}-{name}"
        path.mkdir()
        return path


@dataclass(kw_only=True)
class Engine:
    """A running dockerd, by its process; `cache` is where programs of the host may keep what they fetch."""

    workspace: Workspace
    data: Path
    cache: Path
    process: "subprocess.Popen[bytes]"
    logs: Path
    runs: int = field(default=0)

    @property
    def env(self) -> dict[str, str]:
        """The variables of commands that talk to it."""
        own = {
            "DOCKER_HOST": f"unix://{_socket(self.workspace)}",
            "BUILDX_BUILDER": "default",
            "BUILDX_CONFIG": str(self.cache / "buildx"),
            "XDG_CACHE_HOME": str(self.cache / "xdg"),
            "UV_CACHE_DIR": str(self.cache / "uv"),
            "PIP_CACHE_DIR": str(self.cache / "pip"),
        }
        return {**self.workspace.variables, **own}

    def run(
        self,
        command: "list[str]",
        *,
        cwd: "Path | None" = None,
        allowed: "tuple[int, ...]" = (0,),
        limit: "float | None" = None,
    ) -> Measured:
        """Run a command beside the engine, and measure both together."""
        self.runs += 1
        log = self.logs / f"{self.runs}.log"
        roots, received = (self.process.pid,), self.workspace.network.received
        words = [*self.workspace.network.prefix, *command]
        own = measure.Command(words=words, env=self.env, cwd=cwd, allowed=allowed, limit=limit)
        return measure.run(own, log, roots=roots, received=received)

    def docker(self, *words: str) -> str:
        """What a docker command writes."""
        return self.run(["docker", *words]).output.strip()

    def layers(self, image: str) -> dict[str, int]:
        """An image's layers and their bytes, by the name of the whole chain up to each, which is stored once."""
        diff_ids = json.loads(self.docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", image))
        store = self.data / "image" / "overlay2" / "layerdb" / "sha256"
        return {name: int((store / name / "size").read_text()) for name in chains(diff_ids)}

    def size(self, image: str) -> int:
        """The bytes that the engine gives for an image."""
        return int(self.docker("image", "inspect", "--format", "{{.Size}}", image))

    def stop(self) -> None:
        """End it in good order."""
        stop(self.process)


def chains(diff_ids: "list[str]") -> "list[str]":
    """The chain ids of layers, lowest first, as the OCI image specification defines them; without `sha256:`."""
    import hashlib

    found: list[str] = []
    for diff_id in diff_ids:
        above = f"sha256:{found[-1]} {diff_id}" if found else ""
        found.append(hashlib.sha256(above.encode()).hexdigest() if above else diff_id.removeprefix("sha256:"))
    return found


def _socket(workspace: Workspace) -> Path:
    return workspace.work / "docker.sock"


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process that was started here: first in good order."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP)
            return


@contextmanager
def engine(workspace: Workspace, name: str, bases: "Path | None") -> Iterator[Engine]:
    """An engine on a copy of the data folder `bases`, or on an empty one; all of it is gone afterwards."""
    folder = workspace.fresh(name)
    try:
        data = folder / "data"
        if bases:
            _copy(bases, data)
        (folder / "cache").mkdir()
        with _started(workspace, folder, data) as process:
            found = Engine(
                workspace=workspace, data=data, cache=folder / "cache", process=process, logs=folder / "logs"
            )
            settle()
            yield found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def restarted(old: Engine, name: str) -> Iterator[Engine]:
    """A second, empty engine in place of a running one, which is stopped first and not started again."""
    old.stop()
    with engine(old.workspace, name, None) as found:
        yield found


@contextmanager
def _started(workspace: Workspace, folder: Path, data: Path) -> Iterator["subprocess.Popen[bytes]"]:
    config = folder / "daemon.json"
    config.write_text(json.dumps({**CONFIG, "mtu": workspace.network.mtu}))
    resolv = folder / "resolv.conf"
    resolv.write_text(name_servers())
    command = [
        "dockerd",
        f"--config-file={config}",
        f"--data-root={data}",
        f"--exec-root={folder / 'exec'}",
        f"--pidfile={folder / 'pid'}",
        f"--host=unix://{_socket(workspace)}",
        "--containerd-namespace=torchdev-bench",
        "--containerd-plugins-namespace=torchdev-bench-plugins",
    ]
    # Mounts of its own vanish with it, whatever becomes of it.
    inside = f'mount --bind {resolv} /etc/resolv.conf && exec "$@"'
    whole = [*workspace.network.prefix, "unshare", "--mount", "--", "sh", "-c", inside, "dockerd", *command]
    log = folder / "dockerd.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            whole,
            env=workspace.variables,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        _wait(workspace, process, log)
        yield process
    finally:
        stop(process)


def _wait(workspace: Workspace, process: "subprocess.Popen[bytes]", log: Path) -> None:
    env = {**workspace.variables, "DOCKER_HOST": f"unix://{_socket(workspace)}"}
    deadline = time.monotonic() + START
    while subprocess.run(["docker", "info"], env=env, capture_output=True, check=False).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(f"  {line}" for line in log.read_text().splitlines()[-5:])
            raise EngineError(f"an engine of the bench's own does not start\n{tail}", next_step="see docs/bench.md")
        time.sleep(0.2)


def name_servers() -> str:
    """The name servers that can be reached from another network namespace: none on the loopback."""
    for name in RESOLV:
        path = Path(name)
        text = path.read_text() if path.is_file() else ""
        servers = [line.split()[1] for line in text.splitlines() if line.startswith("nameserver ")]
        if any(not server.startswith("127.") for server in servers):
            return "".join(f"{line}\n" for line in text.splitlines() if not line.startswith("nameserver 127."))
    raise EngineError("no name server but on the loopback", next_step="name one in /etc/resolv.conf")


def _copy(source: Path, target: Path) -> None:
    """Copy an engine's data, with all that cp keeps."""
    done = subprocess.run(["cp", "--archive", str(source), str(target)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"the bases can't be copied: {done.stderr.strip()}", where=str(target), next_step="df")


def settle() -> None:
    """Have the disk written out and the page cache empty, so that no measurement pays for the one before it."""
    os.sync()
    write_setting(DROP_CACHES, "3\n")


def info(engine: Engine) -> Mapping[str, Any]:
    """What an engine says of itself."""
    found: Mapping[str, Any] = json.loads(engine.docker("info", "--format", "{{json .}}"))
    return found
