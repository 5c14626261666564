"""A bake file and its Dockerfile as experts write them by hand for several cells.

One Dockerfile with stages that cells share, uv with a cache that all of them have, requirements pinned in full, CUDA's
libraries in a layer of their own, and all cells built side by side by one `docker buildx bake`.
"""

import json
from pathlib import Path
from typing import Any

from bench import naive
from bench.cells import Subject
from torchdev.wheels.host import Host

CUDA = "nvidia-"
"""How the names of CUDA's wheels begin."""
CACHE = "--mount=type=cache,target=/root/.cache/uv"


def dockerfile(host: Host) -> str:
    """The text for all cells; `BASE` and `UV` are build arguments, and each cell's context has its requirements.

    What makes it fit this machine, index and certificates, comes by mounts and leaves nothing in the image.
    """
    fits = " ".join(
        [*naive.secret_mounts(host), *(["--mount=type=bind,source=wheels,target=/wheels"] * bool(host.folders))]
    )
    variables = naive.variables(host)
    mounted = f"{fits} {CACHE} --mount=type=bind,source={{name}},target=/requirements.txt {variables}"
    install = f"RUN {mounted} uv pip install --no-deps --requirement /requirements.txt"
    return f"""\
ARG BASE
FROM ${{BASE}} AS python
ARG UV
RUN {fits} {variables} pip install --no-cache-dir uv==${{UV}}
ENV UV_SYSTEM_PYTHON=1 UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy

FROM python AS cuda
{install.format(name="cuda.txt")}

FROM cuda
{install.format(name="requirements.txt")}
"""


def requirements(subject: Subject) -> "tuple[str, str]":
    """A cell's pins: those of CUDA's libraries, which other cells of its Python have too, and all others."""
    pins = subject.pins.splitlines(keepends=True)
    return "".join(p for p in pins if p.startswith(CUDA)), "".join(p for p in pins if not p.startswith(CUDA))


def bake_file(folder: Path, subjects: "tuple[Subject, ...]", froms: "dict[str, str]", host: Host) -> dict[str, Any]:
    """The bake file: a target for each cell, whose context is a folder of its name."""
    targets = {
        target(subject): {
            "context": str(folder / subject.id),
            "dockerfile": str(folder / "Dockerfile"),
            "args": {"BASE": froms[subject.python], "UV": subject.uv},
            "secret": [f"id={name},src={path}" for name, path in naive.secret_files(folder, host).items()],
            "tags": [naive.image("expert", subject)],
        }
        for subject in subjects
    }
    return {"group": {"default": {"targets": list(targets)}}, "target": targets}


def target(subject: Subject) -> str:
    """The name of a cell's target: bake allows no dots in it."""
    return subject.id.replace(".", "-")


def write(folder: Path, subjects: "tuple[Subject, ...]", froms: "dict[str, str]", host: Host) -> Path:
    """Write the bake file, the Dockerfile, the contexts and the secrets; the bake file's path."""
    for subject in subjects:
        context = folder / subject.id
        context.mkdir(parents=True)
        for name, text in zip(("cuda.txt", "requirements.txt"), requirements(subject), strict=True):
            (context / name).write_text(text)
        for each in subjects if host.folders else ():  # all have the same, or no step would be shared
            naive.link_wheels(context / "wheels", each, host)
    naive.write_secrets(folder, host)
    (folder / "Dockerfile").write_text(dockerfile(host))
    file = folder / "docker-bake.json"
    file.write_text(json.dumps(bake_file(folder, subjects, froms, host), indent=1))
    return file


def command(file: Path, host: Host) -> "list[str]":
    """The docker command that builds all cells."""
    return [
        *("docker", "buildx", "bake", "--load", "--provenance=false", "--progress=plain", f"--file={file}"),
        *(f"--set=*.args.{name}" for name, _ in host.proxies),  # source.variables has their values
    ]
