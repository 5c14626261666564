"""The buildx command line: runs it, and parses what it prints about builders."""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torchdev.util import process
from torchdev.util.amounts import read_bytes
from torchdev.util.commands import build_py
from torchdev.util.errors import BuildError, EngineError
from torchdev.util.redact import Private
from torchdev.util.texts import shown

OnLine = Callable[[str], None]
VARIABLES = {
    "BUILDKIT_PROGRESS": "plain",
    "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
    # From 0.20 on, bake asks before it reads a file outside the current folder, such as the CA bundle.
    "BUILDX_BAKE_ENTITLEMENTS_FS": "0",
}

AT_ONCE = 100
"""As many ids go into one command line."""


@dataclass(frozen=True)
class Builder:
    """A builder as `buildx inspect` describes it: the driver docker is the engine's own BuildKit.

    `text` is the whole output.
    """

    name: str
    driver: str
    platforms: tuple[str, ...]
    text: str = ""


NOTHING = Private()


def run(arguments: "list[str]", log: Path, on_line: "OnLine | None" = None, private: Private = NOTHING) -> None:
    """Run `docker buildx` with its output in a log, and pass each line to `on_line`; BuildError if it fails.

    Secrets are passed in its environment, and removed from every line of its output.
    """
    docker_cli = shutil.which("docker")
    if not docker_cli:
        raise EngineError("the docker command is missing", next_step=build_py("quickstart"))
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:

        def note(line: str) -> None:
            line = private.clean(line)
            file.write(line)
            file.flush()
            if on_line:
                on_line(line)

        if process.run([docker_cli, "buildx", *arguments], note, env={**VARIABLES, **private.variables}):
            raise BuildError("docker buildx failed", where=str(log))


@dataclass(frozen=True)
class Record:
    """One entry of the build cache, with its size in bytes; `shared`: an image uses the same bytes."""

    id: str
    size: int
    shared: bool
    description: str


def records(options: "Sequence[str]" = ()) -> "list[Record]":
    """Every entry of a builder's cache; `options` name the builder, or are empty for the current one."""
    return read_records(_output(["du", *options, "--verbose"]))


def _output(arguments: "list[str]") -> str:
    """The output of `docker buildx`; BuildError with its last line if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        try:
            run(arguments, log)
        except BuildError:
            lines = log.read_text(encoding="utf-8").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "it says nothing")
            what = f"docker buildx {arguments[0]} failed: {shown(last, 400)}"
            raise BuildError(what, next_step=build_py("doctor")) from None
        return log.read_text(encoding="utf-8")


def read_records(text: str) -> "list[Record]":
    """Parse the output of `buildx du --verbose`."""
    blocks = (dict(re.findall(r"^([A-Z][\w ]*):[ \t]*(.*)$", block, re.MULTILINE)) for block in text.split("\n\n"))
    return [
        Record(
            block["ID"],
            read_bytes(block.get("Size", "")),
            block.get("Shared") == "true",
            block.get("Description", ""),
        )
        for block in blocks
        if "ID" in block
    ]


def prune(ids: "Iterable[str]", options: "Sequence[str]" = ()) -> None:
    """Remove entries of a builder's cache by id; entries in use, and those that images need, stay."""
    ids = list(ids)
    for first in range(0, len(ids), AT_ONCE):
        some = "|".join(ids[first : first + AT_ONCE])
        _output(["prune", *options, "--force", "--filter", f"id=^({some})$"])


def inspect(name: str, log: Path) -> "Builder | None":
    """A builder by name, or the current one; None if there is none. The output of buildx goes into a log."""
    try:
        run(["inspect", *([name] if name else [])], log)
    except BuildError:
        return None
    return read_inspect(log.read_text(encoding="utf-8"))


def read_inspect(text: str) -> Builder:
    """Parse the output of `buildx inspect`."""

    def said(key: str) -> str:
        found = re.search(rf"^{key}: *(.+)$", text, re.MULTILINE)
        return found[1].strip() if found else ""

    platforms = re.split(r", *", said("Platforms").replace("*", ""))
    return Builder(said("Name"), said("Driver"), tuple(filter(None, platforms)), text)
