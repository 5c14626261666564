"""The contract: what a finished image must be. It comes from matrix, catalog, lock and base, never from the image.

It shares no code with what writes an image's labels and variables, so a mistake on one side shows against the other.
The checks of tests/image compare images with it, field by field (docs/checks.md).
"""

import json
from typing import Any

from torchdev.catalog import facts, releases
from torchdev.catalog.ids import ARM64
from torchdev.catalog.releases import Combination
from torchdev.catalog.versions import order
from torchdev.image import slimming
from torchdev.matrix.load import Cell
from torchdev.wheels.lock import Lock, pip_for

SCHEMA = 1
SITE_PACKAGES = "/usr/local/lib/python/site-packages"
"""PyTorch and CUDA, the same folder for every Python (docs/decisions/0001-one-site-packages.md)."""
PACKAGES = "/usr/local/lib/python/packages"
"""Packages that users install and remove; installers look here for what is installed
(docs/decisions/0011-the-guard.md).
"""
HOME = "/home/dev"
PATH = f"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{HOME}/.local/bin"
CUDA_PATH = "/usr/local/cuda/bin"
STUBS = "/usr/local/cuda/lib64/stubs"
"""The driver's stub libraries, for compilers and not for loaders."""
NAMED_ON_ARM = {"torch": "2.6", "torchvision": "2.11", "torchaudio": "2.11"}
"""What says its CUDA variant in __version__: the first PyTorch of whose release PyPI's wheels for ARM do so, too (read
off the wheels: torchvision 0.25.0 and torchaudio 2.10.0 for ARM do not, 0.26.0 and 2.11.0 do)."""

BESIDE_WHEELS = 650_000_000
"""Bytes that everything but the wheels may add.

Measured: Debian 122 MB (the official slim image: 75), its packages 289, Python 56, uv 38: 505 MB together. The rest
allows for newer versions.
"""
BYTECODE = 120_000_000, 0.02
"""Bytes that bytecode may add, and the share of the wheels' size that it may add beyond. Measured: 132 MB to 5.7 GB."""

SLIMMED = 0.5
"""The share of the bytes of excluded files that counts: in a version that was not measured it may be less."""

PYTHON = "/usr/local/bin/python3"
SOURCE = "/usr/local/share/torchdev/python-source"
"""The file that says which source version Debian named and which was compiled, in images on a compiled Python."""
USER = "dev"

DEV_CONTAINER = {
    "containerUser": USER,
    "remoteUser": USER,
    "updateRemoteUserUID": True,
    "init": True,
    "customizations": {
        "vscode": {"extensions": ["ms-python.python"], "settings": {"python.defaultInterpreterPath": PYTHON}}
    },
}
"""The settings of a dev container: the image's user, with the uid of whoever starts it, below an init."""

Contract = dict[str, Any]


def make_contract(cell: Cell, lock: Lock) -> Contract:
    """What the image of a cell must be, as it is written to images/CELL/contract.json."""
    own = releases.find(cell.torch, cell.flavour, cell.arch, cell.python)
    torch = _torch(cell, lock, own)
    excluded = slimming.paths_of(package.name for package in lock.packages if cell.slim)
    return {
        "schema": SCHEMA,
        "cell": cell.id,
        "python": {
            "series": cell.python,
            "executable": PYTHON,
            "site_packages": SITE_PACKAGES,
            "pip": pip_for(cell.python).version,
            "source": SOURCE,
        },
        "torch": torch,
        "packages": {package.name: said_version(cell, package.name, package.version) for package in lock.packages},
        **{how: list(paths) for how, paths in excluded.items()},
        "user": {"name": USER, "uid": 1000, "gid": 1000, "groups": [1000, 0], "home": HOME},
        "environment": {
            "PATH": f"{CUDA_PATH}:{PATH}" if cell.devel else PATH,
            "LANG": "C.UTF-8",
            **({"LIBRARY_PATH": STUBS} if cell.devel else {}),
        },
        "labels": _labels(cell, lock, torch),
        "entrypoint": ["/usr/bin/tini", "-s", "-g", "--", "/usr/local/bin/torchdev-entrypoint"],
        "cmd": ["bash"],
        "workdir": "/workspace",
        "size_limit": size_limit(cell, lock),
        "support": support(cell.cuda, torch["architectures"], torch["minimum_driver"]),
    }


def to_text(contract: Contract) -> str:
    """A contract as JSON, as it is committed."""
    return json.dumps(contract, indent=2) + "\n"


def _torch(cell: Cell, lock: Lock, own: "Combination | None") -> "dict[str, Any]":
    """The expected PyTorch; for a release that the catalog does not know, as the lock and the matrix say."""
    build = own.build if own else None
    driver = facts.driver(cell.cuda) if cell.cuda else None
    nccl = next((p.version for p in lock.packages if p.name.startswith("nvidia-nccl-")), None)
    return {
        "distribution": said_version(cell, "torch", lock.version("torch") or cell.torch),
        "version": said_version(cell, "torch", lock.version("torch") or cell.torch),
        "cuda": cell.cuda,
        "cudnn": lock.cudnn or (build.cudnn if build else None),
        "nccl": nccl or (build.nccl if build else None),
        "architectures": list(build.architectures) if build else [],
        "minimum_driver": driver[0] if driver else None,
        "glibc": build.runs_from if build else None,
    }


def said_version(cell: Cell, name: str, distribution: str) -> str:
    """The version that an installed package reports: its wheel's; for torch and its companions, their __version__.

    __version__ includes the CUDA variant, except in older wheels for ARM on PyPI.
    """
    first = NAMED_ON_ARM.get(name)
    if first is None or "+" in distribution or (cell.arch == ARM64 and order(cell.torch) < order(first)):
        return distribution
    return f"{distribution}+{cell.flavour}"


def size_limit(cell: Cell, lock: Lock) -> "int | None":
    """The most bytes that an image may unpack to; None if the size of some wheel is not known."""
    sizes = [package.installed for package in lock.packages]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        return None
    least, share = BYTECODE
    taken = slimming.taken((package.name, package.version) for package in lock.packages if cell.slim)
    return sum(known) + least + int(share * sum(known)) + BESIDE_WHEELS - int(SLIMMED * taken)


def support(cuda: "str | None", architectures: "list[str]", driver: "str | None") -> str:
    """The GPUs and drivers that an image supports, in a line; PTX (compute_90) serves every GPU from that capability
    on.
    """
    if cuda is None:
        return "no GPU: CPU only"
    needs = f"driver {driver} or newer" if driver else f"driver {facts.NOT_KNOWN}"
    if not architectures:
        return f"GPUs not known, {needs}"
    first, last = architectures[0], architectures[-1]
    newest = f"{last.replace('compute_', 'sm_')} and newer" if last.startswith("compute_") else last
    return f"GPUs {first} to {newest}, {needs}"


def _labels(cell: Cell, lock: Lock, torch: "dict[str, Any]") -> dict[str, str]:
    """Every label except those of the base images and those that a build adds."""
    own = {
        "cell": cell.id,
        "variant": "devel" if cell.devel else "plain",
        "python": cell.python,
        "torch": cell.torch,
        "cuda": cell.cuda or "none",
        "cudnn": lock.cudnn or ("bundled" if cell.cuda else "none"),
        "torchvision": _locked(lock, "torchvision"),
        "torchaudio": _locked(lock, "torchaudio"),
        "gpus": " ".join(torch["architectures"]) or ("not known" if cell.cuda else "none"),
        "driver": torch["minimum_driver"] or (facts.NOT_KNOWN if cell.cuda else "none"),
        "lock": lock.digest,
    }
    image = {
        "title": cell.id,
        "description": "PyTorch development image made by torchdev",
        "version": cell.torch,
    }
    return {
        **{f"org.opencontainers.image.{key}": value for key, value in image.items()},
        **{f"io.torchdev.{key}": value for key, value in own.items()},
        "devcontainer.metadata": json.dumps([DEV_CONTAINER]),
    }


def _locked(lock: Lock, name: str) -> str:
    return lock.version(name) or "none"
