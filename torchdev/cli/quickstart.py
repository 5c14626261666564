"""Makes a machine ready: installs and starts a Docker Engine where there is none, and builds a first image."""

import http.client
import os
import platform
import shutil
import subprocess
import sys
import time
import urllib.request
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torchdev.bases.bootstrap import KEYRING, debian_sites
from torchdev.cli import arguments
from torchdev.cli.build import build_cells
from torchdev.cli.chosen import opened
from torchdev.docgen.project import Project
from torchdev.engine.client import Engine
from torchdev.matrix.load import Cell
from torchdev.pipeline.report import exit_code, results_text
from torchdev.pipeline.session import Options
from torchdev.util import files
from torchdev.util.commands import build_py
from torchdev.util.errors import EngineError, Exit
from torchdev.util.streams import say, show
from torchdev.wheels import remote

Say = Callable[[str], None]

DOCKER_SITE = "https://download.docker.com/linux"
KEY_SECONDS, LARGEST_KEY = 30, 100_000
"""How long Docker's site may take to send its key, and the bytes that are read of it."""
DOCKER_PACKAGES = ("docker-ce", "docker-ce-cli", "containerd.io", "docker-buildx-plugin")
NEWER_SUITE = "trixie"
"""Debian 12 has no buildx; these packages of Debian 13 run on it with Debian 12's own containerd and runc."""
DEBIAN_PACKAGES = ("docker.io", "docker-cli", "docker-buildx")
APT_PATIENCE = ("-o", "Acquire::http::Timeout=30", "-o", "Acquire::https::Timeout=30", "-o", "Acquire::Retries=3")
"""How apt-get is told to give a silent mirror up."""


@dataclass(frozen=True)
class Consent:
    """Leave to change the machine: given by --yes, or asked for on a terminal."""

    given: bool

    def ask(self, what: str) -> None:
        """Return if the user agrees; EngineError if not, or if there is no one to ask."""
        if self.given:
            return
        if not sys.stdin.isatty():
            raise EngineError(f"{what}: that needs your consent", next_step="add --yes")
        if input(f"{what}? [y/N] ").strip().lower() not in ("y", "yes"):
            raise EngineError(f"not done: {what}", next_step=("see what is missing: ", build_py("doctor")))


@dataclass(frozen=True)
class Started:
    """A dockerd that was started here, to be stopped by whoever no longer needs it."""

    process: "subprocess.Popen[bytes]"

    def stop(self) -> None:
        """End this dockerd, and no other."""
        self.process.terminate()
        self.process.wait(60)


def run(options: Namespace, root: Path) -> int:
    """Make this machine ready, and build the named cell, or the first of the matrix."""
    project, chosen = opened(options, root)
    cells = chosen if arguments.named(options) else chosen[:1]
    return quickstart(project, cells, Consent(options.yes), say)


def ensure_engine(consent: Consent, say: Say) -> "Started | None":
    """A Docker Engine with buildx, installed and started if need be; what was started here without a service."""
    if _answers() and _has_buildx():
        return None
    if os.environ.get("DOCKER_HOST"):
        Engine()
        raise EngineError("the docker command has no buildx", next_step="install docker-buildx-plugin")
    if not (shutil.which("dockerd") and _has_buildx()):
        _install_engine(consent, say)
    return None if _answers() else _start(say)


def ensure_mmdebstrap(consent: Consent, say: Say) -> None:
    """The tool that makes a Debian base where no registry gives one, and the keys that it trusts."""
    if shutil.which("mmdebstrap") and KEYRING.is_file():
        return
    _need_apt("mmdebstrap")
    consent.ask("Install mmdebstrap, to make the base that no registry gives")
    say("installing mmdebstrap")
    _apt("update")
    _apt("install", "mmdebstrap", "debian-archive-keyring")


def quickstart(project: Project, cells: "tuple[Cell, ...]", consent: Consent, say: Say) -> int:
    """Everything from a bare machine to a CNN trained in a tagged image, then the command to use it; exit code."""
    started = ensure_engine(consent, say)
    engine = Engine()
    if not registry_answers(engine, project, cells):
        ensure_mmdebstrap(consent, say)
    results = build_cells(project, cells, Options(), say, engine).results
    show("\n" + results_text(results))
    if started:
        say(f"\nthe engine was started here, as process {started.process.pid}; to stop it: kill {started.process.pid}")
    if exit_code(results) == Exit.OK:
        short = min(results[0].tags, key=len)
        refusal = engine.gpu_refusal(results[0].tags[0])
        show(f"\nTo use it:\n\n  {command_to_use(short, gpu=not refusal)}\n")
        if refusal:
            show(f"Without --gpus all, since {refusal}")
    return exit_code(results)


def command_to_use(tag: str, *, gpu: bool) -> str:
    """What to type in a folder to work in it: as its owner, who may be root, so that files can be written there."""
    return f'docker run --rm -it {"--gpus all " if gpu else ""}-v "$PWD":/workspace -u $(id -u):$(id -g) {tag}'


def registry_answers(engine: Engine, project: Project, cells: "tuple[Cell, ...]") -> bool:
    """Whether the bases of the cells are on the engine or can be pulled."""
    bases = {base for plan in project.plans(cells) for base in plan.bases}
    return all(engine.image(base.ref) or engine.registry_digest(base.ref) for base in bases)


def _answers() -> bool:
    try:
        Engine()
    except EngineError:
        return False
    return True


def _has_buildx() -> bool:
    docker = shutil.which("docker")
    return bool(docker) and subprocess.run([str(docker), "buildx", "version"], capture_output=True).returncode == 0


def _install_engine(consent: Consent, say: Say) -> None:
    _need_apt("a Docker Engine")
    release = platform.freedesktop_os_release()
    family, codename = release.get("ID", ""), release.get("VERSION_CODENAME", "")
    key = _docker_key(family)
    source = "Docker's own packages" if key else "Debian's packages"
    consent.ask(f"Install Docker Engine and buildx from {source}")
    say(f"installing Docker Engine and buildx from {source}")
    _apt("update")
    if key:
        files.write(Path("/etc/apt/keyrings/docker.asc"), key)
        _add_source("docker", f"{DOCKER_SITE}/{family}", codename, "stable", "/etc/apt/keyrings/docker.asc")
        _apt("update")
        _apt("install", *DOCKER_PACKAGES)
    elif codename == "bookworm":
        _add_source("torchdev-trixie", _debian_site(), NEWER_SUITE, "main", str(KEYRING))
        preference = f"Package: *\nPin: release n={NEWER_SUITE}\nPin-Priority: 100\n"
        files.write(Path("/etc/apt/preferences.d/torchdev-trixie"), preference)
        _apt("update")
        _apt("install", *(f"{name}/{NEWER_SUITE}" for name in DEBIAN_PACKAGES), "iptables")
    else:
        _apt("install", *DEBIAN_PACKAGES, "iptables")


def _need_apt(what: str) -> None:
    if not shutil.which("apt-get") or os.geteuid() != 0:
        raise EngineError(
            f"{what} is missing, and is installed here only on Debian and Ubuntu, as root",
            next_step="see https://docs.docker.com/engine/install/, then run this again",
        )


def _docker_key(family: str) -> "bytes | None":
    """Docker's signing key for this distribution, or None where their site does not answer."""

    def read() -> bytes:
        with urllib.request.urlopen(f"{DOCKER_SITE}/{family}/gpg", timeout=10) as answer:
            return bytes(answer.read(LARGEST_KEY))

    try:
        key = remote.within(KEY_SECONDS, read, DOCKER_SITE)
    except (OSError, http.client.HTTPException, remote.Silent):
        return None
    return key if key.startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----") else None


def _debian_site() -> str:
    """The mirror that this machine's apt takes Debian from."""
    if site := debian_sites().get("bookworm"):
        return site
    raise EngineError("apt knows no Debian mirror", next_step="check /etc/apt/sources.list.d")


def _add_source(name: str, site: str, suite: str, component: str, key: str) -> None:
    text = f"Types: deb\nURIs: {site}\nSuites: {suite}\nComponents: {component}\nSigned-By: {key}\n"
    files.write(Path(f"/etc/apt/sources.list.d/{name}.sources"), text)


def _apt(*arguments: str) -> None:
    command = ["apt-get", "-qq", "-y", "--no-install-recommends", *APT_PATIENCE, *arguments]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    if done.returncode:
        tail = "\n".join(f"  {line}" for line in done.stdout.splitlines()[-10:])
        raise EngineError(f"apt-get {arguments[0]} failed\n{tail}", next_step="check the network and apt's sources")


def _start(say: Say) -> "Started | None":
    """Start the engine: as a service where systemd runs, else as a process of its own."""
    say("starting the Docker Engine")
    if Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "start", "docker"], check=False, capture_output=True)
        process = None
    else:
        log = Path("/var/log/torchdev-dockerd.log")
        with log.open("wb") as stream:
            process = subprocess.Popen(["dockerd"], stdout=stream, stderr=stream, start_new_session=True)
    for _ in range(120):
        if _answers():
            return Started(process) if process else None
        if process and process.poll() is not None:
            tail = "\n".join(f"  {line}" for line in log.read_text().splitlines()[-5:])
            raise EngineError(f"dockerd ended at once\n{tail}", next_step=f"read {log}")
        time.sleep(0.5)
    raise EngineError("the Docker Engine did not answer within a minute", next_step="journalctl -u docker")
