"""Parses a rendered Dockerfile: which files of the context it uses, and what each layer is made from."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

STEPS = "/steps"
"""Where steps are mounted. A step that is started by its own path, and not by scripts/sealed, mounts only itself."""
FETCHES = "fetch-"
"""Stages that fetch files listed by hash: their output is known, whatever fetches it."""
MOUNT = re.compile(r"--mount=(\S+)\s*")


@dataclass(frozen=True)
class Stage:
    """A stage: its name, its base, and its instructions, each in one line."""

    name: str
    base: str
    steps: tuple[str, ...]


def stages(text: str) -> "tuple[Stage, ...]":
    """The stages of a Dockerfile."""
    lines = "".join(line for line in text.splitlines(keepends=True) if not line.lstrip().startswith("#"))
    found: list[Stage] = []
    for line in filter(None, map(str.strip, lines.replace("\\\n", "").splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(name.strip(), base.strip(), ()))
        elif found:
            last = found.pop()
            found.append(Stage(last.name, last.base, (*last.steps, line)))
    return tuple(found)


def taken(text: str) -> "tuple[str, ...]":
    """Files and folders of the build context that a Dockerfile mounts or copies."""
    steps = (step for stage in stages(text) for step in stage.steps)
    return tuple(sorted({path for step in steps for path in (*_bound(step), *_copied(step))}))


def _bound(step: str) -> "Iterator[str]":
    for mount in map(_options, MOUNT.findall(step) if step.startswith("RUN ") else ()):
        if mount.get("type") == "bind" and "from" not in mount:
            yield mount.get("source", "").strip("/")


def _copied(step: str) -> "list[str]":
    words = step.split()
    return [] if words[0] != "COPY" or "--from=" in step else [word.strip("/") for word in words[1:-1]]


def _options(mount: str) -> "dict[str, str]":
    return dict(part.partition("=")[::2] for part in mount.split(","))


@dataclass(frozen=True)
class Recipe:
    """A Dockerfile, with the hashes of the files of the build context that it uses, by path.

    `layers` has a hash for each layer above the base, lowest first: of what BuildKit's key of a step includes, the
    commands and the mounted content. As in that key, the path of a file in the context does not matter. Unlike in that
    key, layers below do not count, and the output of another stage counts by its own inputs, because it does not exist
    yet.
    """

    text: str
    files: "Mapping[str, str]"

    @cached_property
    def _stages(self) -> "dict[str, Stage]":
        return {stage.name: stage for stage in stages(self.text)}

    @cached_property
    def layers(self) -> "tuple[str, ...]":
        """A hash for each RUN of the image, from its base on."""
        line = [stages(self.text)[-1]]
        while line[0].base in self._stages:
            line.insert(0, self._stages[line[0].base])
        found, before = [], list[object]()
        for step in (step for stage in line for step in stage.steps):
            before.append(self._step(step))
            if step.startswith("RUN "):
                found.append(_hash(before))
                before = []
        return tuple(found)

    def _step(self, step: str) -> "list[object]":
        """The inputs of a step."""
        command = MOUNT.sub("", step)
        program = command.removeprefix("RUN ").split()[0]
        mounts = [self._mount(_options(mount), program) for mount in MOUNT.findall(step)]
        copied = [self._content(path) for path in _copied(step)]
        return [command.split()[-1] if copied else command, mounts, copied]

    def _mount(self, mount: "Mapping[str, str]", program: str) -> "list[object]":
        rest = sorted(item for item in mount.items() if item[0] not in ("source", "from"))
        source, stage = mount.get("source", ""), mount.get("from", "")
        if mount.get("type") != "bind":
            return [rest, source]
        if stage:
            return [rest, source, self._stage(stage)]
        alone = program.removeprefix(f"{STEPS}/") if mount.get("target") == STEPS else program
        return [rest, self._content(f"{source.strip('/')}/{alone}" if alone != program else source.strip("/"))]

    def _stage(self, name: str) -> "list[object]":
        """The inputs of a stage, except those that are listed by hash elsewhere."""
        if name.startswith(FETCHES):
            return []
        stage = self._stages.get(name, Stage(name, name, ()))
        below = self._stage(stage.base) if stage.base in self._stages else [stage.base]
        return [*below, *(self._step(step) for step in stage.steps)]

    def _content(self, path: str) -> "list[tuple[str, str]]":
        """A file, or all files in a folder by their paths in it."""
        if path in self.files:
            return [("", self.files[path])]
        return sorted(
            (name.removeprefix(f"{path}/"), h) for name, h in self.files.items() if name.startswith(f"{path}/")
        )


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
