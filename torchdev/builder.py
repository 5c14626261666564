"""Builds images: hands stand-in bases and the host's settings to buildx bake."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from torchdev.bases import Base
from torchdev.diagnosis import explain
from torchdev.engine import Engine
from torchdev.errors import BuildError
from torchdev.host import Host, find_wheels
from torchdev.plan import Plan, base_labels
from torchdev.render import BAKE_FILE


@dataclass(frozen=True)
class StandIn:
    """An image of this engine, by name and id, that stands in for an official one."""

    name: str
    id: str


Stands = dict[str, StandIn]
"""FROM string of an official image to its stand-in."""


def build(engine: Engine, host: Host, plan: Plan, root: Path, stands: Stands, echo: "IO[str] | None") -> Path:
    """Build one cell under its candidate name; the path of BuildKit's log. BuildError if it fails."""
    log = root / ".torchdev" / "logs" / f"{plan.cell.id}.log"
    with _overrides(host, plan, root, stands) as override:
        arguments = ["bake", "--file", str(root / "images" / BAKE_FILE), "--file", str(override)]
        try:
            engine.buildx([*arguments, "--provenance=false", "--load", plan.target], log, echo)
        except BuildError:
            raise explain(plan.cell.id, log.read_text(encoding="utf-8"), log) from None
    return log


def override(plan: Plan, host: Host, root: Path, folder: Path, stands: Stands) -> dict[str, Any]:
    """What this machine adds to the committed bake file: stand-in bases, secrets, proxies, local wheels."""
    target: dict[str, Any] = {"context": str(_context(host, plan, root, folder))}
    if stands:
        target["contexts"] = {ref: f"docker-image://{stand.name}" for ref, stand in stands.items()}
        own = [(stands[base.ref].name, stands[base.ref].id) for base in (plan.debian, plan.python)]
        target["labels"] = base_labels("bootstrapped", own[0], own[1])
    target["secret"] = [f"id={name},src={path}" for name, path in _secrets(host, folder)]
    target["args"] = dict(host.proxies)
    return {"target": {plan.target: {key: value for key, value in target.items() if value}}}


@contextmanager
def _overrides(host: Host, plan: Plan, root: Path, stands: Stands) -> Iterator[Path]:
    work = root / ".torchdev"
    work.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, prefix="build-") as name:
        path = Path(name, "override.json")
        path.write_text(json.dumps(override(plan, host, root, Path(name), stands), indent=2))
        yield path


def _secrets(host: Host, folder: Path) -> Iterable[tuple[str, Path]]:
    """Files that carry the host's settings into a build; none for what the host leaves at its default."""
    for name, text in (("uv.toml", host.uv_toml()), ("pip.conf", host.pip_conf())):
        if host.index or host.extra_indexes or host.find_links:
            (folder / name).write_text(text)
            yield name, folder / name
    if host.ca_bundle:
        yield "ca", host.ca_bundle
    if host.netrc:
        yield "netrc", host.netrc


def _context(host: Host, plan: Plan, root: Path, folder: Path) -> Path:
    """The cell's folder, or a copy with the wheels that this machine's own folders hold beside their pins."""
    source = root / "images" / plan.cell.id
    wanted = [(layer.name, package) for layer in plan.layers for package in layer.packages]
    wanted.append(("uv", plan.lock.uv))
    found = find_wheels(host, [(package.name, package.file, package.sha256) for _, package in wanted])
    if not found:
        return source
    copy = folder / "context"
    shutil.copytree(source, copy)
    for layer, package in wanted:
        if package.file in found:
            _link(found[package.file], copy / "wheels" / layer / package.file)
    return copy


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def stands_for(engine: Engine, plan: Plan, bootstrapped: "Iterable[Base]") -> Stands:
    """The named contexts that put bootstrapped images in the place of the official ones of a plan."""
    made = set(bootstrapped)
    images = {base: engine.image(base.stand_in) for base in (plan.debian, plan.python, plan.tool) if base in made}
    return {base.ref: StandIn(base.stand_in, image.id) for base, image in images.items() if image}
