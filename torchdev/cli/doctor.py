"""The command doctor: whether this machine can build images, and how to fix what is missing."""

import shutil
import subprocess
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from torchdev.catalog.bases import DEBIAN
from torchdev.docgen.project import open_project
from torchdev.engine import buildx, gpus, outputs
from torchdev.engine.client import Engine
from torchdev.image.plan import Plan
from torchdev.pipeline import estimate
from torchdev.util.commands import build_py
from torchdev.util.errors import EngineError, Exit, InputError
from torchdev.util.streams import show
from torchdev.util.texts import json_text
from torchdev.wheels.host import Host, read_host
from torchdev.wheels.uv import index_refusal

DISK_WANTED = 25_000_000_000
"""Bytes that one CUDA cell may need while it is built (its layers twice, and the wheels), if no lock says more exactly.
"""


@dataclass(frozen=True)
class Finding:
    """One finding. `state` is ok, missing (no image can be built without it) or note (images can be built)."""

    subject: str
    state: str
    text: str
    next_step: str = ""


def run(options: Namespace, root: Path) -> int:
    """Print the findings; the exit code says whether there is an engine to use."""
    findings = examine(root)
    show(as_json(findings) if options.json else as_text(findings))
    return exit_code(findings)


def examine(root: Path) -> "list[Finding]":
    """Look at engine, disk, network, host settings and GPU."""
    host = read_host()
    return [*_engine(root), *_network(host), *_settings(host)]


def exit_code(findings: "list[Finding]") -> int:
    """ENGINE if anything is missing, so that a script need not parse the lines; else OK."""
    return int(Exit.ENGINE if any(finding.state == "missing" for finding in findings) else Exit.OK)


def as_text(findings: "list[Finding]") -> str:
    """A line for each finding, and under it the next step."""
    return "\n".join(
        f"{f.state:<8}{f.subject:<10}{f.text}" + (f"\n{'':18}next: {f.next_step}" if f.next_step else "")
        for f in findings
    )


def as_json(findings: "list[Finding]") -> str:
    """The findings as JSON."""
    return json_text([asdict(finding) for finding in findings])


def _engine(root: Path) -> Iterator[Finding]:
    try:
        engine = Engine()
    except EngineError as error:
        yield Finding("engine", "missing", error.what, error.next_step)
        return
    info = engine.info()
    store = "containerd image store" if outputs.containerd_store(info) else "classic store"
    yield Finding("engine", "ok", f"Docker {engine.version()}, {info.get('Driver')}, {store}")
    done = subprocess.run(["docker", "buildx", "version"], capture_output=True, text=True, check=False)
    if done.returncode:
        yield Finding("buildx", "missing", "docker buildx does not run", "install docker-buildx-plugin")
    else:
        yield Finding("buildx", "ok", " ".join(done.stdout.split()[1:2]))
    plans, disk = _plans(root), engine.disk()
    if disk:
        needs = {plan.cell.id: estimate.needed([plan], ()) for plan in plans}
        yield judge_disk(shutil.disk_usage(disk).free, disk, needs)
    else:
        yield Finding("disk", "note", "the engine's disk can't be seen from here")
    yield from _cache(disk, plans)
    yield judge_registry(
        answers=bool(engine.registry_digest(DEBIAN)),
        bases_here=bool(plans) and {base.substitute for plan in plans for base in plan.bases} <= engine.names().keys(),
        mmdebstrap=bool(shutil.which("mmdebstrap")),
    )
    yield _gpu(info)


def _plans(root: Path) -> "tuple[Plan, ...]":
    """The plans of the checkout's group default, as far as they are locked; empty if they can't be read."""
    try:
        project = open_project(root, root / "matrix.yaml")
        return project.plans(project.by_lock(project.matrix.select([], ["default"]))[0])
    except InputError:
        return ()


def judge_registry(*, answers: bool, bases_here: bool, mmdebstrap: bool) -> Finding:
    """Whether base images are available: from docker.io, from an earlier run, or made here."""
    if answers:
        return Finding("registry", "ok", "docker.io answers: the official bases will be used")
    if bases_here:
        return Finding("registry", "note", "docker.io does not answer: the bases that were made here will be used")
    if mmdebstrap:
        return Finding("registry", "note", "docker.io does not answer: bases will be bootstrapped with mmdebstrap")
    what = "docker.io does not answer, and there is no mmdebstrap to make bases"
    return Finding("registry", "missing", what, f"apt-get install mmdebstrap, or {build_py('quickstart')}")


def judge_disk(free: int, place: Path, needs: "Mapping[str, int]") -> Finding:
    """Compare free bytes with what cells need while they are built, by id: missing if not even the smallest fits."""
    text, wanted = f"{free / 1e9:.0f} GB free at {place}", needs or {"a CUDA cell": DISK_WANTED}
    small, large = min(wanted, key=lambda cell: wanted[cell]), max(wanted, key=lambda cell: wanted[cell])
    step = "docker system df; docker builder prune"
    if free < wanted[small]:
        what = f"{text}, and {small} needs {wanted[small] / 1e9:.0f} GB while it is built"
        return Finding("disk", "missing" if needs else "note", what, step)
    if free < wanted[large]:
        what = f"{text}, and {large} needs {wanted[large] / 1e9:.0f} GB while it is built"
        return Finding("disk", "note", what, step)
    return Finding("disk", "ok", text)


def _cache(place: "Path | None", plans: "tuple[Plan, ...]") -> Iterator[Finding]:
    """Whether the builder's cache keeps what building the group default leaves in it."""
    with tempfile.TemporaryDirectory() as folder:
        builder = buildx.inspect("", Path(folder, "log"))
    if not builder or builder.driver != outputs.OWN or not plans:
        return
    disk = shutil.disk_usage(place).total if place else None
    layers = [estimate.layer_bytes(layer) for plan in plans for layer in plan.layers]
    yield judge_cache(
        outputs.kept(outputs.read_policies(builder.text), disk), estimate.needed(plans, ()), max(layers, default=0)
    )


def judge_cache(kept: "int | None", wanted: int, largest: int) -> Finding:
    """Compare what a builder's garbage collection keeps with the size of a group and of its largest layer."""
    if kept is None:
        return Finding("cache", "note", "what the builder's garbage collection keeps can't be seen from here")
    text = f"the builder keeps {kept / 1e9:.0f} GB of its cache"
    if kept >= wanted:
        return Finding("cache", "ok", f"{text}; the group default takes {wanted / 1e9:.0f} GB with its wheels")
    lost = f"not even its largest layer, {largest / 1e9:.1f} GB, is safe" if kept < largest else "the oldest go first"
    return Finding(
        "cache",
        "note",
        f"{text}, but the group default takes {wanted / 1e9:.0f} GB with its wheels: layers may be made again; {lost}",
        f"put into /etc/docker/daemon.json, and restart docker: {outputs.keeping(wanted)}",
    )


def _gpu(info: "dict[str, object]") -> Finding:
    if not Path("/proc/driver/nvidia/version").exists():
        return Finding("gpu", "note", "no NVIDIA driver here: GPU checks will be not-run")
    way = gpus.request(info)[1]
    if way == "CDI" or "nvidia" in str(info.get("Runtimes")):
        return Finding("gpu", "ok", f"an NVIDIA driver, and an engine that can give GPUs to containers, by {way}")
    return Finding(
        "gpu",
        "note",
        "an NVIDIA driver, but the engine has no NVIDIA Container Toolkit: GPU checks will be not-run",
        "install nvidia-container-toolkit; nvidia-ctk runtime configure --runtime=docker",
    )


def _network(host: Host) -> Iterator[Finding]:
    refusal = index_refusal(host)
    if refusal is None:
        yield Finding("index", "ok", "the package index answers")
    else:
        yield Finding(
            "index",
            "missing",
            f"the package index does not answer: {refusal}",
            "check proxies (HTTPS_PROXY), the CA bundle (SSL_CERT_FILE) and pip config list",
        )


def _settings(host: Host) -> Iterator[Finding]:
    shown = {
        "proxies": ", ".join(name for name, _ in host.proxies),
        "CA bundle": str(host.ca_bundle or ""),
        "wheel folders": ", ".join(map(str, host.folders)),
        "extra indexes": str(len(host.extra_indexes) or ""),
        "logins of .netrc": ", ".join(login.host for login in host.logins),
    }
    for name, text in shown.items():
        if text:
            yield Finding("host", "note", f"{name}, handed to builds as secrets or context: {text}")
    yield from (Finding("host", "note", note) for note in host.notes)
