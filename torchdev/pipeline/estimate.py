"""The size estimate: layers, the cells that share them, bytes to fetch and to store; known before a build begins."""

import hashlib
import json
from collections.abc import Collection, Hashable, Iterable
from dataclasses import dataclass, replace
from functools import cache

from torchdev.image import slimming
from torchdev.image.plan import Layer, Plan
from torchdev.wheels.lock import Package

BESIDE_WHEELS = {"debian": 289_000_000, "python": 56_000_000, "user": 38_500_000}
"""Bytes of layers without wheels (measured: 288.6; 48.3 to 56.0; 38.4 to 38.5 MB); others are links and a file."""
BASE = 122_000_000
"""Bytes of the bootstrapped Debian (measured); the official slim image has 75 MB."""
BYTECODE = {"torch": 65_000_000, "packages": 59_000_000}
"""Bytes of bytecode in layers with modules (measured with PyTorch 2.14.1 on Python 3.11)."""

KEY = 16
"""Characters of a layer's name."""


@dataclass(frozen=True, kw_only=True)
class LayerEstimate:
    """One layer: the cells that have it, bytes of wheels to fetch, bytes on the disk, and whether it is there."""

    name: str
    cells: tuple[str, ...]
    fetch: int
    stored: int
    there: bool


@dataclass(frozen=True, kw_only=True)
class Sum:
    """Bytes of all cells: if none shared anything, as stored, of these still to be stored, and to be fetched."""

    cells: int
    alone: int
    stored: int
    missing: int
    fetch: int


def layer_bytes(layer: Layer) -> int:
    """Bytes of an unpacked layer, with bytecode and without excluded files."""
    if not layer.packages:
        return BESIDE_WHEELS.get(layer.name, 0)
    taken = slimming.taken((package.name, package.version) for package in layer.packages if layer.slim)
    return max(0, layer.installed + BYTECODE.get(layer.name, 0) - taken)


def estimate_layers(
    plans: "Iterable[Plan]", local: "Collection[str]", present: "Collection[str]" = ()
) -> "list[LayerEstimate]":
    """Every layer of some plans, lowest first, each once.

    `present` names layers that are there, as `chain` names them. `local` has the sha256 of wheels that need no
    fetching.
    """
    owners: dict[str, tuple[_Part, list[str]]] = {}
    for plan in plans:
        for part in _parts(plan):
            owners.setdefault(part.key, (part, []))[1].append(plan.cell.id)
    found, fetched = [], set(local)
    for key, (part, cells) in owners.items():
        there = key in present
        new = {} if there else {sha: size for sha, size in part.files.items() if sha not in fetched}
        fetched |= new.keys()
        found.append(
            LayerEstimate(name=part.name, cells=tuple(cells), fetch=sum(new.values()), stored=part.stored, there=there)
        )
    return found


def chain(plan: Plan) -> "list[str]":
    """A name for each layer of a plan together with all layers below it, lowest first: equal names are stored once."""
    return [part.key for part in _parts(plan)]


def below(plan: Plan) -> Plan:
    """A plan reduced to its shared layers."""
    return replace(plan, layers=plan.below_python)


def items(plan: Plan, present: "Collection[str]", cached: "Collection[str]" = ()) -> "dict[Hashable, int]":
    """What building a plan puts on the engine's disk, in bytes by name; equal names of several plans are stored once.

    These are missing layers, outputs of stages that are copied into layers, and the files of wheels, either in the
    engine's cache or in the build context. Wheels of `cached` are there already.
    """
    found: dict[Hashable, int] = {}
    for part in _parts(plan):
        if part.key not in present:
            found[part.key] = part.stored
            found.update((sha, size) for sha, size in part.files.items() if sha not in cached)
            found.update(part.made)
    return found


def needed(plans: "Iterable[Plan]", present: "Collection[str]", cached: "Collection[str]" = ()) -> int:
    """Bytes that building some plans takes on the engine's disk."""
    found: dict[Hashable, int] = {}
    for plan in plans:
        found |= items(plan, present, cached)
    return sum(found.values())


def wheel_files(plans: "Iterable[Plan]", present: "Collection[str]") -> "dict[str, int]":
    """The wheel files that building some plans fetches and leaves in the engine's cache: bytes by sha256."""
    missing = (part for plan in plans for part in _parts(plan) if part.key not in present)
    return {sha: size for part in missing for sha, size in part.files.items()}


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A plan's base or one of its layers, as the size estimate needs it; sizes are bytes.

    `key` names everything that it and the layers below are made from. `files` are its wheels, by sha256. `made` is the
    output of a stage that is copied into it, which cells with any CUDA version share.
    """

    key: str
    name: str
    stored: int
    files: "dict[str, int]"
    made: "dict[Hashable, int]"


@cache
def _parts(plan: Plan) -> "tuple[_Part, ...]":
    """A plan's base and layers, lowest first."""
    state = hashlib.sha256(plan.debian.ref.encode())
    found = [_Part(key=state.hexdigest()[:KEY], name="base", stored=BASE, files={}, made={})]
    for number, layer in enumerate(plan.layers):
        steps = plan.steps[number : number + 1]
        state.update(json.dumps([layer.name, layer.pins, layer.excluded, *_made_of(plan, layer), steps]).encode())
        files = {_key(package): package.size or 0 for package in layer.packages}
        stored = layer_bytes(layer)
        found.append(
            _Part(
                key=state.hexdigest()[:KEY],
                name=layer.name,
                stored=stored,
                files=files,
                made=_made(plan, layer, stored),
            )
        )
    return tuple(found)


def _made(plan: Plan, layer: Layer, stored: int) -> "dict[Hashable, int]":
    """Bytes of stages whose output is copied into a layer; Debian's packages are also stored packed."""
    if layer.name == "debian":
        return {(plan.debian.ref, *plan.debian_packages): 2 * stored}
    if layer.prepared or layer.name == "python":
        return {(plan.python.ref, layer.name, layer.pins, layer.slim): stored}
    return {}


def _made_of(plan: Plan, layer: Layer) -> "list[object]":
    """The inputs of a layer beside its wheels and steps: its own ones, and the tools that install."""
    own = {"debian": plan.debian_packages, "python": [plan.python.ref, plan.pip.sha256], "user": plan.cell.id}.get(
        layer.name
    )
    tools = [plan.tool.ref, *(tool.sha256 for tool in plan.tools)] if layer.packages or layer.name == "user" else []
    return [own, tools]


def _key(package: Package) -> str:
    return package.sha256 or package.file


def total(layers: "list[LayerEstimate]") -> Sum:
    """The sum over all layers."""
    return Sum(
        cells=len({cell for layer in layers for cell in layer.cells}),
        alone=sum(layer.stored * len(layer.cells) for layer in layers),
        stored=sum(layer.stored for layer in layers),
        missing=sum(layer.stored for layer in layers if not layer.there),
        fetch=sum(layer.fetch for layer in layers),
    )
