"""Dockerfiles as people write them: a Python image, then one pip, or one uv, for each cell by itself."""

from collections.abc import Iterable
from pathlib import Path

from bench.cells import Subject
from torchdev.wheels.host import Host, find_wheels, link_or_copy

REPOSITORY = {"naive": "torchdev-bench-naive", "uv": "torchdev-bench-uv", "expert": "torchdev-bench-expert"}
"""Repository names of the images."""
NOTHING = ""


def image(contender: str, subject: Subject) -> str:
    """The name of a cell's image."""
    return f"{REPOSITORY[contender]}:{subject.id}"


def dockerfile(contender: str, subject: Subject, base: str, host: Host, *, package: str = NOTHING) -> str:
    """The text for a cell; with one more Debian package where people put it, above pip.

    What makes it fit this machine, index and certificates, comes by mounts and leaves nothing in the image.
    """
    above = f"RUN apt-get update && apt-get install -y {package} && rm -rf /var/lib/apt/lists/*\n" if package else ""
    mounts = " ".join(_mounts(host))
    names = " ".join(subject.asked)
    pip = f"RUN {mounts} {variables(host)} pip install --no-cache-dir"
    if contender == "naive":
        return f"FROM {base}\n{above}{pip} -c /constraints.txt {names}\n"
    uv = f"RUN {mounts} {variables(host)} uv pip install --system --no-cache --compile-bytecode"
    return f"FROM {base}\n{above}{pip} uv=={subject.uv}\n{uv} -c /constraints.txt {names}\n"


def _mounts(host: Host) -> Iterable[str]:
    yield "--mount=type=bind,source=constraints.txt,target=/constraints.txt"
    yield "--mount=type=bind,source=wheels,target=/wheels"
    yield from secret_mounts(host)


def secret_mounts(host: Host) -> Iterable[str]:
    """What a step needs to see of this machine's settings for downloads."""
    yield "--mount=type=secret,id=pip.conf,target=/etc/pip.conf"
    yield "--mount=type=secret,id=uv.toml,target=/etc/uv/uv.toml"
    if host.ca_bundle:
        yield "--mount=type=secret,id=ca,target=/run/secrets/ca"
    if host.logins:
        yield "--mount=type=secret,id=netrc,target=/run/secrets/netrc"


def variables(host: Host) -> str:
    """The variables that a step needs for its downloads on this machine."""
    found = {"PIP_DEFAULT_TIMEOUT": "300", "UV_HTTP_TIMEOUT": "300"}
    if host.ca_bundle:
        found |= {"PIP_CERT": "/run/secrets/ca", "SSL_CERT_FILE": "/run/secrets/ca"}
    if host.logins:
        found["NETRC"] = "/run/secrets/netrc"
    if host.folders:
        found |= {"PIP_FIND_LINKS": "/wheels", "UV_FIND_LINKS": "/wheels"}
    if host.extra_indexes:
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # as pip does
    return " ".join(f"{name}={value}" for name, value in found.items())


def write(folder: Path, text: str, subject: Subject, host: Host) -> None:
    """Write a build's context and secrets; wheels of the host's own folders lie in it, where these are wanted."""
    context = folder / "context"
    context.mkdir(parents=True)
    (context / "Dockerfile").write_text(text)
    (context / "constraints.txt").write_text(subject.pins)
    write_secrets(folder, host)
    link_wheels(context / "wheels", subject, host)


def write_secrets(folder: Path, host: Host) -> None:
    """Write the files that `secret_files` names."""
    (folder / "pip.conf").write_text(host.pip_conf())
    (folder / "uv.toml").write_text(host.uv_toml())
    (folder / "netrc").write_text(host.secrets().get("netrc", ""))


def secret_files(folder: Path, host: Host) -> dict[str, Path]:
    """The secrets of a build: name to file, for those that this machine has."""
    found = {"pip.conf": folder / "pip.conf", "uv.toml": folder / "uv.toml"}
    if host.ca_bundle:
        found["ca"] = host.ca_bundle
    if host.logins:
        found["netrc"] = folder / "netrc"
    return found


def link_wheels(folder: Path, subject: Subject, host: Host) -> None:
    """Put the cell's wheels that this machine's own folders have into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [(wheel.name, wheel.file, wheel.sha256) for wheel in subject.wheels]
    for name, path in find_wheels(host, wanted).items():
        link_or_copy(path, folder / name)


def command(contender: str, subject: Subject, folder: Path, host: Host) -> "list[str]":
    """The docker command that builds a cell."""
    return [
        *("docker", "buildx", "build", "--load", "--provenance=false", "--progress=plain"),
        *(f"--secret=id={name},src={path}" for name, path in secret_files(folder, host).items()),
        *(f"--build-arg={name}" for name, _ in host.proxies),  # source.variables has their values
        f"--tag={image(contender, subject)}",
        str(folder / "context"),
    ]
