"""How a container of a cell is started on this machine: the decisions, and the docker command."""

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchdev.util.errors import EngineError

WORKSPACE, CACHE = "/workspace", "/cache"
CACHES = {
    "XDG_CACHE_HOME": CACHE,
    "TRITON_CACHE_DIR": f"{CACHE}/triton",
    "TORCHINDUCTOR_CACHE_DIR": f"{CACHE}/inductor",
}
"""Caches of pip, uv, matplotlib and torch.compile go where the next container finds them."""
STACK = 64 << 20
"""Bytes of stack for each process, as NVIDIA advises for PyTorch."""
LIMITS = {"memlock": -1, "stack": STACK}
"""Limits of a container's processes, if the engine may grant them; -1 is no limit on pinned memory, for RDMA."""
SHM = 8
"""GiB of shared memory by default: DataLoader workers and NCCL use it."""


@dataclass(frozen=True)
class User:
    """A container's user as UID:GID, and a note for the caller."""

    ids: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Start:
    """A container to start. `cache` is None if there is no folder for it; `gpus` are docker's options; shm in GiB."""

    image: str
    user: str
    folder: Path
    cache: "Path | None"
    gpus: tuple[str, ...] = ()
    limits: tuple[str, ...] = tuple(LIMITS)
    shm: int = SHM
    terminal: bool = False
    command: tuple[str, ...] = ()


def arguments(start: Start) -> "list[str]":
    """The arguments of the docker command."""
    cached = [word for name, value in CACHES.items() for word in ("--env", f"{name}={value}")]
    return [
        *("run", "--rm", "--interactive", *(["--tty"] if start.terminal else []), *start.gpus),
        *("--shm-size", f"{start.shm}g"),
        *(word for name in start.limits for word in ("--ulimit", f"{name}={LIMITS[name]}")),
        *("--user", start.user, "--group-add", "0"),
        *("--mount", mount(start.folder, WORKSPACE)),
        *(["--mount", mount(start.cache, CACHE), *cached] if start.cache else []),
        *(start.image, *start.command),
    ]


@dataclass(frozen=True)
class Granted:
    """What an engine grants a container: a GPU or the reason why not, and the LIMITS that it may set."""

    gpu: bool
    refusal: "EngineError | None"
    limits: tuple[str, ...]


def granted(gpu: bool, attempt: "Callable[[bool, tuple[str, ...]], EngineError | None]") -> Granted:
    """Find out by starting containers with everything that is wanted and, if that fails, with each by itself.

    `attempt` starts one with or without GPUs and with some limits; it returns the engine's refusal as an error. An
    engine that refuses even a container without any of these raises that error.
    """
    if not attempt(gpu, tuple(LIMITS)):
        return Granted(gpu, None, tuple(LIMITS))
    plain = attempt(False, ())
    if plain:
        raise plain
    refusal = attempt(True, ()) if gpu else None
    limits = tuple(name for name in LIMITS if not attempt(False, (name,)))
    return Granted(gpu and not refusal, refusal, limits)


def mount(source: Path, target: str) -> str:
    """The value of --mount for a folder of this machine; docker parses it as a line of CSV."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(["type=bind", f"source={source}", f"target={target}"])
    return line.getvalue()


def is_rootless(info: "Mapping[str, Any]") -> bool:
    """Whether an engine runs rootless, according to its own description."""
    return any("name=rootless" in str(option) for option in info.get("SecurityOptions") or [])


def user_for(caller: "tuple[int, int]", owner: "tuple[int, int]", *, rootless: bool) -> User:
    """The container's user, chosen so that files in the mounted folder are the caller's; all ids are uid and gid.

    For root, files belong to the folder's owner, who need not be root. In a rootless engine, root in the container is
    the caller.
    """
    if rootless:
        return User("0:0", "the engine is rootless: root in the container is you outside it")
    if caller[0]:
        return User(f"{caller[0]}:{caller[1]}")
    if owner[0]:
        return User(f"{owner[0]}:{owner[1]}", f"you are root: the container's user is the folder's owner, {owner[0]}")
    return User("0:0", "you are root, and this folder is root's: so is what the container does in it")
