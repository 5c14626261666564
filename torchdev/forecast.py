"""What building cells takes, told before anything is fetched: layers, who shares them, bytes to fetch and to store."""

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import cache

from torchdev import slimming
from torchdev.lock import Package
from torchdev.plan import PREPARED, Layer, Plan

BESIDE_WHEELS = {"debian": 289_000_000, "python": 56_000_000, "user": 38_500_000}
"""Bytes of layers without wheels (measured: 288.6; 48.3 to 56.0; 38.4 to 38.5 MB); others are links and a file."""
BASE = 122_000_000
"""Bytes of the bootstrapped Debian (measured); the official slim image has 75 MB."""
BYTECODE = {"torch": 65_000_000, "packages": 59_000_000}
"""Bytes of bytecode in layers with modules (measured with PyTorch 2.14.1 on Python 3.11)."""

MADE_BY = {"debian": ("steps/",), "override": ("override/",), "user": ("files/",), PREPARED: ("layers/wheels.j2",)}
"""Templates, or folders of them, that make a layer beside those of every layer: by the layer's own template."""
OF_EVERY_LAYER = ("Dockerfile.j2", "layers/macros.j2", "scripts/")

KEY = 16
"""Characters of a layer's name."""


@dataclass(frozen=True)
class Forecast:
    """One layer: the cells that have it, bytes of wheels to fetch, bytes on the disk, and whether it is there."""

    name: str
    cells: tuple[str, ...]
    fetch: int
    stored: int
    there: bool


@dataclass(frozen=True)
class Sum:
    """Bytes of all cells: if each stood alone, as stored, of these still to be stored, and to be fetched."""

    cells: int
    alone: int
    stored: int
    missing: int
    fetch: int


def layer_bytes(layer: Layer) -> int:
    """What a layer unpacks to, with bytecode, and without what images lack of its wheels."""
    if not layer.packages:
        return BESIDE_WHEELS.get(layer.name, 0)
    taken = slimming.taken((package.name, package.version) for package in layer.packages if layer.slim)
    return max(0, layer.installed + BYTECODE.get(layer.name, 0) - taken)


def forecast(plans: "Iterable[Plan]", local: "Collection[str]", present: "Collection[str]" = ()) -> "list[Forecast]":
    """Every layer of some plans, lowest first, each once.

    `present` names layers that are there, as `chain` does. `local` are sha256 of wheels that need no fetching.
    """
    owners: dict[str, list[tuple[Plan, Layer | None]]] = {}
    for plan in plans:
        for key, layer in _chain(plan):
            owners.setdefault(key, []).append((plan, layer))
    found, fetched = [], set(local)
    for key, uses in owners.items():
        plan, layer = uses[0]
        there = key in present
        new = {} if there or layer is None else {_key(p): p.size or 0 for p in layer.packages if _key(p) not in fetched}
        fetched |= new.keys()
        name, stored = (layer.name, layer_bytes(layer)) if layer else ("base", BASE)
        found.append(Forecast(name, tuple(use.cell.id for use, _ in uses), sum(new.values()), stored, there))
    return found


def chain(plan: Plan) -> "list[str]":
    """A name for each layer of a plan and all below it, lowest first: the same names are stored once."""
    return [key for key, _ in _chain(plan)]


def below(plan: Plan) -> Plan:
    """A plan without what lies above its shared layers."""
    return replace(plan, layers=plan.below_python)


def needed(plans: "Iterable[Plan]", present: "Collection[str]", cached: "Collection[str]" = ()) -> int:
    """Bytes that building some plans takes on the engine's disk: layers that are not there, and what they are made of.

    The wheels' files are in the engine's cache, or in the context of a build, wherever they come from; those of
    `cached` are there.
    """
    plans = tuple(plans)
    found = total(forecast(plans, cached, present))
    missing = [(plan, layer) for plan in plans for key, layer in _chain(plan) if layer and key not in present]
    return found.missing + found.fetch + _made(missing)


def _made(missing: "Iterable[tuple[Plan, Layer]]") -> int:
    """Bytes of stages that make what cells of every CUDA share, to be copied; Debian's packages are packed, too."""
    found: dict[tuple[str, ...], int] = {}
    for plan, layer in missing:
        if layer.name == "debian":
            found[plan.debian.ref, *plan.debian_packages] = 2 * layer_bytes(layer)
        elif layer.prepared or layer.name == "python":
            found[plan.python.ref, layer.name, layer.pins] = layer_bytes(layer)
    return sum(found.values())


def wheel_files(plans: "Iterable[Plan]", present: "Collection[str]") -> "dict[str, int]":
    """The files of wheels that building some plans fetches, and that stay in the engine's cache: bytes by sha256."""
    missing = (layer for plan in plans for key, layer in _chain(plan) if layer and key not in present)
    return {_key(package): package.size or 0 for layer in missing for package in layer.packages}


@cache
def _chain(plan: Plan) -> "list[tuple[str, Layer | None]]":
    """A plan's layers from the base on, each with a name for all that it and those below it are made of."""
    state = hashlib.sha256(plan.debian.ref.encode())
    found: list[tuple[str, Layer | None]] = [(state.hexdigest()[:KEY], None)]
    for layer in plan.layers:
        state.update(json.dumps([layer.name, layer.pins, layer.lacks, *_made_of(plan, layer)]).encode())
        found.append((state.hexdigest()[:KEY], layer))
    return found


def _made_of(plan: Plan, layer: Layer) -> "list[object]":
    """What a layer is made from beside its wheels: its own inputs, the tools that install, its templates."""
    own = {"debian": plan.debian_packages, "python": plan.python.ref, "user": plan.cell.id}.get(layer.name)
    tools = [plan.tool.ref, *(tool.sha256 for tool in plan.tools)] if layer.packages or layer.name == "user" else []
    names = (*OF_EVERY_LAYER, f"layers/{layer.template}.j2", *MADE_BY.get(layer.template, ()))
    if layer.packages:
        names += ("steps/install-tools",)
    return [own, tools, [entry for entry in plan.templates if entry[0].startswith(names)]]


def _key(package: Package) -> str:
    return package.sha256 or package.file


def total(layers: "list[Forecast]") -> Sum:
    """Add up."""
    return Sum(
        cells=len({cell for layer in layers for cell in layer.cells}),
        alone=sum(layer.stored * len(layer.cells) for layer in layers),
        stored=sum(layer.stored for layer in layers),
        missing=sum(layer.stored for layer in layers if not layer.there),
        fetch=sum(layer.fetch for layer in layers),
    )
