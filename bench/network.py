"""A network namespace of the bench's own: a second engine in the main one would delete the first one's bridge.

Every byte that comes from elsewhere passes one pair of interfaces, so that it can be counted.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torchdev.util.errors import EngineError

NAME = "torchdev-bench"
"""Of the namespace; marks the firewall's rules too."""
OUTSIDE, INSIDE = "tdbench0", "eth0"
TOOLS = ("ip", "iptables", "nsenter", "unshare")
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
PATIENCE = 30
"""Seconds that what runs in a namespace left behind gets to end."""


@dataclass(frozen=True)
class Network:
    """The namespace. `mtu` is in bytes."""

    mtu: int

    @property
    def prefix(self) -> "list[str]":
        """What makes a command run inside."""
        return ["nsenter", f"--net=/run/netns/{NAME}"]

    def received(self) -> int:
        """Bytes that have come in from elsewhere; what runs inside fetches by this way alone."""
        # What goes out of the outer end comes in at the inner one.
        return int(Path(f"/sys/class/net/{OUTSIDE}/statistics/tx_bytes").read_text())


def need_tools() -> None:
    """Return if a namespace can be made; EngineError if not."""
    if os.geteuid() != 0:
        raise EngineError("the bench runs an engine of its own, which needs root", next_step="sudo python -m bench …")
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        step = "apt-get install iproute2 iptables util-linux"
        raise EngineError(f"missing: {', '.join(missing)}, for an engine apart from this machine's", next_step=step)


@contextmanager
def network() -> Iterator[Network]:
    """The namespace, with a way out by this machine's address; gone afterwards. What a killed run left goes first."""
    _remove()
    route = _output("ip", "-o", "route", "show", "default").split()
    if "dev" not in route:
        raise EngineError("this machine has no way to a network", next_step="ip route show default")
    mtu = int(Path(f"/sys/class/net/{route[route.index('dev') + 1]}/mtu").read_text())
    forwarding = FORWARDING.read_text()
    try:
        _make(mtu, _free_subnet())
        yield Network(mtu)
    finally:
        _remove()
        write_setting(FORWARDING, forwarding)


def write_setting(path: Path, text: str) -> None:
    """Write a setting of the kernel, unless it has that value; EngineError where it can't be, as in a container."""
    try:
        readable = path.stat().st_mode & 0o400
        if not readable or path.read_text() != text:
            path.write_text(text)
    except OSError as error:
        step = "run the bench on a machine, not in a container that may not change it"
        what = f"a setting of the kernel can't be written: {error.strerror}"
        raise EngineError(what, where=str(path), next_step=step) from None


def _make(mtu: int, subnet: str) -> None:
    _ip("netns", "add", NAME)
    _ip("link", "add", OUTSIDE, "mtu", str(mtu), *f"type veth peer name {INSIDE} mtu {mtu} netns {NAME}".split())
    _ip("addr", "add", f"{subnet}.1/30", "dev", OUTSIDE)
    _ip("link", "set", OUTSIDE, "up")
    inside = ("-n", NAME)
    _ip(*inside, "addr", "add", f"{subnet}.2/30", "dev", INSIDE)
    _ip(*inside, "link", "set", "lo", "up")
    _ip(*inside, "link", "set", INSIDE, "up")
    _ip(*inside, "route", "add", "default", "via", f"{subnet}.1")
    write_setting(FORWARDING, "1\n")
    comment = ("-m", "comment", "--comment", NAME)
    for table, rule in (
        ("nat", ("POSTROUTING", "-s", f"{subnet}.0/30", "!", "-o", OUTSIDE, "-j", "MASQUERADE")),
        ("filter", ("FORWARD", "-i", OUTSIDE, "-j", "ACCEPT")),
        ("filter", ("FORWARD", "-o", OUTSIDE, "-j", "ACCEPT")),
    ):
        _need("iptables", "-w", "-t", table, "-I", *rule, *comment)


def _free_subnet() -> str:
    """Three bytes of an address that no route of this machine mentions."""
    routes = _output("ip", "-o", "route", "show", "table", "all")
    return next(found for n in range(77, 255) if (found := f"10.213.{n}") not in routes)


def _remove() -> None:
    """End what still runs inside, and take the namespace and its rules away."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in _output("ip", "netns", "pids", NAME).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), number)
        for _ in range(PATIENCE * 10):
            if not _output("ip", "netns", "pids", NAME):
                break
            time.sleep(0.1)
    _output("ip", "link", "del", OUTSIDE)
    _output("ip", "netns", "del", NAME)
    for table in ("nat", "filter"):
        for rule in _output("iptables", "-w", "-t", table, "-S").splitlines():
            words = rule.split()
            if NAME in words and words[0] == "-A":
                _output("iptables", "-w", "-t", table, "-D", *words[1:])


def _ip(*words: str) -> None:
    _need("ip", *words)


def _need(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        what = f"{' '.join(words)} failed: {done.stderr.strip()}"
        raise EngineError(what, next_step="the bench needs a kernel that has network namespaces, and iptables")


def _output(*words: str) -> str:
    """What a command writes; nothing if it fails."""
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout
