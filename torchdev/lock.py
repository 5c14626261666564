"""Locks: exact versions, sha256 and sizes of every wheel of a cell, resolved by uv for the cell's platform.

A lock holds no URLs: which index serves the bytes is the business of the machine that builds.
"""

import hashlib
import json
import os
import subprocess
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename
from uv import find_uv_bin

from torchdev.errors import BuildError, InputError
from torchdev.host import Host
from torchdev.matrix import Cell

UV = "0.13.9"
"""The uv that resolves here, installs in builds and is part of every image."""
PLATFORM = "linux/amd64"
GLIBC = (2, 36)
"""glibc of Debian 12 (bookworm), the base of every image."""
MINIMUM_GLIBC = 17
CUDA_RUNTIME = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime-cu11")


@dataclass(frozen=True)
class Package:
    """One wheel. `size` and `installed` are bytes: of the file, and of all that it unpacks to."""

    name: str
    version: str
    file: str
    sha256: str
    size: int
    installed: int

    @property
    def requirement(self) -> str:
        """A line of a requirements file that admits just this wheel."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"

    @property
    def any_python(self) -> bool:
        """Whether the wheel is the same for every Python 3."""
        return all(
            tag.interpreter in ("py2", "py3") and tag.abi == "none" for tag in parse_wheel_filename(self.file)[3]
        )


@dataclass(frozen=True)
class Lock:
    """All that enters a cell by way of a package index."""

    cell: str
    python: str
    platform: str
    inputs: str
    uv: Package
    packages: tuple[Package, ...]

    def version(self, name: str) -> "str | None":
        """The locked version of a distribution, or None if it is not part of the cell."""
        return next((package.version for package in self.packages if package.name == name), None)

    @property
    def cudnn(self) -> "str | None":
        """The cuDNN version, four parts, of the locked wheel; None where there is none."""
        return next((p.version for p in self.packages if p.name.startswith("nvidia-cudnn-")), None)

    @property
    def digest(self) -> str:
        """sha256 of the lock as written."""
        return f"sha256:{hashlib.sha256(to_text(self).encode()).hexdigest()}"


def inputs_digest(cell: Cell) -> str:
    """sha256 of everything that a cell's resolution depends on; another digest makes the lock stale."""
    inputs = {
        "python": cell.python,
        "flavour": cell.flavour,
        "platform": PLATFORM,
        "uv": UV,
        "requirements": cell.requirements,
    }
    return f"sha256:{hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()}"


def to_text(lock: Lock) -> str:
    """A lock as it is committed: JSON, one package a line, so that a changed version is a changed line."""
    head = {key: value for key, value in asdict(lock).items() if key not in ("packages", "uv")}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    packages = ",\n".join(f"    {json.dumps(asdict(package))}" for package in lock.packages)
    uv = f'  "uv": {json.dumps(asdict(lock.uv))},'
    return "\n".join(["{", *lines, uv, '  "packages": [', packages, "  ]", "}"]) + "\n"


def read_lock(path: Path, cell: Cell) -> Lock:
    """Read a cell's lock; a missing, malformed or stale one is an InputError that names the command."""
    shown, command = f"images/{cell.id}/lock.json", f"python build.py lock {cell.id}"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        packages = tuple(Package(**entry) for entry in data.pop("packages"))
        lock = Lock(uv=Package(**data.pop("uv")), packages=packages, **data)
    except FileNotFoundError:
        raise InputError("this cell has no lock yet", where=shown, next_step=command) from None
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"not a lock: {error}", where=shown, next_step=command) from None
    if lock.inputs != inputs_digest(cell):
        raise InputError("the lock is stale: matrix.yaml asks for something else now", where=shown, next_step=command)
    return lock


def resolve(cell: Cell, host: Host, known: "dict[str, int] | None" = None) -> Lock:
    """Resolve a cell by uv against the host's index; `known` maps sha256 to installed bytes read before."""
    packages = _pinned(_uv_compile(cell, host, cell.requirements), cell.python, host, known or {})
    tool = _pinned(_uv_compile(cell, host, (f"uv=={UV}",)), cell.python, host, known or {})
    _check_flavour(cell, packages)
    return Lock(cell.id, cell.python, PLATFORM, inputs_digest(cell), tool[0], packages)


def index_refusal(host: Host) -> "str | None":
    """Why the host's package index can't be used, in a line of uv's; None if it answers."""
    done, _ = _run_uv(host, "3.11", (f"uv=={UV}",))
    return done.stderr.strip().splitlines()[-1].strip() if done.returncode else None


def _uv_compile(cell: Cell, host: Host, requirements: "tuple[str, ...]") -> "list[dict[str, Any]]":
    """The packages of the pylock.toml (PEP 751) that uv writes for the cell's Python and platform."""
    done, text = _run_uv(host, cell.python, requirements)
    if done.returncode:
        raise _not_resolved(cell, done.stderr)
    packages: list[dict[str, Any]] = tomllib.loads(text)["packages"]
    return packages


def _run_uv(host: Host, python: str, requirements: "tuple[str, ...]") -> "tuple[subprocess.CompletedProcess[str], str]":
    """Uv's outcome, and the pylock.toml it wrote."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in.txt").write_text("".join(f"{line}\n" for line in requirements))
        (folder / "uv.toml").write_text(host.uv_toml())
        command = [
            find_uv_bin(),
            "pip",
            "compile",
            "in.txt",
            "--quiet",
            "--no-header",
            "--only-binary",
            ":all:",
            "--python-version",
            python,
            "--python-platform",
            f"x86_64-manylinux_{GLIBC[0]}_{GLIBC[1]}",
            "--format",
            "pylock.toml",
            "--output-file",
            "pylock.toml",
        ]
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


def _pinned(found: "list[dict[str, Any]]", python: str, host: Host, known: dict[str, int]) -> tuple[Package, ...]:
    order = _tag_order(python)
    chosen = [(entry, _best_wheel(entry, order)) for entry in found]
    with ThreadPoolExecutor(8) as pool:
        sizes = pool.map(lambda pair: _installed_bytes(pair[1], host, known), chosen)
        return tuple(
            Package(
                str(canonicalize_name(entry["name"])),
                entry["version"],
                _file(wheel),
                wheel["hashes"]["sha256"],
                wheel["size"],
                installed,
            )
            for (entry, wheel), installed in zip(chosen, sizes, strict=True)
        )


def _tag_order(python: str) -> dict[str, int]:
    """Wheel tags that the cell's interpreter accepts, best first, as its installer would rank them."""
    version = tuple(int(part) for part in python.split("."))
    manylinux = [f"manylinux_{GLIBC[0]}_{minor}_x86_64" for minor in range(GLIBC[1], MINIMUM_GLIBC - 1, -1)]
    platforms = [*manylinux, "manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]
    interpreter = f"cp{''.join(map(str, version))}"
    tags = [*cpython_tags(version, platforms=platforms), *compatible_tags(version, interpreter, platforms)]
    return {str(tag): rank for rank, tag in reversed(list(enumerate(tags)))}


def _best_wheel(entry: "dict[str, Any]", order: dict[str, int]) -> "dict[str, Any]":
    def rank(wheel: "dict[str, Any]") -> int:
        return min(order.get(str(tag), len(order)) for tag in parse_wheel_filename(_file(wheel))[3])

    best: dict[str, Any] = min(entry["wheels"], key=rank)
    return best


def _file(wheel: "dict[str, Any]") -> str:
    return str(wheel.get("name") or wheel["url"].rsplit("/", 1)[-1]).replace("%2B", "+")


def _installed_bytes(wheel: "dict[str, Any]", host: Host, known: dict[str, int]) -> int:
    """Bytes of all files in a wheel, read off the end of the archive by a range request."""
    sha256 = wheel["hashes"]["sha256"]
    if sha256 in known:
        return known[sha256]
    import requests
    from remotezip import RemoteZip

    with requests.Session() as session:
        if host.ca_bundle:
            session.verify = str(host.ca_bundle)
        with RemoteZip(wheel["url"], session=session) as archive:
            return sum(entry.file_size for entry in archive.infolist())


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
