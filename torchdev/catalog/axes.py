"""The axes of a query. Each axis is one object: its option, its possible values, which combinations match, and why none
does.

Standard library alone when it is loaded: the command line makes its options from AXES before the environment is
entered. A method that needs the catalog or the facts imports them itself. A new axis is a class and an object of it in
AXES.
"""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchdev.catalog.ids import COMPANIONS, PLAIN
from torchdev.catalog.versions import begins, order, span
from torchdev.util.commands import build_py
from torchdev.util.errors import InputError
from torchdev.util.texts import Kind

if TYPE_CHECKING:
    from torchdev.catalog.builds import Source
    from torchdev.catalog.facts import Fact
    from torchdev.catalog.releases import Combination

Query = dict[str, str]
"""Axis to the wanted value. A version may be given in part: PyTorch 2.9, cuDNN 9.20, driver 535."""
ANY = "any"
"""A value that any version satisfies."""
CPU = "cpu"
"""The variant without CUDA: it is equally far from every CUDA version."""
FIRST_NVCC = 13
"""The first CUDA major whose nvcc is a wheel on PyPI; nvidia-cuda-nvcc-cu12 has ptxas alone. Read on 2026-11-23."""
MANY = 7
"""A message with this many CUDA variants or more gives their number instead of their names."""
_VERSION = r"[0-9]+(\.[0-9]+)*"
VERSION = Kind("a version such as 2.9.1, whole or in part", _VERSION)
VERSION_OR_ANY = Kind(VERSION.words, f"{ANY}|{_VERSION}")


@dataclass(frozen=True)
class Clash:
    """Two axes whose values conflict whatever the combination, the one to give up first, and the reason."""

    axes: "tuple[str, str]"
    fact: "Fact"


@dataclass(frozen=True)
class Asked:
    """A value, the other constraints of the query, and the combinations that satisfy these, oldest first."""

    value: str
    others: Query
    rest: "tuple[Combination, ...]"

    @property
    def with_them(self) -> str:
        """The other constraints in words."""
        return " and ".join(AXES[axis].text(value) for axis, value in self.others.items()) or "the catalog"

    def fact(self, text: str, *sources: "Source") -> "Fact":
        """A fact about the combinations, with their sources and some more."""
        from torchdev.catalog.facts import Fact

        own = dict.fromkeys(source for c in self.rest for source in c.sources)
        return Fact(text, (*own, *sources))


class Axis(ABC):
    """An axis of a query: attributes describe it, methods judge combinations.

    `words` names a value in a sentence, and `other` says that a combination has another value. `weight` is the cost of
    giving a value up: a machine is harder to change than a version. `bare` is the value of the option without one.
    """

    name: str
    example: str
    kind: Kind = VERSION
    words: str = "{}"
    other: str
    weight: float = 1.0
    bare: "str | None" = None

    @property
    def help(self) -> str:
        """The help text of its option."""
        return f"such as {self.example}"

    def spelled(self, value: str) -> str:
        """A value in its canonical spelling; InputError for an invalid one."""
        if refusal := self.kind.refusal(value):
            raise InputError(f"--{self.name} {refusal}", next_step=build_py("explain", "--help"))
        return value

    def unknown(self, value: str) -> "InputError | None":
        """The error for a value that the catalog and the facts do not know; None for a known value."""
        return None

    def text(self, value: str) -> str:
        """A value in a sentence: Python 3.9, cu130, torchaudio."""
        return self.words.format(value)

    def agree(self, one: str, other: str) -> bool:
        """Whether two values agree: they are equal, or one is a part of the other."""
        return one == other or (self.kind is VERSION and (begins(one, other) or begins(other, one)))

    @abstractmethod
    def admits(self, c: "Combination", value: str, query: "Query") -> bool:
        """Whether a combination satisfies a value; the whole query is given, because a cuDNN decides on GPUs."""

    def to_blame(self, c: "Combination", query: "Query") -> str:
        """The axis to give up where a combination does not satisfy the value: this one, unless another is the cause."""
        return self.name

    def clash(self, query: "Query") -> "Clash | None":
        """Why its value conflicts with the value of another axis, whatever the combination; None if it does not."""
        return None

    def steps(self, c: "Combination", value: str) -> int:
        """How many values of the axis lie between the wanted one and that of a combination."""
        return 0

    def reasons(self, asked: "Asked") -> "list[Fact]":
        """The facts why no combination that satisfies the other constraints satisfies this one."""
        return [asked.fact(f"{asked.with_them}: no {self.text(asked.value)}")]


class _Listed(Axis):
    """An axis whose values the catalog has a list of."""

    @abstractmethod
    def values(self, asked: "Asked") -> str:
        """The values of some combinations, in words."""

    def reasons(self, asked: "Asked") -> "list[Fact]":
        """The values that there are."""
        if not asked.others:
            text = f"no PyTorch of the catalog is for {self.text(asked.value)}: it has {self.values(asked)}"
            return [asked.fact(text)]
        releases = "" if self.name == "torch" or "torch" in asked.others else f" ({_releases(asked)})"
        return [asked.fact(f"{asked.with_them}: {self.values(asked)}{releases}")]


def _releases(asked: "Asked") -> str:
    return f"PyTorch {span(c.torch for c in asked.rest)}"


class Python(_Listed):
    """The Python series."""

    name, example, words = "python", "3.11", "Python {}"
    other, weight = "other Python", 1.4
    kind = Kind("a Python series such as 3.11", r"3\.[0-9]+")

    def admits(self, c: "Combination", value: str, query: "Query") -> bool:
        """The same series."""
        return c.python == value

    def steps(self, c: "Combination", value: str) -> int:
        """Series in between."""
        return abs(order(c.python).minor - order(value).minor)

    def values(self, asked: "Asked") -> str:
        """From the oldest to the newest."""
        return f"Python {span(c.python for c in asked.rest)}"


class Cuda(_Listed):
    """The CUDA variant of PyTorch, which may be given as a CUDA version."""

    name, example = "cuda", "cu130"
    other, weight = "other CUDA", 1.3
    kind = Kind("a CUDA variant such as cu130, a CUDA version such as 13.0, or cpu", r"cpu|cu[0-9]{3}")

    def spelled(self, value: str) -> str:
        """As a CUDA variant: cu130 for 13.0."""
        return super().spelled(f"cu{value.replace('.', '')}" if re.fullmatch(r"[0-9]+\.[0-9]", value) else value)

    def admits(self, c: "Combination", value: str, query: "Query") -> bool:
        """The same CUDA variant."""
        return c.flavour == value

    def steps(self, c: "Combination", value: str) -> int:
        """CUDA variants in between; cpu is farther from any CUDA version than another CUDA version is."""
        from torchdev.catalog import releases

        known = releases.flavour_orders()
        if CPU in (value, c.flavour):
            return 0 if value == CPU else len(known)
        first, last = sorted((releases.flavour_order(c.flavour), releases.flavour_order(value)))
        return sum(first <= one < last for one in known)

    def values(self, asked: "Asked") -> str:
        """All of them, or how many there are."""
        from torchdev.catalog import releases

        found = sorted({c.flavour for c in asked.rest}, key=releases.flavour_order)
        return ", ".join(found) if len(found) < MANY else f"{len(found)} CUDA variants, the newest {found[-1]}"


class Torch(_Listed):
    """The PyTorch release, whole or in part."""

    name, example, words = "torch", "2.9.1 or 2.9", "PyTorch {}"
    other, weight = "other PyTorch", 1.2

    def unknown(self, value: str) -> "InputError | None":
        """The error for a release that the catalog does not have."""
        from torchdev.catalog import releases

        known = releases.known()
        if any(begins(torch, value) for torch in known):
            return None
        return InputError(f"the catalog has no PyTorch {value}", next_step=f"it knows {known[0]} to {known[-1]}")

    def admits(self, c: "Combination", value: str, query: "Query") -> bool:
        """Whether it is the release, or one of those that a part of a version means."""
        return begins(c.torch, value)

    def steps(self, c: "Combination", value: str) -> int:
        """Releases in between."""
        from torchdev.catalog import releases

        known = releases.known()
        asked = [i for i, torch in enumerate(known) if begins(torch, value)]
        return min((abs(known.index(c.torch) - i) for i in asked), default=0)

    def values(self, asked: "Asked") -> str:
        """From the oldest to the newest."""
        return _releases(asked)


class Cudnn(Axis):
    """The cuDNN, whole or in part: PyTorch's own, or another that can take its place."""

    name, example, words = "cudnn", "9.20", "cuDNN {}"
    other = "PyTorch's own cuDNN"

    def admits(self, c: "Combination", value: str, query: "Query") -> bool:
        """Whether the wanted cuDNN can be used with the combination."""
        from torchdev.catalog import support

        return support.cudnn_for(c, value) is not None

    def reasons(self, asked: "Asked") -> "list[Fact]":
        """The cuDNN versions on PyPI; or the rule by which one replaces another, unless the GPU is the cause."""
        from torchdev.catalog import facts, support

        if not asked.others:
            return [support.no_such_cudnn(asked.value)]
        if "gpu" in asked.others:
            return []
        pinned = [c.build.cudnn for c in asked.rest if c.build.cudnn]
        if not pinned:
            return [asked.fact(f"{asked.with_them}: no {self.text(asked.value)} can take the place of its own")]
        rule = "another must have the same major version and not be older"
        text = f"{asked.with_them} is built with cuDNN {span(pinned)}; {rule}"
        return [asked.fact(text, facts.cudnn_rule())]


class Variant(Axis):
    """Plain, or with nvcc and CUDA's headers."""

    name, example, words = "variant", "devel", "the {} variant"
    other = "plain"
    kind = Kind("plain or devel", "plain|devel")

    def admits(self, c: "Combination", value: str, query: "Query") -> bool:
        """Plain always; devel where nvcc is a wheel."""
        return value == PLAIN or order(c.cuda or "0").major >= FIRST_NVCC

    def reasons(self, asked: "Asked") -> "list[Fact]":
        """From which CUDA on nvcc is a wheel."""
        return [asked.fact(f"PyPI has no nvcc for CUDA before {FIRST_NVCC}")]


class Arch(Axis):
    """The processor's architecture."""

    name, example = "arch", "arm64"
    other, weight = "other architecture", 5.0
    kind = Kind("amd64 or arm64", "amd64|arm64")

    def admits(self, c: "Combination", value: str, query: "Query") -> bool:
        """The same architecture."""
        return c.arch == value

    def reasons(self, asked: "Asked") -> "list[Fact]":
        """Those that there are."""
        return [asked.fact(f"{asked.with_them}: {', '.join(sorted({c.arch for c in asked.rest}))}")]


class Gpu(Axis):
    """The GPU that it is to run on."""

    name, example = "gpu", "V100 or 7.0"
    other, weight = "another GPU", 8.0
    kind = Kind("a GPU", ".+")

    def unknown(self, value: str) -> "InputError | None":
        """The error for a GPU that the facts do not have."""
        from torchdev.catalog import facts

        if facts.gpu(value):
            return None
        step = f"use one of: {', '.join(facts.gpus())}; or a compute capability such as 8.9"
        return InputError(f'nothing is known of a GPU "{value}"', next_step=step)

    def admits(self, c: "Combination", value: str, query: "Query") -> bool:
        """Whether PyTorch, CUDA and the wanted cuDNN all serve the GPU."""
        from torchdev.catalog import support

        return support.gpu_refusal(value, query.get("cudnn"), c) is None

    def to_blame(self, c: "Combination", query: "Query") -> str:
        """The axis of the wanted cuDNN, if that alone does not serve the GPU."""
        from torchdev.catalog import support

        only_cudnn = "cudnn" in query and support.gpu_refusal(query[self.name], None, c) is None
        return "cudnn" if only_cudnn else self.name

    def reasons(self, asked: "Asked") -> "list[Fact]":
        """Why no combination runs on the GPU: by those that are compiled for it, else by the newest one."""
        from torchdev.catalog import support

        rest = asked.rest
        own = [c for c in rest if support.gpu_refusal(asked.value, None, c) is None] or [c for c in rest if c.cuda]
        fact = support.gpu_refusal(asked.value, asked.others.get("cudnn"), (own or rest)[-1])
        return [fact] if fact else []


class Driver(Axis):
    """The NVIDIA driver of the machine; one given in part (535) is the newest of its branch."""

    name, example, words = "driver", "535", "driver {}"
    other, weight = "another driver", 6.0

    def admits(self, c: "Combination", value: str, query: "Query") -> bool:
        """Whether the driver serves the CUDA version. cpu needs no driver, and matches only if cpu was asked for."""
        from torchdev.catalog import support

        return support.driven(c.cuda, value) if c.cuda else query.get("cuda") == CPU

    def clash(self, query: "Query") -> "Clash | None":
        """The conflict with a GPU that this driver does not serve."""
        from torchdev.catalog import support

        refusal = support.driver_refusal(query["gpu"], query[self.name]) if "gpu" in query else None
        return Clash((self.name, "gpu"), refusal) if refusal else None

    def reasons(self, asked: "Asked") -> "list[Fact]":
        """The driver that the oldest CUDA version with a known driver needs."""
        from torchdev.catalog import facts

        cudas = sorted({c.cuda for c in asked.rest if c.cuda}, key=order)
        if not cudas:
            return super().reasons(asked)
        for cuda in cudas:
            if found := facts.driver(cuda):
                text = f"CUDA {order(cuda).major} needs driver {found[0]} or newer"
                return [facts.Fact(text, (found[1],))]
        return [asked.fact(f"the driver that CUDA {cudas[0]} needs is {facts.NOT_KNOWN}")]


class Glibc(Axis):
    """The glibc of the machine or of the base image."""

    name, example, words = "glibc", "2.28", "glibc {}"
    other, weight = "a newer glibc", 6.0

    def admits(self, c: "Combination", value: str, query: "Query") -> bool:
        """The same or a newer one."""
        from torchdev.catalog import support

        return support.has_glibc(c, value)

    def reasons(self, asked: "Asked") -> "list[Fact]":
        """The oldest glibc that would do."""
        from torchdev.catalog import support

        return [asked.fact(f"{asked.with_them} needs glibc {support.oldest_glibc(asked.rest)} or newer")]


class Companion(Axis):
    """A package that belongs to a PyTorch release, in any version or in one."""

    bare, kind = ANY, VERSION_OR_ANY

    def __init__(self, name: str) -> None:
        self.name, self.words, self.other = name, f"{name} {{}}", f"without that {name}"

    @property
    def help(self) -> str:
        """The help text: a version may be left out."""
        return "with it, in any version or in X"

    def text(self, value: str) -> str:
        """Its name, and the version if one is asked for."""
        return self.name if value == ANY else super().text(value)

    def admits(self, c: "Combination", value: str, query: "Query") -> bool:
        """Whether the version that belongs to the release has a wheel, and is the wanted one."""
        found = c.companion(self.name)
        return found is not None and (value == ANY or begins(found, value))

    def reasons(self, asked: "Asked") -> "list[Fact]":
        """Which versions belong to the releases, and the Pythons of their wheels."""
        from torchdev.catalog import support

        name = self.name
        if "torch" not in asked.others:
            have = [version for c in asked.rest if (version := c.companion(name))]
            return [asked.fact(f"{asked.with_them}: {f'{name} {span(have)}' if have else f'no {name}'}")]
        own, pythons = support.companions(name, asked.rest)
        if not own:
            last = support.newest(name)
            return [asked.fact(f"{name} ends with {last}: none belongs to {asked.with_them}")]
        belonging = f"{name} {span(own)} belongs to {asked.with_them}"
        return [asked.fact(f"{belonging}, and has wheels for Python {span(pythons)}")]


AXES: "dict[str, Axis]" = {
    axis.name: axis
    for axis in (
        Python(), Cuda(), Torch(), Cudnn(), Variant(), Arch(), Gpu(), Driver(), Glibc(), *map(Companion, COMPANIONS)
    )
}  # fmt: skip
"""Every axis by name, in the order of the options."""
