"""Builds images: hands stand-in bases and the host's settings to buildx bake."""

import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torchdev.bases import debsource
from torchdev.catalog.bases import Base
from torchdev.engine.buildx import OnLine
from torchdev.engine.client import Engine
from torchdev.engine.diagnosis import explain
from torchdev.engine.outputs import Way, load_output
from torchdev.image.context import context_of
from torchdev.image.dockerfile import taken
from torchdev.image.paths import Paths
from torchdev.image.plan import SHARED, Plan, base_labels
from torchdev.image.render import bake_text
from torchdev.pipeline.estimate import chain
from torchdev.util import files, process
from torchdev.util.errors import BuildError
from torchdev.util.files import UNFINISHED
from torchdev.util.redact import Private
from torchdev.wheels.host import Host, find_wheels, link_or_copy

INPUTS_LABEL = "io.torchdev.inputs"
LAYERS_LABEL = "io.torchdev.layers"
"""Names of the layers that an image was made of, as the forecast has them."""
LOST_STEP = "no active sessions"
"""BuildKit's word for a step that two builds share, when the one that began it was killed."""
LOST_WHEELS = "the builder's cache has lost"
"""What install-wheels says when wheels are gone that a stage, whose result is still known, has fetched."""
ORIGIN_LABEL, OFFICIAL, BOOTSTRAPPED = "io.torchdev.base.origin", "official", "bootstrapped"
ATTEMPTS = 4
RETRY_AFTER = 2.0
"""Seconds."""
OWN_WAY = Way()
"""By the engine's own builder."""


@dataclass(frozen=True)
class StandIn:
    """An image of this engine, by name and id, that stands in for an official one.

    `layout` is where it lies as an OCI layout, FOLDER@DIGEST, for builders that don't see the engine's images. `source`
    are the labels by which an image tells what its Python was compiled from.
    """

    name: str
    id: str
    layout: str = ""
    source: "Mapping[str, str]" = field(default_factory=dict, hash=False)

    @property
    def context(self) -> str:
        """The named context that it is."""
        return f"oci-layout://{self.layout}" if self.layout else f"docker-image://{self.name}"


Names = Mapping[str, "tuple[str, Mapping[str, str]]"]
"""Every name of an image that the engine has, with the image's id and labels."""

Stands = dict[str, StandIn]
"""FROM string of an official image to its stand-in."""


def build(
    engine: Engine,
    host: Host,
    plan: Plan,
    paths: Paths,
    stands: Stands,
    on_line: "OnLine | None",
    stage: str = "",
    way: Way = OWN_WAY,
) -> Path:
    """Build one cell under its candidate name, or only a stage of it; the path of BuildKit's log."""
    name = f"{plan.cell.id}-{stage}" if stage else plan.cell.id
    log = paths.work / "logs" / f"{name}.log"
    output = load_output(way.driver, containerd=way.containerd)
    wanted = {"target": stage, **way.stage(plan.shared if stage == SHARED else "")} if stage else {"output": output}
    with _folder(paths.work / "build" / name) as folder:
        file = folder / "docker-bake.json"
        file.write_text(json.dumps(bake_file((plan,), host, paths, folder, stands, way), indent=2))
        settings = (f"--set={plan.target}.{key}={value}" for key, value in wanted.items())
        command = ["bake", *way.options, "--file", str(file), "--provenance=false", plan.target, *settings]
        _bake(engine, command, plan, log, on_line, folder, host.private())
    return log


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """A new folder for this user's eyes, gone afterwards; what a killed run has left there goes first."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True, mode=0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _fetch_again(plan: Plan, folder: Path) -> Path:
    """A second bake file by which wheels are fetched whether or not BuildKit thinks that they were."""
    stages = [f"fetch-{layer.name}" for layer in plan.layers if layer.packages]
    file = folder / "fetch-again.json"
    file.write_text(json.dumps({"target": {plan.target: {"no-cache-filter": stages}}}))
    return file


def _bake(
    engine: Engine,
    arguments: "list[str]",
    plan: Plan,
    log: Path,
    on_line: "OnLine | None",
    folder: Path,
    private: Private,
) -> None:
    """Run bake; again, if a step was lost that BuildKit had begun for another client, and that client went away; or
    if the cache has lost wheels, which garbage collection may take between two steps, each time that it is over its
    limit. What that takes is written into `folder`.
    """
    for attempt in range(ATTEMPTS):
        try:
            return engine.buildx(arguments, log, on_line, private)
        except BuildError:
            text = log.read_text(encoding="utf-8")
            if attempt == ATTEMPTS - 1 or not (LOST_WHEELS in text or LOST_STEP in text):
                raise explain(plan.cell.id, text, log) from None
            if LOST_WHEELS in text and (again := f"--file={_fetch_again(plan, folder)}") not in arguments:
                arguments = [*arguments, again]
            process.pause(RETRY_AFTER)


def bake_file(
    plans: "Iterable[Plan]", host: Host, paths: Paths, folder: Path, stands: Stands, way: Way = OWN_WAY
) -> dict[str, Any]:
    """The bake file for this machine: the committed one's targets with stand-in bases, local wheels, names of secrets.

    Contexts with local wheels go into `folder`. The secrets themselves are in `Host.private`, variables for buildx.
    """
    plans = tuple(plans)
    committed: dict[str, Any] = json.loads(bake_text(plans, paths.images.name))
    for plan in plans:
        committed["target"][plan.target] |= override(plan, host, paths, folder, stands)
        committed["target"][plan.target] |= way.target(plan.cell.id, plan.shared)
    return committed


def override(plan: Plan, host: Host, paths: Paths, folder: Path, stands: Stands) -> dict[str, Any]:
    """What this machine adds to a cell's target in the committed bake file."""
    target: dict[str, Any] = {"context": str(_context(host, plan, paths, folder))}
    target["labels"] = {INPUTS_LABEL: inputs(plan, paths, stands), LAYERS_LABEL: " ".join(chain(plan))}
    if stands:
        target["contexts"] = {ref: stand.context for ref, stand in stands.items()}
        own = [(stands[base.ref].name, stands[base.ref].id) for base in (plan.debian, plan.python)]
        target["labels"] |= base_labels(BOOTSTRAPPED, own[0], own[1]) | dict(stands[plan.python.ref].source)
    target["secret"] = host.secret_options()
    return {key: value for key, value in target.items() if value}


def inputs(plan: Plan, paths: Paths, stands: Stands) -> str:
    """sha256 of all that an image is made from: the files that its build takes, and the bases. The same inputs need no
    new build.
    """
    parts = [(name, path.read_bytes().decode("utf-8", "surrogateescape")) for name, path in _taken(plan, paths)]
    bases = [stands[base.ref].id if base.ref in stands else base.ref for base in plan.bases]
    return f"sha256:{hashlib.sha256(json.dumps([parts, bases]).encode()).hexdigest()}"


def _taken(plan: Plan, paths: Paths) -> "list[tuple[str, Path]]":
    """The files of the build context that a cell's build takes, by name: its own, and those of folders that it mounts.

    All of its own count, its lock among them. What a killed writer left does not.
    """
    images, own, dockerfile = paths.images, paths.cell(plan.cell.id), paths.dockerfile(plan.cell.id)
    text = files.read(dockerfile).decode("utf-8", "replace") if dockerfile.is_file() else ""
    roots = [own, *(images / name for name in taken(text))]
    found = {path for root in roots for path in (root.rglob("*") if root.is_dir() else (root,))}
    kept = sorted(path for path in found if path.is_file() and not path.match(UNFINISHED))
    return [(path.relative_to(images).as_posix(), path) for path in kept]


def _context(host: Host, plan: Plan, paths: Paths, folder: Path) -> Path:
    """The context of builds; or a copy of what a cell takes of it, with wheels that this machine's own folders hold."""
    wanted = [(layer.name, package) for layer in plan.layers for package in layer.packages]
    wanted += [("pip", plan.pip), *(("tools", tool) for tool in plan.tools)]
    found = find_wheels(host, [(package.name, package.file, package.sha256) for _, package in wanted])
    if not found:
        return paths.images
    copy = folder / "contexts" / plan.cell.id
    for name, path in _taken(plan, paths):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy / name)
    wheels = context_of(plan).wheels
    for layer, package in wanted:
        if package.file in found:
            link_or_copy(found[package.file], copy / wheels[layer] / package.file)
    return copy


def stand_ins(engine: Engine, bases: "Iterable[Base]", layouts: "Path | None" = None) -> "dict[Base, StandIn]":
    """The bootstrapped images that are there, of these bases; if asked for, as OCI layouts below a folder, too."""
    images = {base: engine.image(base.stand_in) for base in bases}
    return {
        base: StandIn(
            base.stand_in,
            image.id,
            engine.layout(image.id, layouts) if layouts else "",
            debsource.of_image(image.labels),
        )
        for base, image in images.items()
        if image
    }


def stands_for(engine: Engine, plan: Plan, bootstrapped: "Iterable[Base]") -> Stands:
    """The named contexts that put bootstrapped images in the place of the official ones of a plan."""
    made = set(bootstrapped)
    return {base.ref: stand for base, stand in stand_ins(engine, [b for b in plan.bases if b in made]).items()}


def present(
    names: Names, plans: "Iterable[Plan]", wanted: "Callable[[Plan], Collection[str]]", origin: str = ""
) -> "set[str]":
    """The layers that an engine's images have, by the forecast's names, of those that still stand on the same bases.

    `names` are what `Engine.names` has; `origin` tells which bases a build takes, if that is known. A plan's image has
    all of the plan's layers, whatever its label says, if it was made of inputs that are `wanted`.
    """
    plans = tuple(plans)
    shared = {key for plan in plans for key in chain(plan)[: 1 + len(plan.below_python)]}
    found: set[str] = set()
    for _, labels in names.values():
        layers = labels.get(LAYERS_LABEL, "").split()
        known = not origin or labels.get(ORIGIN_LABEL, origin) == origin
        if known and _stands(names, labels, "org.opencontainers.image.base"):
            same = _stands(names, labels, "io.torchdev.base.python")
            found.update(layers if same else shared.intersection(layers))
    for plan in plans:
        _, labels = names.get(plan.tags[0], ("", {}))
        if not found.issuperset(chain(plan)) and labels.get(INPUTS_LABEL, "none") in wanted(plan):
            found.update(chain(plan))
    return found


def _stands(names: Names, labels: "Mapping[str, str]", base: str) -> bool:
    """Whether the stand-in that an image was made on is still the engine's; official ones are told by their digests."""
    made = labels.get(ORIGIN_LABEL) == BOOTSTRAPPED
    return not made or names.get(labels.get(f"{base}.name", ""), ("", {}))[0] == labels.get(f"{base}.digest")


def possible_inputs(engine: Engine, paths: Paths, plans: "Iterable[Plan]") -> "Callable[[Plan], Collection[str]]":
    """The inputs that a plan's image can be current with: on official bases, or on the stand-ins that are there.

    Which of them a build would take is known only once a registry was asked.
    """
    made = stand_ins(engine, dict.fromkeys(base for plan in plans for base in plan.bases))
    stands = {base.ref: stand for base, stand in made.items()}
    return lambda plan: {inputs(plan, paths, {}), inputs(plan, paths, stands)}
