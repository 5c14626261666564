"""A machine with nothing: a minimal Debian as the root of a namespace of mounts and of processes.

A chroot would not do: containers can't be started in one, since runc changes the root of a mount namespace.
"""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import measure
from bench.engine import Workspace, name_servers, settle
from bench.measure import Measured
from torchdev.bases.bootstrap import KEYRING, debian_sites
from torchdev.util.errors import EngineError
from torchdev.wheels.host import Host

SUITE = "trixie"
"""Debian's stable release."""
PACKAGES = ("ca-certificates", "git", "python3")
"""What README.md wants to be there."""
TOOLS = ("mmdebstrap", "pivot_root", "unshare")
SUFFIXES = ("", "-updates", "-security")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
BROUGHT = "/var/tmp/brought"
"""Where the machine finds what is brought to it, as by a cable."""
MTU = 1500
"""Of Docker's bridge, unless it is told otherwise."""
ENTER = """\
set -e
mount --bind "$1" "$1"
cd "$1"
shift
mount --rbind /dev dev
mount -t tmpfs tmpfs dev/shm
mount --rbind /sys sys
mount -t proc proc proc
mount -t tmpfs tmpfs run
mkdir outside
pivot_root . outside
cd /
umount --lazy /outside
rmdir /outside
exec "$@"
"""
"""Makes a folder the root of namespaces of its own; nothing of the machine's files is left in them."""


@dataclass(frozen=True)
class Machine:
    """A root on which nothing has run yet, and the variables that its shell has."""

    workspace: Workspace
    root: Path
    variables: "Mapping[str, str]"

    def bring(self, file: Path) -> str:
        """Put a file on it; its path there."""
        target = self.root / BROUGHT.lstrip("/") / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        return f"{BROUGHT}/{file.name}"

    def run(self, script: str, *words: str) -> Measured:
        """Run a shell script there, with words as its arguments, and measure it; all that it has started then ends."""
        apart = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--"]
        inside = ["sh", "-c", ENTER, "sh", str(self.root), "sh", "-ec", script, "sh", *words]
        # As variables, since a command line with passwords of proxies could be read by all.
        command = measure.Command(words=[*self.workspace.network.prefix, *apart, *inside], env=self.variables)
        return measure.run(command, self.root.parent / "log", received=self.workspace.network.received)


@contextmanager
def machine(workspace: Workspace, host: Host, name: str) -> Iterator[Machine]:
    """A machine with nothing but Debian, Python and git, and what it needs to reach a network from here."""
    if host.folders:
        what = "a machine with nothing has no folders of wheels"
        raise EngineError(what, next_step="leave out --local-wheels")
    folder = workspace.fresh(name)
    try:
        root = folder / "root"
        _debian(workspace, root)
        (root / "etc" / "resolv.conf").write_text(name_servers())
        if host.ca_bundle:
            shutil.copyfile(host.ca_bundle, root / CERTIFICATES.lstrip("/"))
        if host.logins:
            (root / "root" / ".netrc").write_text(host.secrets()["netrc"])
            (root / "root" / ".netrc").chmod(0o600)
        if workspace.network.mtu < MTU:
            (root / "etc" / "docker").mkdir()
            (root / "etc" / "docker" / "daemon.json").write_text(f'{{"mtu": {workspace.network.mtu}}}')
        settle()
        yield Machine(workspace, root, variables(workspace.variables, host))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def variables(of_site: "Mapping[str, str]", host: Host) -> dict[str, str]:
    """What a shell of the machine has: a login's variables, and those by which wheels and a network are reached."""
    found = {"HOME": "/root", "LANG": "C.UTF-8", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    found |= {name: value for name, value in of_site.items() if name.startswith(("PIP_", "UV_", "TORCHDEV_PYTORCH_"))}
    found |= {key: value for name, value in host.proxies for key in (name, name.lower())}
    if host.ca_bundle:
        found |= {"PIP_CERT": CERTIFICATES, "SSL_CERT_FILE": CERTIFICATES}
    return found


def sources(sites: "Mapping[str, str]") -> "list[str]":
    """Lines for apt, of the mirrors that this machine's own apt has for any release of Debian.

    Empty, which means mmdebstrap's default mirrors, if one of them is not known, or has a password in its address.
    """
    lines = []
    for suffix in SUFFIXES:
        of_kind = {name: mirror for name, mirror in sites.items() if _suffix(name) == suffix and "@" not in mirror}
        if not of_kind:
            return []
        mirror = of_kind.get(f"{SUITE}{suffix}") or next(iter(of_kind.values()))
        lines.append(f"deb {mirror} {SUITE}{suffix} main")
    return lines


def _suffix(suite: str) -> str:
    return next((suffix for suffix in SUFFIXES[1:] if suite.endswith(suffix)), "")


def _debian(workspace: Workspace, root: Path) -> None:
    """Debian's minimal system with Python and git."""
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        raise EngineError(f"missing: {', '.join(missing)}", next_step="apt-get install mmdebstrap util-linux")
    if not KEYRING.is_file():
        raise EngineError(f"Debian's keys are not there: {KEYRING}", next_step="apt-get install debian-archive-keyring")
    options = ("--quiet", "--mode=root", "--variant=minbase", f"--include={','.join(PACKAGES)}")
    command = ["mmdebstrap", *options, f"--keyring={KEYRING}", SUITE, str(root), *sources(debian_sites())]
    whole = [*workspace.network.prefix, *command]
    done = subprocess.run(whole, env=workspace.variables, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join(f"  {line}" for line in done.stderr.splitlines()[-5:])
        raise EngineError(f"mmdebstrap makes no {SUITE}\n{tail}", next_step="see docs/bench.md")
