"""A cell and its lock to the list of layers of its image: the one list that everything else is derived from."""

from dataclasses import dataclass

from torchdev.bases import Base
from torchdev.lock import Lock, Package
from torchdev.matrix import Cell

EPOCH = 1577836800
"""2020-01-01 UTC: the time of every file that a build writes, so that a layer depends on its content alone."""

CUDNN = ("nvidia-cudnn-",)
COMMUNICATION = ("nvidia-nccl-", "nvidia-nvshmem-")
CUDA = ("nvidia-", "cuda-toolkit")
TORCH = ("torch", "triton")

DEBIAN_PACKAGES = (
    # torch.compile and C++ extensions
    "g++",
    "gcc",
    "libc6-dev",
    # work: sources from git, TLS, one process that reaps the others
    "ca-certificates",
    "git",
    "tini",
    # what CPython's extension modules load, as in the official python image
    "libdb5.3",
    "libexpat1",
    "libffi8",
    "libgdbm6",
    "libncursesw6",
    "libnsl2",
    "libreadline8",
    "libsqlite3-0",
    "libssl3",
    "libtirpc3",
    "netbase",
    "tzdata",
)


@dataclass(frozen=True)
class Layer:
    """One layer of an image: `template` writes its part of the Dockerfile, from `packages` if it installs any."""

    name: str
    template: str
    why: str
    packages: tuple[Package, ...] = ()

    @property
    def size(self) -> int:
        """Bytes to download, before anything is cached."""
        return sum(package.size for package in self.packages)

    @property
    def installed(self) -> int:
        """Bytes that the layer's wheels unpack to, without bytecode."""
        return sum(package.installed for package in self.packages)

    @property
    def pins(self) -> str:
        """A requirements file that admits just these wheels."""
        return "".join(f"{package.requirement}\n" for package in self.packages)


@dataclass(frozen=True)
class Plan:
    """An image to be: its cell, its lock, the images it starts from and its layers, lowest first."""

    image: str
    cell: Cell
    lock: Lock
    debian: Base
    python: Base
    tool: Base
    layers: tuple[Layer, ...]
    aliases: tuple[str, ...]

    @property
    def tags(self) -> tuple[str, ...]:
        """Every name the finished image gets, the full one first."""
        return tuple(f"{self.image}:{tag}" for tag in (self.cell.id, *self.aliases))

    @property
    def target(self) -> str:
        """The cell's name in the bake file, which allows no dots."""
        return self.cell.id.replace(".", "_")

    @property
    def candidate(self) -> str:
        """The name the image has until its checks have passed."""
        return f"{self.image}-candidate:{self.cell.id}"

    @property
    def labels(self) -> dict[str, str]:
        """Labels that say what is inside; those of the bases are for the official images."""
        versions = {
            "python": self.cell.python,
            "torch": self.cell.torch,
            "cuda": self.cell.cuda or "none",
            "cudnn": self.lock.cudnn or "none",
            "torchvision": self.lock.version("torchvision") or "none",
            "torchaudio": self.lock.version("torchaudio") or "none",
        }
        return {
            "org.opencontainers.image.title": self.cell.id,
            "org.opencontainers.image.description": "PyTorch development image made by torchdev",
            "org.opencontainers.image.version": self.cell.torch,
            "io.torchdev.cell": self.cell.id,
            **{f"io.torchdev.{name}": version for name, version in versions.items()},
            "io.torchdev.lock": self.lock.digest,
            **base_labels("official", *(_official(base) for base in (self.debian, self.python))),
        }


def base_labels(origin: str, debian: "tuple[str, str]", python: "tuple[str, str]") -> dict[str, str]:
    """Labels that give (name, digest) of the bases an image really has; `origin` is official or bootstrapped."""
    return {
        "org.opencontainers.image.base.name": debian[0],
        "org.opencontainers.image.base.digest": debian[1],
        "io.torchdev.base.origin": origin,
        "io.torchdev.base.python.name": python[0],
        "io.torchdev.base.python.digest": python[1],
    }


def _official(base: Base) -> "tuple[str, str]":
    return f"docker.io/library/{base.name}", base.digest or "unknown"


def make_plan(image: str, cell: Cell, lock: Lock, bases: tuple[Base, Base, Base], aliases: tuple[str, ...]) -> Plan:
    """Put the cell's wheels and everything else into layers."""
    debian, python, tool = bases
    return Plan(image, cell, lock, debian, python, tool, layers(lock), aliases)


def layers(lock: Lock) -> tuple[Layer, ...]:
    """The layers above the Debian base, lowest first: what most images share comes before what few share.

    The order is fixed and never derived from the current matrix, since engines store a layer once only where
    everything below it is equal (docs/decisions/0003-layer-order.md).
    """
    rest = list(lock.packages)

    def take(prefixes: tuple[str, ...], shared: bool) -> tuple[Package, ...]:
        taken = tuple(p for p in rest if p.name.startswith(prefixes) and (p.any_python or not shared))
        rest[:] = [p for p in rest if p not in taken]
        return taken

    cudnn = take(CUDNN, shared=True)
    communication = take(COMMUNICATION, shared=True)
    cuda = take(CUDA, shared=True)
    torch = tuple(p for p in rest if p.name in TORCH)
    others = tuple(p for p in rest if p not in torch)
    found = (
        Layer("cuda", "shared-wheels", "CUDA libraries: the same for every Python", cuda),
        Layer("cudnn", "shared-wheels", "cuDNN, apart from CUDA, so that another version costs only itself", cudnn),
        Layer("nccl", "shared-wheels", "NCCL and NVSHMEM, which change with every PyTorch", communication),
        Layer("debian", "debian", "Compilers for torch.compile, git, and the libraries Python loads"),
        Layer("python", "python", "Python, with its site-packages where every Python has them"),
        Layer("torch", "wheels", "PyTorch and Triton", torch),
        Layer("packages", "wheels", "Everything else", others),
        Layer("user", "user", "The user, uv, the entry point, and the guard against a replaced PyTorch"),
    )
    return tuple(layer for layer in found if layer.packages or "wheels" not in layer.template)


def guarded(lock: Lock) -> "tuple[Package, ...]":
    """The packages that pip and uv must not replace in the image: PyTorch, its companions and CUDA."""
    names = (*TORCH, "torchvision", "torchaudio")
    return tuple(p for p in lock.packages if p.name in names or p.name.startswith("nvidia-"))
