"""The buildx command line: run it, and read what it says of a builder."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from torchdev import process
from torchdev.errors import BuildError, EngineError

VARIABLES = {
    "BUILDKIT_PROGRESS": "plain",
    "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
    # From 0.20 on, bake asks before it reads a file outside the current folder, such as the CA bundle.
    "BUILDX_BAKE_ENTITLEMENTS_FS": "0",
}


@dataclass(frozen=True)
class Builder:
    """What `buildx inspect` says of a builder: docker is the engine's own BuildKit, other drivers have their own."""

    name: str
    driver: str
    platforms: tuple[str, ...]


def run(arguments: "list[str]", log: Path, echo: "IO[str] | None" = None) -> None:
    """Run `docker buildx`, its whole output in a log; BuildError with the log's text if it fails."""
    docker_cli = shutil.which("docker")
    if not docker_cli:
        raise EngineError("the docker command is missing", next_step="python build.py quickstart")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:

        def note(line: str) -> None:
            file.write(line)
            if echo:
                echo.write(line)

        if process.run([docker_cli, "buildx", *arguments], note, env=VARIABLES):
            raise BuildError("docker buildx failed", where=str(log))


def inspect(name: str, log: Path) -> "Builder | None":
    """A builder by name, or the current one; None if there is none. What buildx says goes into a log."""
    try:
        run(["inspect", *([name] if name else [])], log)
    except BuildError:
        return None
    return read_inspect(log.read_text(encoding="utf-8"))


def read_inspect(text: str) -> Builder:
    """What `buildx inspect` prints, read."""

    def said(key: str) -> str:
        found = re.search(rf"^{key}: *(.+)$", text, re.MULTILINE)
        return found[1].strip() if found else ""

    platforms = re.split(r", *", said("Platforms").replace("*", ""))
    return Builder(said("Name"), said("Driver"), tuple(filter(None, platforms)))
