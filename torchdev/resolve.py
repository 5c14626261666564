"""Cells to locks: uv resolves for the cell's Python and platform against the host's index.

uv never sees the PyTorch index, which has other things under names that are not its own. Of a flavour that only that
index has, uv gets a stub of torch with the true requirements, and the wheels are put in afterwards.
"""

import dataclasses
import os
import subprocess
import tempfile
import tomllib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from packaging.utils import canonicalize_name, parse_wheel_filename
from uv import find_uv_bin

from torchdev import catalog, pytorch, wheels
from torchdev.errors import BuildError, InputError
from torchdev.host import Host, local_wheels, sha256_of
from torchdev.lock import PLATFORM, PYTORCH, UV, Lock, Package, inputs_digest
from torchdev.matrix import Cell

CUDA_RUNTIME = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime-cu11")
FLAVOURED = ("torch", "torchvision", "torchaudio")
"""The projects whose wheels differ by flavour."""
DEVEL = ("cuda-toolkit[nvcc,nvvm,crt,cccl,profiler,nvtx]", "ninja")
"""What the devel variant adds, from CUDA 13 on, where PyPI has nvcc."""


COMPILE = (
    "pip",
    "compile",
    "in.txt",
    "--constraint=at.txt",
    "--override=over.txt",
    "--quiet",
    "--no-header",
    "--only-binary=:all:",
    f"--python-platform=x86_64-manylinux_{wheels.GLIBC[0]}_{wheels.GLIBC[1]}",
    "--format=pylock.toml",
    "--output-file=pylock.toml",
)


@dataclass(frozen=True)
class Wanted:
    """What uv is asked for: requirements, bounds, forced versions, and folders of stubs."""

    requirements: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()


def resolve(cell: Cell, host: Host, known: "dict[str, int] | None" = None) -> Lock:
    """Resolve a cell by uv against the host's index; `known` maps sha256 to installed bytes read before."""
    if catalog.is_on_pypi(cell.torch, cell.flavour):
        packages = _pinned(_uv_compile(cell, host, _wanted(cell)), cell.python, host, known or {})
    else:
        packages = _resolve_elsewhere(cell, host, known or {})
    tool = _pinned(_uv_compile(cell, host, Wanted((f"uv=={UV}",))), cell.python, host, known or {})
    _check_flavour(cell, packages)
    return Lock(cell.id, cell.python, PLATFORM, inputs_digest(cell), tool[0], packages)


def complete(lock: Lock, cell: Cell, host: Host) -> Lock:
    """Fill in what is unresolved from the PyTorch index; BuildError if it is silent or contradicts the lock."""
    pages = {p.name: pytorch.read_page(host, cell.flavour, p.name) for p in lock.packages if p.origin == PYTORCH}
    silent = [name for name, page in pages.items() if page is None]
    if silent:
        names = ", ".join(p.file for p in lock.unresolved)
        what = f"{host.pytorch_index} does not answer, and no hash is known of {names}"
        step = "build where it answers, or set TORCHDEV_PYTORCH_INDEX to a mirror of it"
        raise BuildError(what, where=cell.id, next_step=step)
    filled = [_filled(p, pages[p.name] or [], cell, host) if p.origin == PYTORCH else p for p in lock.packages]
    return dataclasses.replace(lock, packages=tuple(filled))


def index_refusal(host: Host) -> "str | None":
    """Why the host's package index can't be used, in a line of uv's; None if it answers."""
    done, _ = _run_uv(host, "3.11", Wanted((f"uv=={UV}",)))
    return done.stderr.strip().splitlines()[-1].strip() if done.returncode else None


def _wanted(cell: Cell) -> Wanted:
    cuda = cell.flavour[2:4]
    overrides = (f"nvidia-cudnn-cu{cuda}=={cell.cudnn}",) if cell.cudnn else ()
    return Wanted((*cell.requirements, *(DEVEL if cell.devel else ())), cell.constraints, overrides)


def _resolve_elsewhere(cell: Cell, host: Host, known: dict[str, int]) -> tuple[Package, ...]:
    """Resolve a cell whose flavour is not on PyPI: its wheels from a folder of this machine or the PyTorch index."""
    version = f"{cell.torch}+{cell.flavour}"
    names = [name for name in FLAVOURED if any(r.startswith(f"{name}==") for r in cell.requirements)]
    own = {name: _offered(name, cell, host) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        wheels.write_stub(Path(folder), "torch", version, _torch_requirements(own["torch"], version, cell, host))
        asked = _wanted(cell)
        exact = tuple(f"torch=={version}" if r.startswith("torch==") else r for r in asked.requirements)
        wanted = dataclasses.replace(asked, requirements=exact, folders=(Path(folder),))
        found = _uv_compile(cell, host, wanted)
    rest = _pinned([entry for entry in found if entry["name"] not in own], cell.python, host, known)
    flavoured = (_package(own[e["name"]], e["name"], e["version"], cell, host) for e in found if e["name"] in own)
    return tuple(sorted((*rest, *flavoured), key=lambda package: package.name))


@dataclass(frozen=True)
class Offer:
    """A wheel of a flavour: its file name, its hash if it is known, and where it can be read, if anywhere."""

    file: str
    sha256: "str | None"
    place: "str | Path | None"


def _offered(name: str, cell: Cell, host: Host) -> "Offer | None":
    """The wheel of a flavoured project for a cell: from a folder of this machine, the PyTorch index, or known facts."""
    required = next(r for r in cell.requirements if r.startswith(f"{name}=="))
    version = f"{required.partition('==')[2]}+{cell.flavour}"
    known = pytorch.known_files(cell.flavour)
    local = {path.name: path for path in local_wheels(host, name)}
    file = wheels.best((f for f in local if _version(f) == version), cell.python)
    if file:
        return _agreed(Offer(file, sha256_of(local[file]), local[file]), known, cell)
    links = {link.file: link for link in pytorch.read_page(host, cell.flavour, name) or []}
    file = wheels.best((f for f in links if _version(f) == version), cell.python)
    if file:
        return _agreed(Offer(file, links[file].sha256, links[file].url), known, cell)
    file = wheels.best((f for f in known if f.startswith(f"{name}-") and _version(f) == version), cell.python)
    return Offer(file, known[file], None) if file else None


def _agreed(offer: Offer, known: dict[str, str], cell: Cell) -> Offer:
    """The offer, unless its hash is not the known one."""
    if offer.sha256 and known.get(offer.file, offer.sha256) != offer.sha256:
        what = (
            f"{offer.file} has another sha256 than the known one\n  known: {known[offer.file]}\n  found: {offer.sha256}"
        )
        raise BuildError(what, where=cell.id, next_step=f"do not use that file; find out who changed it: {offer.place}")
    return offer


def _torch_requirements(offer: "Offer | None", version: str, cell: Cell, host: Host) -> "list[str]":
    if offer and offer.place:
        with wheels.opened(offer.place, host) as archive:
            return wheels.requirements(archive)
    known = pytorch.known_requirements(version)
    if known is None:
        what = f"torch {version} is only on the PyTorch index, which does not answer at {host.pytorch_index}"
        step = (
            "lock where it answers, set TORCHDEV_PYTORCH_INDEX to a mirror, or put the wheel into a find-links folder"
        )
        raise BuildError(what, where=cell.id, next_step=step)
    return known


def _package(offer: "Offer | None", name: str, version: str, cell: Cell, host: Host) -> Package:
    """A flavoured wheel as it is locked; without an offer it is unresolved, and has the name it should have."""
    version = f"{version.partition('+')[0]}+{cell.flavour}"
    tag = f"cp{cell.python.replace('.', '')}"
    if offer is None:
        return Package(
            name, version, f"{name}-{version}-{tag}-{tag}-manylinux_2_28_x86_64.whl", None, None, None, PYTORCH
        )
    if offer.place is None:
        return Package(name, version, offer.file, offer.sha256, None, None, PYTORCH)
    with wheels.opened(offer.place, host) as archive:
        return Package(
            name, version, offer.file, offer.sha256, _size(offer.place, host), wheels.unpacked(archive), PYTORCH
        )


def _filled(package: Package, links: "list[pytorch.Link]", cell: Cell, host: Host) -> Package:
    """A locked wheel with what the PyTorch index says of it."""
    files = {link.file: link for link in links if _version(link.file) == package.version}
    file = package.file if package.file in files else wheels.best(files, cell.python)
    if file is None or (package.sha256 and file != package.file):
        raise BuildError(f"the PyTorch index has no {package.file}", where=cell.id)
    link = files[file]
    known = {package.file: package.sha256} if package.sha256 else {}
    offer = _agreed(Offer(file, link.sha256, link.url), known, cell)
    if offer.sha256 is None:
        raise BuildError(f"the PyTorch index gives no sha256 of {file}", where=cell.id)
    return _package(offer, package.name, package.version, cell, host)


def _size(place: "str | Path", host: Host) -> int:
    if isinstance(place, Path):
        return place.stat().st_size
    verify = str(host.ca_bundle) if host.ca_bundle else True
    return int(requests.head(place, timeout=20, verify=verify, allow_redirects=True).headers["Content-Length"])


def _version(file: str) -> str:
    return str(parse_wheel_filename(file)[1])


def _uv_compile(cell: Cell, host: Host, wanted: Wanted) -> "list[dict[str, Any]]":
    """The packages of the pylock.toml (PEP 751) that uv writes for the cell's Python and platform."""
    done, text = _run_uv(host, cell.python, wanted)
    if done.returncode:
        raise _not_resolved(cell, done.stderr)
    packages: list[dict[str, Any]] = tomllib.loads(text)["packages"]
    return packages


def _run_uv(host: Host, python: str, wanted: Wanted) -> "tuple[subprocess.CompletedProcess[str], str]":
    """Uv's outcome, and the pylock.toml it wrote."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, lines in (("in", wanted.requirements), ("at", wanted.constraints), ("over", wanted.overrides)):
            (folder / f"{file}.txt").write_text("".join(f"{line}\n" for line in lines))
        (folder / "uv.toml").write_text(host.uv_toml())
        command = [find_uv_bin(), *COMPILE, "--python-version", python]
        command += [f"--find-links={path}" for path in wanted.folders]
        done = subprocess.run(command, cwd=folder, env=_environment(host, folder), capture_output=True, text=True)
        return done, "" if done.returncode else (folder / "pylock.toml").read_text()


def _environment(host: Host, folder: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("UV_")}
    kept["UV_CONFIG_FILE"] = str(folder / "uv.toml")
    return kept | ({"SSL_CERT_FILE": str(host.ca_bundle)} if host.ca_bundle else {})


def _not_resolved(cell: Cell, message: str) -> BuildError:
    network = ("dns error", "Connection refused", "tcp connect", "timed out", "Could not connect", "client error")
    if any(sign in message for sign in network):
        what = "the package index can't be reached"
        step = "check the network, proxies (HTTPS_PROXY) and index (pip config list); then python build.py doctor"
    else:
        what = "uv finds no set of versions that fits"
        step = f"change the row at {cell.place}, then python build.py lock {cell.id}"
    return BuildError(f"{what}\n{message.strip()}", where=cell.id, next_step=step)


def _pinned(found: "Iterable[dict[str, Any]]", python: str, host: Host, known: dict[str, int]) -> tuple[Package, ...]:
    def pin(entry: "dict[str, Any]") -> Package:
        files = {_file(wheel): wheel for wheel in entry["wheels"]}
        file = wheels.best(files, python) or next(iter(files))
        sha256 = str(files[file]["hashes"]["sha256"])
        installed = known.get(sha256)
        if installed is None:
            with wheels.opened(str(files[file]["url"]), host) as archive:
                installed = wheels.unpacked(archive)
        name = str(canonicalize_name(entry["name"]))
        return Package(name, entry["version"], file, sha256, files[file]["size"], installed)

    with ThreadPoolExecutor(8) as pool:
        return tuple(pool.map(pin, found))


def _file(wheel: "dict[str, Any]") -> str:
    return str(wheel.get("name") or wheel["url"].rsplit("/", 1)[-1]).replace("%2B", "+")


def _check_flavour(cell: Cell, packages: tuple[Package, ...]) -> None:
    """Refuse a resolution whose CUDA is not what the cell's tag says."""
    runtime = next((p.version for p in packages if p.name in CUDA_RUNTIME), None)
    found = ".".join(runtime.split(".")[:2]) if runtime else None
    if found != cell.cuda:
        raise InputError(
            f"torch {cell.torch} of the package index is built for CUDA {found or 'none (cpu)'}, not {cell.flavour}",
            where=str(cell.place),
            next_step=f"change cuda or torch of that row, then python build.py lock {cell.id}",
        )
