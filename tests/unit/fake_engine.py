"""An engine in memory, and build sessions of tests: by default with nothing to share and nobody to tell."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from torchdev.engine.client import Engine, Image
from torchdev.image.paths import Paths
from torchdev.image.plan import Plan
from torchdev.pipeline.inventory import Substitutes
from torchdev.pipeline.run_lock import Disk
from torchdev.pipeline.session import BuildSession, Options
from torchdev.util.errors import BuildError
from torchdev.util.redact import Private
from torchdev.wheels.host import Host


@dataclass(frozen=True, kw_only=True)
class OnSubstitutes(BuildSession):
    """A session that is told what stands in for official bases."""

    given: Substitutes

    def substitutes(self, plan: Plan) -> Substitutes:
        """What was given, whatever the plan."""
        return self.given


def session_of(engine: object, paths: Paths, substitutes: "Substitutes | None" = None, **more: Any) -> BuildSession:
    """A session on an engine, for the folder of a matrix; `more` are fields that are to be otherwise."""
    fields: dict[str, Any] = {
        "engine": cast(Engine, engine),
        "paths": paths,
        "host": Host(),
        "options": Options(),
        "say": lambda text: None,
        "disk": Disk(None),
        "lock_dir": paths.work / "locks",
    }
    fields |= more
    return BuildSession(**fields) if substitutes is None else OnSubstitutes(given=substitutes, **fields)


class FakeEngine:
    """An engine in memory: images by name, what a registry has, and every call that changes anything, in order.

    What bake is asked to build is there at once, with the labels of the bake file; a cell in `failing` ends as
    failed builds do.
    """

    def __init__(self) -> None:
        self.images: dict[str, Image] = {}
        self.registry: set[str] = set()
        self.failing: set[str] = set()
        self.built: list[str] = []
        self.private: list[Private] = []
        self.looks = 0

    def put(self, name: str, labels: "Mapping[str, str] | None" = None, id_: str = "") -> Image:
        """An image of this name, which tells it from all others."""
        self.images[name] = Image(
            id=id_ or f"sha256:{len(self.images)}-{name}", size=1, layers=(), labels=dict(labels or {})
        )
        return self.images[name]

    def names(self) -> "dict[str, tuple[str, Mapping[str, str]]]":
        """Every name, with id and labels; each look is counted."""
        self.looks += 1
        return {name: (image.id, image.labels) for name, image in self.images.items()}

    def image(self, name: str) -> "Image | None":
        """By name or id."""
        return self.images.get(name) or next((i for i in self.images.values() if i.id == name), None)

    def tag(self, image: str, name: str) -> None:
        """Give an image a name."""
        found = self.image(image)
        assert found
        self.images[name] = found

    def untag(self, name: str) -> None:
        """Take a name away."""
        self.images.pop(name, None)

    def give_back(self, name: str, image: str, before: str) -> None:
        """Take a name from an image, for the one that had it before."""
        self.images.pop(name, None)
        if before:
            self.tag(before, name)

    def containers(self, label: str) -> "list[object]":
        """None."""
        return []

    def remove_containers(self, label: str) -> None:
        """There are none."""

    def registry_digest(self, name: str) -> "str | None":
        """What the registry has."""
        return "sha256:there" if name in self.registry else None

    def push(self, name: str) -> str:
        """The registry has it then."""
        self.registry.add(name)
        image = self.images[name]
        pushed = f"{name.rpartition(':')[0]}@sha256:there"
        self.images |= {n: replace(i, pushed=(pushed,)) for n, i in self.images.items() if i.id == image.id}
        return "sha256:there"

    def info(self) -> "dict[str, str]":
        """What it says of itself."""
        return {"ID": "fake", "Architecture": "x86_64"}

    def platform(self) -> str:
        """Its own."""
        return "linux/amd64"

    def disk(self) -> None:
        """It is elsewhere."""

    def layer_sizes(self, image: Image) -> "list[tuple[str, int]]":
        """One layer."""
        return [(image.id, 1)]

    def buildx(self, arguments: "list[str]", log: Path, on_line: "Callable[[str], None]", private: Private) -> None:
        """Bake: the target's candidate is there, unless only a stage of it was asked for."""
        self.private.append(private)
        asked = json.loads(Path(arguments[arguments.index("--file") + 1]).read_text())["target"]
        for name, target in asked.items():
            stage = next((word for word in arguments if word.startswith(f"--set={name}.target=")), "")
            self.built.append(stage.rpartition("=")[2] or name)
            if name in self.failing:
                log.parent.mkdir(parents=True, exist_ok=True)
                log.write_text("#1 ERROR: it failed\n")
                raise BuildError("it failed")
            if not stage:
                self.put(target["tags"][0], target["labels"])
