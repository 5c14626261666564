"""The inventory: digests of the inputs of images, and which layers the engine's images have."""

import hashlib
import json
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torchdev.bases import debsource
from torchdev.catalog.bases import Base
from torchdev.engine.client import Engine
from torchdev.image.dockerfile import taken
from torchdev.image.paths import Paths
from torchdev.image.plan import Plan
from torchdev.pipeline.estimate import chain
from torchdev.util import files
from torchdev.util.files import UNFINISHED

INPUTS_LABEL = "io.torchdev.inputs"
LAYERS_LABEL = "io.torchdev.layers"
"""Label with the names of an image's layers, as the size estimate names them."""
VERSION_LABEL = "io.torchdev.version"
"""Label with the version of torchdev that built an image. It is no input: a new version makes no image stale."""
ORIGIN_LABEL, OFFICIAL, BOOTSTRAPPED = "io.torchdev.base.origin", "official", "bootstrapped"


@dataclass(frozen=True)
class Substitute:
    """A substitute base image of this engine, by name and id.

    `layout` is its OCI layout, FOLDER@DIGEST, for builders that don't see the engine's images. `source` has the labels
    that name the source its Python was compiled from.
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

Substitutes = dict[str, Substitute]
"""FROM string of an official image to its substitute."""


class Inputs:
    """Digests of the inputs of images. A cell's files are read once."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._files: dict[str, Any] = {}  # hashlib objects that have read the files
        self._lock = threading.Lock()

    def of(self, plan: Plan, substitutes: Substitutes) -> str:
        """sha256 of the files that a cell's build uses, and of its bases. Equal inputs need no new build."""
        bases = [substitutes[base.ref].id if base.ref in substitutes else base.ref for base in plan.bases]
        with self._lock:
            if plan.cell.id not in self._files:
                found = context_files(plan, self._paths)
                parts = [(name, path.read_bytes().decode("utf-8", "surrogateescape")) for name, path in found]
                self._files[plan.cell.id] = hashlib.sha256(f"[{json.dumps(parts)}, ".encode())
            digest = self._files[plan.cell.id].copy()
        digest.update(f"{json.dumps(bases)}]".encode())
        return f"sha256:{digest.hexdigest()}"


def context_files(plan: Plan, paths: Paths) -> "list[tuple[str, Path]]":
    """The files of the context that a cell's build uses, by name: those in its folder, and those that it mounts.

    All files in its folder count, the lock among them, except leftovers of killed writers.
    """
    images, own, dockerfile = paths.images, paths.cell(plan.cell.id), paths.dockerfile(plan.cell.id)
    text = files.read(dockerfile).decode("utf-8", "replace") if dockerfile.is_file() else ""
    roots = [own, *(images / name for name in taken(text))]
    found = {path for root in roots for path in (root.rglob("*") if root.is_dir() else (root,))}
    kept = sorted(path for path in found if path.is_file() and not path.match(UNFINISHED))
    return [(path.relative_to(images).as_posix(), path) for path in kept]


def find_substitutes(
    engine: Engine, bases: "Iterable[Base]", layouts: "Path | None" = None
) -> "dict[Base, Substitute]":
    """The substitutes of these bases that the engine has; with `layouts`, also written there as OCI layouts."""
    images = {base: engine.image(base.substitute) for base in bases}
    return {
        base: Substitute(
            base.substitute,
            image.id,
            engine.layout(image.id, layouts) if layouts else "",
            debsource.of_image(image.labels),
        )
        for base, image in images.items()
        if image
    }


def substitutes_for(engine: Engine, plan: Plan, bootstrapped: "Iterable[Base]") -> Substitutes:
    """The substitutes of a plan's official bases, by FROM string."""
    made = set(bootstrapped)
    return {
        base.ref: substitute
        for base, substitute in find_substitutes(engine, [b for b in plan.bases if b in made]).items()
    }


def present(
    names: Names, plans: "Iterable[Plan]", wanted: "Callable[[Plan], Collection[str]]", origin: str = ""
) -> "set[str]":
    """The layers, by the size estimate's names, of those images of an engine that have the present bases.

    `names` are what `Engine.names` has; `origin` tells which bases a build takes, if that is known. A plan's image has
    all of the plan's layers, whatever its label says, if it was made of inputs that are `wanted`.
    """
    plans = tuple(plans)
    shared = {key for plan in plans for key in chain(plan)[: 1 + len(plan.below_python)]}
    found: set[str] = set()
    for _, labels in names.values():
        layers = labels.get(LAYERS_LABEL, "").split()
        known = not origin or labels.get(ORIGIN_LABEL, origin) == origin
        if known and _on_same_base(names, labels, "org.opencontainers.image.base"):
            same = _on_same_base(names, labels, "io.torchdev.base.python")
            found.update(layers if same else shared.intersection(layers))
    for plan in plans:
        _, labels = names.get(plan.tags[0], ("", {}))
        if not found.issuperset(chain(plan)) and labels.get(INPUTS_LABEL, "none") in wanted(plan):
            found.update(chain(plan))
    return found


def _on_same_base(names: Names, labels: "Mapping[str, str]", base: str) -> bool:
    """Whether the engine still has the substitute base of an image; for official ones the names of layers tell it."""
    made = labels.get(ORIGIN_LABEL) == BOOTSTRAPPED
    return not made or names.get(labels.get(f"{base}.name", ""), ("", {}))[0] == labels.get(f"{base}.digest")


def possible_inputs(engine: Engine, inputs: Inputs, plans: "Iterable[Plan]") -> "Callable[[Plan], Collection[str]]":
    """The possible digests of a plan's current inputs: on official bases, and on the substitutes that are there.

    Only after asking a registry is it known which bases a build would use.
    """
    made = find_substitutes(engine, dict.fromkeys(base for plan in plans for base in plan.bases))
    substitutes = {base.ref: substitute for base, substitute in made.items()}
    return lambda plan: {inputs.of(plan, {}), inputs.of(plan, substitutes)}
