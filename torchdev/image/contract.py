"""What a finished image must be: derived from matrix, catalog, lock and base, and never read off an image.

What writes an image's labels and variables is not asked here, and asks nothing of this: a mistake on one side shows
against the other. The checks of tests/image hold images to it field by field (docs/checks.md).
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
"""What comes and goes, and where installers see what is installed (docs/decisions/0011-the-guard.md)."""
HOME = "/home/dev"
PATH = f"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{HOME}/.local/bin"
CUDA_PATH = "/usr/local/cuda/bin"
STUBS = "/usr/local/cuda/lib64/stubs"
"""Where compilers, and no loaders, find libraries of the driver."""
NAMED_ON_ARM = {"torch": "2.6", "torchvision": "2.11", "torchaudio": "2.11"}
"""What says its CUDA variant in __version__: the first PyTorch of whose release PyPI's wheels for ARM do so, too (read
off the wheels: torchvision 0.25.0 and torchaudio 2.10.0 for ARM do not, 0.26.0 and 2.11.0 do)."""

BESIDE_WHEELS = 650_000_000
"""Bytes that all but the wheels may add.

Measured: Debian 122 MB (the official slim image: 75), its packages 289, Python 56, uv 38: 505 MB together. The rest is
room for newer versions of these.
"""
BYTECODE = 120_000_000, 0.02
"""Bytes that bytecode may add to wheels, and a share of them. Measured: 132 MB to 5.7 GB."""

SLIMMED = 0.5
"""The share that is counted on of what slimming takes away: a version that was not looked at may have less to lose."""

PYTHON = "/usr/local/bin/python3"
SOURCE = "/usr/local/share/torchdev/python-source"
"""Where an image on a Python that was compiled from Debian's source says which version was named, and which taken."""
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
"""How a dev container is worked in: as the image's user, under the uid of whoever started it, below an init."""

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
    """A contract as it is committed: a package a line."""
    return json.dumps(contract, indent=2) + "\n"


def _torch(cell: Cell, lock: Lock, own: "Combination | None") -> "dict[str, Any]":
    """What PyTorch must be; of a release that the catalog does not know, what the lock and the matrix say."""
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
    """The version that an installed package has: its wheel's; of torch and its companions, the one in __version__.

    That names the CUDA variant, too, except in older wheels for ARM on PyPI.
    """
    first = NAMED_ON_ARM.get(name)
    if first is None or "+" in distribution or (cell.arch == ARM64 and order(cell.torch) < order(first)):
        return distribution
    return f"{distribution}+{cell.flavour}"


def size_limit(cell: Cell, lock: Lock) -> "int | None":
    """The most bytes that an image may unpack to; None while some wheel is not known to the byte."""
    sizes = [package.installed for package in lock.packages]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        return None
    least, share = BYTECODE
    taken = slimming.taken((package.name, package.version) for package in lock.packages if cell.slim)
    return sum(known) + least + int(share * sum(known)) + BESIDE_WHEELS - int(SLIMMED * taken)


def support(cuda: "str | None", architectures: "list[str]", driver: "str | None") -> str:
    """What an image runs on, in a line; PTX (compute_90) serves every GPU from its own capability on."""
    if cuda is None:
        return "no GPU: CPU only"
    needs = f"driver {driver} or newer" if driver else f"driver {facts.NOT_KNOWN}"
    if not architectures:
        return f"GPUs not known, {needs}"
    first, last = architectures[0], architectures[-1]
    newest = f"{last.replace('compute_', 'sm_')} and newer" if last.startswith("compute_") else last
    return f"GPUs {first} to {newest}, {needs}"


def _labels(cell: Cell, lock: Lock, torch: "dict[str, Any]") -> dict[str, str]:
    """Every label but those that say which bases an image has."""
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
