"""A cell and its lock to a plan: the list of layers from which everything else is derived."""

import hashlib
import json
import re
from dataclasses import dataclass, replace
from functools import cached_property

from torchdev.catalog import facts, releases
from torchdev.catalog.bases import TOOL_PYTHON, Base
from torchdev.catalog.wheel_name import parsed
from torchdev.image import debian, slimming
from torchdev.matrix.load import Cell
from torchdev.wheels.lock import PYTORCH, Lock, Package, pip_for

EPOCH = 1577836800
"""2020-01-01 UTC: the time of every file that a build writes, so that a layer depends on its content alone."""

PREPARED = "prepared-wheels"
"""The template of layers that are prepared in a stage of their own."""

SHARED, INTERPRETER = "shared", "interpreter"
"""Stages of every Dockerfile: everything below Python, and everything below PyTorch."""

CUDNN = ("nvidia-cudnn-",)
COMMUNICATION = ("nvidia-nccl-", "nvidia-nvshmem-")
CUDA = ("nvidia-", "cuda-toolkit")
TORCH = ("torch", "triton")
COMPANIONS = ("torchvision", "torchaudio")
DEVEL = ("ninja", "nvidia-cuda-cccl", "nvidia-cuda-crt", "nvidia-cuda-nvcc", "nvidia-cuda-profiler-api", "nvidia-nvvm")
"""What the devel variant adds to the plain one: as the top layers, so that both share everything below."""

DEV_CONTAINER = "devcontainer.metadata"
"""The label from which tools for dev containers take their settings."""

FETCHER = pip_for(TOOL_PYTHON)
"""The pip that fetches wheels in builds, since uv keeps no wheel files."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer of an image: `template` writes its part of the Dockerfile, with `packages` if it installs any.

    `stage` names the Dockerfile's stage that ends with it: images can be built up to there.
    """

    name: str
    template: str
    why: str
    packages: tuple[Package, ...] = ()
    stage: str = ""
    slim: bool = True

    @property
    def prepared(self) -> bool:
        """Whether its wheels are installed in a separate stage, once for every CUDA version, and then copied."""
        return self.template == PREPARED

    @property
    def excluded(self) -> dict[str, tuple[str, ...]]:
        """Excluded files of its wheels, as globs below site-packages, by how each is treated: left out or stripped."""
        return slimming.paths_of(package.name for package in self.packages if self.slim)

    @property
    def pip_options(self) -> tuple[str, ...]:
        """Options with which the tool Python's pip fetches wheels for another Python; none if they suit any Python."""
        tags = {tag for p in self.packages if not p.any_python for tag in parsed(p.file).tags}
        if not tags:
            return ()
        own = (re.fullmatch("(?:cp|py)3([0-9]+)", tag.interpreter) for tag in tags)
        minor = max((int(found[1]) for found in own if found), default=None)
        abis = sorted({tag.abi for tag in tags} | {"none"})
        platforms = sorted({tag.platform for p in self.packages for tag in parsed(p.file).tags} - {"any"})
        series = () if minor is None else (f"--python-version=3.{minor}",)
        words = (*series, "--implementation=cp", *(f"--abi={abi}" for abi in abis))
        return (*words, *(f"--platform={platform}" for platform in platforms))

    @property
    def elsewhere(self) -> tuple[Package, ...]:
        """The wheels that only the PyTorch index has."""
        return tuple(package for package in self.packages if package.origin == PYTORCH)

    @property
    def size(self) -> int:
        """Bytes to download, before anything is cached."""
        return sum(package.size or 0 for package in self.packages)

    @property
    def installed(self) -> int:
        """Bytes that the layer's wheels unpack to, without bytecode."""
        return sum(package.installed or 0 for package in self.packages)

    @property
    def pins(self) -> str:
        """A requirements file that allows only these wheels."""
        return "".join(f"{package.requirement}\n" for package in self.packages)

    @property
    def sums(self) -> str:
        """The sha256 of the wheel files, in the format of sha256sum."""
        return "".join(f"{package.sha256}  {package.file}\n" for package in self.packages if package.sha256)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An image to build: its cell, its lock, its base images and its layers, lowest first.

    `steps` has, for each layer, a hash of the commands that make it and of what they mount; empty while they are not
    known.
    """

    image: str
    cell: Cell
    lock: Lock
    debian: Base
    python: Base
    tool: Base
    layers: tuple[Layer, ...]
    aliases: tuple[str, ...]
    steps: tuple[str, ...] = ()

    def __hash__(self) -> int:
        # Of what tells plans of one run apart: a hash of all wheels would take longer than what is remembered by it.
        return hash((self.image, self.cell.id))

    @property
    def bases(self) -> "tuple[Base, Base, Base]":
        """The base images."""
        return self.debian, self.python, self.tool

    @property
    def tags(self) -> tuple[str, ...]:
        """Every name the finished image gets, the full one first."""
        return tuple(f"{self.image}:{tag}" for tag in (self.cell.id, *self.aliases))

    @property
    def debian_packages(self) -> tuple[str, ...]:
        """The Debian packages of the image, by the names of its Debian release."""
        return debian.packages(self.cell.python)

    @cached_property
    def below_python(self) -> tuple[Layer, ...]:
        """The layers that cells of several Pythons can share."""
        names = [layer.name for layer in self.layers]
        return self.layers[: names.index("python")]

    @property
    def tools(self) -> tuple[Package, ...]:
        """The tools that fetch and install wheels."""
        return self.lock.uv, FETCHER

    @property
    def pip(self) -> Package:
        """The pip of the image, whatever its Python base contains."""
        return pip_for(self.cell.python)

    @cached_property
    def shared(self) -> str:
        """sha256 of everything below Python: cells with the same value share these layers."""
        pins = [(layer.name, layer.pins) for layer in self.below_python]
        inputs = [self.debian.ref, self.tool.ref, *(tool.sha256 for tool in self.tools), pins]
        return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()

    @property
    def target(self) -> str:
        """The cell's name in the bake file, which allows no dots."""
        return self.cell.id.replace(".", "_")

    @property
    def candidate(self) -> str:
        """The name the image has until its checks have passed."""
        return f"{self.image}-candidate:{self.cell.id}"

    @property
    def cudnn(self) -> str:
        """The version of the cuDNN wheel; `bundled` if PyTorch's own wheel contains cuDNN; `none` without CUDA."""
        return self.lock.cudnn or ("bundled" if self.cell.cuda else "none")

    @property
    def gpus(self) -> str:
        """The GPU architectures that PyTorch is compiled for, as far as the catalog knows."""
        cell = self.cell
        found = releases.find(cell.torch, cell.flavour, cell.arch, cell.python)
        known = " ".join(found.build.architectures) if found else ""
        return known or ("not known" if cell.cuda else "none")

    @cached_property
    def labels(self) -> dict[str, str]:
        """Labels that describe the content; those of the base images are for the official ones."""
        versions = {
            "python": self.cell.python,
            "torch": self.cell.torch,
            "cuda": self.cell.cuda or "none",
            "cudnn": self.cudnn,
            "torchvision": self.lock.version("torchvision") or "none",
            "torchaudio": self.lock.version("torchaudio") or "none",
            "gpus": self.gpus,
            "driver": facts.driver_text(self.cell.cuda, "none"),
        }
        return {
            "org.opencontainers.image.title": self.cell.id,
            "org.opencontainers.image.description": "PyTorch development image made by torchdev",
            "org.opencontainers.image.version": self.cell.torch,
            "io.torchdev.cell": self.cell.id,
            "io.torchdev.variant": self.cell.variant,
            **{f"io.torchdev.{name}": version for name, version in versions.items()},
            "io.torchdev.lock": self.lock.digest,
            DEV_CONTAINER: json.dumps([dev_container()]),
            **base_labels("official", *(_official(base) for base in (self.debian, self.python))),
        }


def base_labels(origin: str, debian: "tuple[str, str]", python: "tuple[str, str]") -> dict[str, str]:
    """Labels with (name, digest) of the bases that an image really has; `origin` is official or bootstrapped."""
    return {
        "org.opencontainers.image.base.name": debian[0],
        "org.opencontainers.image.base.digest": debian[1],
        "io.torchdev.base.origin": origin,
        "io.torchdev.base.python.name": python[0],
        "io.torchdev.base.python.digest": python[1],
    }


def dev_container() -> dict[str, object]:
    """The settings that a dev container takes from an image, unless its devcontainer.json overrides them.

    Such tools replace the entry point by a shell, so the engine must provide an init. They change the user's uid,
    so the user is given by name and not by number.
    """
    editor = {
        "extensions": ["ms-python.python"],
        "settings": {"python.defaultInterpreterPath": "/usr/local/bin/python3"},
    }
    user = {"containerUser": "dev", "remoteUser": "dev", "updateRemoteUserUID": True}
    return {**user, "init": True, "customizations": {"vscode": editor}}


def _official(base: Base) -> "tuple[str, str]":
    return f"docker.io/library/{base.name}", base.digest or "unknown"


def make_plan(image: str, cell: Cell, lock: Lock, bases: tuple[Base, Base, Base], aliases: tuple[str, ...]) -> Plan:
    """Assign the cell's wheels, and everything else, to layers."""
    debian, python, tool = bases
    return Plan(
        image=image,
        cell=cell,
        lock=lock,
        debian=debian,
        python=python,
        tool=tool,
        layers=layers(cell, lock),
        aliases=aliases,
    )


LAYERS = (
    Layer(name="cuda", template="shared-wheels", why="CUDA libraries: the same for every Python"),
    Layer(
        name="cudnn",
        template="shared-wheels",
        why="cuDNN, apart from CUDA, so that another version costs only itself",
    ),
    Layer(name="nccl", template="shared-wheels", why="NCCL and NVSHMEM, which change with every PyTorch"),
    Layer(
        name="debian",
        template="debian",
        why="Compilers for torch.compile, git, and the libraries Python loads",
        stage=SHARED,
    ),
    Layer(
        name="python",
        template="python",
        why="Python, with its site-packages where every Python has them",
        stage=INTERPRETER,
    ),
    Layer(name="torch", template="wheels", why="PyTorch, its companions and Triton"),
    Layer(name="override", template="override", why="PyTorch told that it has another cuDNN than the one it pins"),
    Layer(name="packages", template=PREPARED, why="Everything else"),
    Layer(
        name="devel",
        template="devel-wheels",
        why="nvcc and CUDA's headers, in /usr/local/cuda, where compilers look for them",
    ),
    Layer(name="user", template="user", why="The user, uv, the entry point, and the guard against a replaced PyTorch"),
)
"""Every kind of layer above the Debian base, lowest first: what most images share comes before what few share.

The order is fixed and never derived from the current matrix, since engines store a layer once only where everything
below it is equal (docs/decisions/0003-layer-order.md).
"""


def layers(cell: Cell, lock: Lock) -> tuple[Layer, ...]:
    """The layers of a cell, lowest first, with the wheels that each installs; those without content are left out."""
    rest = list(lock.packages)

    def take(names: tuple[str, ...], *, shared: bool = False) -> tuple[Package, ...]:
        taken = tuple(p for p in rest if p.name.startswith(names) and (p.any_python or not shared))
        rest[:] = [p for p in rest if not any(p is one for one in taken)]
        return taken

    packages = {  # taken in this order: CUDA's names match those of cuDNN and NCCL, too
        "devel": take(DEVEL) if cell.devel else (),
        "cudnn": take(CUDNN, shared=True),
        "nccl": take(COMMUNICATION, shared=True),
        "cuda": take(CUDA, shared=True),
        "torch": tuple(p for p in rest if p.name in (*TORCH, *COMPANIONS)),
        "packages": tuple(p for p in rest if p.name not in (*TORCH, *COMPANIONS)),
    }
    without = {"override": not cell.cudnn}
    found = (replace(layer, packages=packages.get(layer.name, ()), slim=cell.slim) for layer in LAYERS)
    return tuple(x for x in found if x.packages or not ("wheels" in x.template or without.get(x.name)))
