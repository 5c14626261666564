"""Facts that no wheel tells: drivers, GPUs, ends of life, CUDA variants of releases; kept in data/facts.yaml."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from torchdev.catalog.builds import Source
from torchdev.catalog.versions import minor, order
from torchdev.util import positions

DATA = Path(__file__).parents[1] / "data" / "facts.yaml"
SECTIONS = (
    "sources", "flavours", "cudnn", "architectures", "drivers", "toolkits", "driver_branches", "gpus", "aliases",
    "cudnn_gpu", "python_eol", "companions", "bounds", "compatibility",
)  # fmt: skip
NOT_KNOWN = "not known yet"


@dataclass(frozen=True)
class Fact:
    """A sentence, and where it was read."""

    text: str
    sources: tuple[Source, ...]

    def __str__(self) -> str:
        return f"{self.text} ({'; '.join(str(source) for source in self.sources)})"


@dataclass(frozen=True)
class Gpu:
    """A GPU by name and compute capability, such as 7.0; `first` and `last` are the driver branches that serve it."""

    name: str
    capability: str
    first: "str | None" = None
    last: "str | None" = None


@cache
def _data() -> "dict[str, Any]":
    return dict(positions.read_own(DATA, SECTIONS))


def source(key: str) -> Source:
    """A source of these facts by its key."""
    return Source(**_data()["sources"][key])


def _of(section: str, *keys: str) -> "dict[str, Any] | None":
    """The first entry of a section that one of the keys has."""
    entries: Mapping[str, Any] = _data()[section]
    return next((entries[key] for key in keys if key in entries), None)


def flavours(torch: str, arch: str) -> "tuple[tuple[str, ...], Source] | None":
    """The CUDA variants of a release on the PyTorch index; None if they are not known."""
    entry = _of("flavours", torch, minor(torch))
    return (tuple(entry.get(arch, ())), source(entry["source"])) if entry else None


def index_flavours() -> "list[str]":
    """Every CUDA variant that the PyTorch index may have a page of."""
    named = {flavour for entry in _data()["flavours"].values() for flavour in (*entry["amd64"], *entry["arm64"])}
    return ["cpu", *sorted(named, key=lambda flavour: int(flavour[2:]))]


def cudnn(torch: str, flavour: str) -> "str | None":
    """The cuDNN that a CUDA variant of a release was built with; None if it is not in the facts."""
    entry = _of("cudnn", f"{torch}/{flavour}", f"{minor(torch)}/{flavour}")
    return str(entry["version"]) if entry else None


def architectures(torch: str, flavour: str, arch: str) -> tuple[str, ...]:
    """The GPU architectures that a CUDA variant of a release is compiled for; empty if they are not in the facts."""
    entry = _architectures(torch, flavour, arch)
    return tuple(entry["list"]) if entry else ()


def architectures_source(torch: str, flavour: str, arch: str) -> "Source | None":
    """The source of these architectures; None if they are not in the facts."""
    entry = _architectures(torch, flavour, arch)
    return source(entry["source"]) if entry else None


def _architectures(torch: str, flavour: str, arch: str) -> "dict[str, Any] | None":
    end = "" if arch == "amd64" else f"/{arch}"
    return _of("architectures", f"{torch}/{flavour}{end}", f"{minor(torch)}/{flavour}{end}")


def _major(cuda: str) -> str:
    return str(order(cuda).major)


def driver(cuda: str) -> "tuple[str, Source] | None":
    """The oldest Linux driver that serves a CUDA version (13.0), by minor version compatibility; and the source.

    None for a CUDA version without an entry: a refresh of the catalog can bring a version before somebody has added its
    facts.
    """
    entry = _of("drivers", cuda, _major(cuda))
    return (str(entry["minimum"]), source(entry["source"])) if entry else None


def driver_text(cuda: "str | None", none: str = "-") -> str:
    """The oldest driver for a table; `none` where no CUDA needs one."""
    found = driver(cuda) if cuda else (none, None)
    return found[0] if found else NOT_KNOWN


def toolkit(cuda: str) -> "tuple[str, str, Source] | None":
    """The first and last compute capability that a CUDA version compiles for, and the source; None if not known."""
    entry = _of("toolkits", cuda, _major(cuda))
    return (str(entry["first"]), str(entry["last"]), source(entry["source"])) if entry else None


def gpu(name: str) -> "Gpu | None":
    """A GPU by product name, compute capability (7.0) or architecture (sm_70); None if it is not known."""
    wanted = _plain(name)
    if wanted in _gpu_names():
        found = _gpu_names()[wanted]
        return _branches(found, str(_data()["gpus"][found]["capability"]))
    digits = wanted.removeprefix("sm").replace(".", "")
    capability = f"{digits[:-1]}.{digits[-1:]}"
    known = {str(entry["capability"]) for entry in _data()["gpus"].values()}
    return _branches(f"compute capability {capability}", capability) if capability in known else None


@cache
def _gpu_names() -> "dict[str, str]":
    """Every name of a GPU, as plain text, to the one that the facts have."""
    names = {_plain(known): known for known in _data()["gpus"]}
    return names | {_plain(alias): known for alias, known in _data().get("aliases", {}).items()}


def gpus() -> "list[str]":
    """The GPUs that are known by name."""
    return list(_data()["gpus"])


def _plain(name: str) -> str:
    text = "".join(c for c in name.lower() if c.isalnum() or c == ".")
    for brand in ("nvidia", "geforce", "tesla"):
        text = text.removeprefix(brand)
    return text


def _branches(name: str, capability: str) -> Gpu:
    entry = _of("driver_branches", capability) or {}
    return Gpu(name, capability, entry.get("first"), entry.get("last"))


def branch_source(capability: str) -> "Source | None":
    """The source of the driver branches of a compute capability."""
    entry = _of("driver_branches", capability)
    return source(entry["source"]) if entry else None


def cudnn_end(capability: str) -> "tuple[str, Source] | None":
    """The first cuDNN that no longer serves a compute capability; None if the newest known does."""
    entry = _of("cudnn_gpu", capability)
    return (str(entry["until"]), source(entry["source"])) if entry else None


def cudnn_rule() -> Source:
    """The source of cuDNN's compatibility rule: same major version, same or older minor version."""
    return source(_data()["compatibility"]["cudnn"]["source"])


def companion(torch: str, name: str) -> "str | None":
    """The torchvision or torchaudio of a release, where no wheel says which."""
    entry = _of("companions", torch)
    found = entry.get(name) if entry else None
    return str(found) if found else None


@dataclass(frozen=True)
class Bound:
    """A requirement that a release has and its wheel does not state: newer versions of a package break it."""

    requirement: str
    fact: Fact

    def __str__(self) -> str:
        return f"{self.requirement}: {self.fact}"

    @property
    def name(self) -> str:
        """The package."""
        return Requirement(self.requirement).name


def bounds(torch: str) -> tuple[Bound, ...]:
    """Requirements with which a release must be resolved beside its own."""
    return tuple(
        Bound(requirement, Fact(f"PyTorch {torch}: {entry['why']}", (source(entry["source"]),)))
        for requirement, entry in _data()["bounds"].items()
        if order(entry.get("since", "0")) <= order(torch) < order(entry["before"])
    )


def end_of_life(python: str) -> "tuple[str, Source] | None":
    """The day (YYYY-MM-DD) from which a Python series gets no more fixes."""
    entry = _of("python_eol", python)
    return (str(entry["end"]), source(entry["source"])) if entry else None


def serves(architectures: "tuple[str, ...]", capability: str) -> bool:
    """Whether libraries compiled for these architectures run on a GPU.

    A cubin runs on its own major capability, from its minor one on; PTX on every capability from its own on; one for
    an architecture with a letter (sm_90a) on that capability alone.
    """
    have = order(capability).release
    for text in architectures:
        kind, _, digits = text.partition("_")
        plain = digits.rstrip("abcdefghijklmnopqrstuvwxyz")
        needs = (int(plain[:-1]), int(plain[-1]))
        same_major = kind == "compute" or have[0] == needs[0]
        if have == needs or (digits == plain and have >= needs and same_major):
            return True
    return False
