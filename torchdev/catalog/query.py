"""The axes on which something can be wished for: what a wish admits, and how far a combination is from it."""

import re
from collections.abc import Callable
from functools import cache

from torchdev.catalog import facts, releases
from torchdev.catalog.builds import PYPI, load, numbers
from torchdev.catalog.facts import Fact
from torchdev.catalog.ids import PLAIN
from torchdev.catalog.releases import COMPANIONS, Combination, flavour_order
from torchdev.util.commands import build_py
from torchdev.util.errors import InputError

Query = dict[str, str]
"""Axis to what is wished for. A version may be given in part: PyTorch 2.9, cuDNN 9.20, driver 535."""

FIRST_NVCC = 13
"""The first CUDA major whose nvcc is a wheel on PyPI; nvidia-cuda-nvcc-cu12 has ptxas alone. Read on 2026-11-23."""
CPU = "cpu"
"""The flavour without CUDA: no nearer to one CUDA than to another."""
ANY = "any"
"""Wished for, in whatever version."""
WEIGHTS = {
    "cudnn": 1.0, "torchvision": 1.0, "torchaudio": 1.0, "variant": 1.0, "torch": 1.2, "cuda": 1.3, "python": 1.4,
    "arch": 5.0, "driver": 6.0, "glibc": 6.0, "gpu": 8.0,
}  # fmt: skip
"""How much it costs to give up a wish: a machine is harder to change than a version."""
STEP = 0.02
"""What each release, Python or CUDA between the wish and the combination costs."""


FORMS = {
    "python": (r"3\.\d+", "a Python series such as 3.11"),
    "cuda": (r"cpu|cu\d{3}", "a flavour such as cu130, a CUDA version such as 13.0, or cpu"),
    "variant": (r"plain|devel", "plain or devel"),
    "arch": (r"amd64|arm64", "amd64 or arm64"),
    "gpu": (r".+", "a GPU"),
}
"""What a wish may look like, and what one that does not is told; all others are versions, whole or in part."""


def checked(query: Query) -> Query:
    """The query with its values as they are written here; InputError for one that nothing could be judged by."""
    query = {axis: _spelled(axis, value.strip()) for axis, value in query.items()}
    known = releases.known()
    if "torch" in query and not any(begins(torch, query["torch"]) for torch in known):
        span = f"{known[0]} to {known[-1]}"
        raise InputError(f"the catalog has no PyTorch {query['torch']}", next_step=f"it knows {span}")
    if "gpu" in query and not facts.gpu(query["gpu"]):
        step = f"use one of: {', '.join(facts.gpus())}; or a compute capability such as 8.9"
        raise InputError(f'nothing is known of a GPU "{query["gpu"]}"', next_step=step)
    return query


def _spelled(axis: str, value: str) -> str:
    if axis == "cuda" and re.fullmatch(r"\d+\.\d", value):
        value = f"cu{value.replace('.', '')}"
    pattern, words = FORMS.get(axis, (rf"{ANY}|\d+(\.\d+)*", "a version such as 2.9.1, whole or in part"))
    if not re.fullmatch(pattern, value) or (value == ANY and axis not in COMPANIONS):
        raise InputError(f'--{axis} "{value}" is not {words}', next_step=build_py("explain", "--help"))
    return value


def admits_all(query: Query, c: Combination) -> bool:
    """Whether a combination is all that is wished for."""
    return all(ADMITS[axis](c, wish, query) for axis, wish in query.items())


def given_up(query: Query, c: Combination) -> tuple[str, ...]:
    """The axes on which a combination is something else; a cuDNN gives way to the GPU that it does not serve."""
    gone = {axis for axis, wish in query.items() if not ADMITS[axis](c, wish, query)}
    if "gpu" in gone and "cudnn" in query and gpu_refusal(query["gpu"], None, c) is None:
        gone = gone - {"gpu"} | {"cudnn"}
    return tuple(axis for axis in query if axis in gone)


def distance(query: Query, c: Combination) -> float:
    """How far a combination is from what is wished for; 0 if it is that."""
    return sum(WEIGHTS[axis] + STEP * _steps(axis, query[axis], c) for axis in given_up(query, c))


def begins(version: str, wish: str) -> bool:
    """Whether a version is the wished one, or one of those that a part of a version stands for."""
    return version.split(".")[: len(wish.split("."))] == wish.split(".")


def _older(version: str, minimum: str) -> bool:
    """Whether a version is older than a minimum; one given in part (535) stands for the newest of its branch."""
    have, need = numbers(version), numbers(minimum)
    return have < need[: len(have)]


def _driven(cuda: str, driver: str) -> bool:
    """Whether a driver is known to serve a CUDA version."""
    found = facts.driver(cuda)
    return found is not None and not _older(driver, found[0])


def _has_companion(c: Combination, name: str, wish: str) -> bool:
    found = c.companion(name)
    return found is not None and (wish == ANY or begins(found, wish))


def cudnn_for(c: Combination, wish: str) -> "str | None":
    """The cuDNN that fulfils a wish beside a combination: its own, else the oldest on PyPI that can serve it."""
    own = c.build.cudnn
    if own and begins(own, wish):
        return own
    if c.cuda is None or own is None or c.build.inside:
        return None  # there is none, it is not known, or it is a part of PyTorch's own wheel
    on_pypi = load().cudnn.get(f"nvidia-cudnn-cu{c.cuda.split('.')[0]}", ())
    fitting = (v for v in on_pypi if begins(v, wish) and not cudnn_refusal(own, v))
    return min(fitting, key=numbers, default=None)


def cudnn_refusal(pinned: str, wanted: str) -> str:
    """Why a cuDNN can't serve what was built with another; empty if it can.

    It must have the same major version and not be older. Source: NVIDIA's cuDNN documentation, "API compatibility".
    """
    have, need = numbers(wanted), numbers(pinned)
    if have[0] != need[0]:
        return f"built with cuDNN {pinned}, and cuDNN {wanted} has another major version"
    return f"built with cuDNN {pinned}, and cuDNN {wanted} is older" if have < need[: len(have)] else ""


def chosen_cudnn(query: Query, c: Combination) -> "str | None":
    """The cuDNN to name beside a combination: None if it is PyTorch's own."""
    found = cudnn_for(c, query["cudnn"]) if "cudnn" in query else None
    return found if found != c.build.cudnn else None


def gpu_refusal(name: str, cudnn: "str | None", c: Combination) -> "Fact | None":
    """Why a combination does not run on a GPU; None if it does, as far as is known."""
    gpu = facts.gpu(name)
    assert gpu, f"check() lets no unknown GPU pass: {name}"
    if c.cuda is None:
        return Fact("a cpu flavour uses no GPU", c.sources)
    if c.build.architectures and not facts.serves(c.build.architectures, gpu.capability):
        have = " ".join(c.build.architectures)
        said = facts.architectures_source(c.torch, c.flavour, c.arch) if c.build.origin != PYPI else None
        text = f"{_name(c)} is compiled for {have}; {gpu.name} is sm_{gpu.capability.replace('.', '')}"
        return Fact(text, (said,) if said else c.sources)
    toolkit = facts.toolkit(c.cuda)
    if toolkit and not numbers(toolkit[0]) <= numbers(gpu.capability) <= numbers(toolkit[1]):
        span = f"compute capability {toolkit[0]} to {toolkit[1]}"
        return Fact(f"CUDA {c.cuda} compiles for {span}; {gpu.name} has {gpu.capability}", (toolkit[2],))
    if not c.build.architectures:
        return Fact(f"it is not known which GPUs {_name(c)} for {c.arch} is compiled for", c.sources)
    end = facts.cudnn_end(gpu.capability)
    own = cudnn_for(c, cudnn) if cudnn else c.build.cudnn
    if end and own and numbers(own) >= numbers(end[0]):
        text = f"cuDNN serves {gpu.name} (compute capability {gpu.capability}) no longer from {end[0]} on"
        return Fact(text, (end[1],))
    return None


def _name(c: Combination) -> str:
    return f"PyTorch {c.torch} ({c.flavour})"


def clash(query: Query) -> "Fact | None":
    """What two wishes about a machine have against each other, whatever is to run on it."""
    gpu = facts.gpu(query["gpu"]) if "gpu" in query else None
    said = facts.branch_source(gpu.capability) if gpu else None
    if not gpu or not said or "driver" not in query:
        return None
    if gpu.last and numbers(query["driver"])[:1] > numbers(gpu.last)[:1]:
        return Fact(f"driver {gpu.last} is the last branch that serves {gpu.name}", (said,))
    if gpu.first and _older(query["driver"], gpu.first):
        return Fact(f"{gpu.name} needs driver {gpu.first} or newer", (said,))
    return None


ADMITS: "dict[str, Callable[[Combination, str, Query], bool]]" = {
    "python": lambda c, wish, _: c.python == wish,
    "cuda": lambda c, wish, _: c.flavour == wish,
    "torch": lambda c, wish, _: begins(c.torch, wish),
    "arch": lambda c, wish, _: c.arch == wish,
    "cudnn": lambda c, wish, _: cudnn_for(c, wish) is not None,
    "torchvision": lambda c, wish, _: _has_companion(c, "torchvision", wish),
    "torchaudio": lambda c, wish, _: _has_companion(c, "torchaudio", wish),
    "variant": lambda c, wish, _: wish == PLAIN or int((c.cuda or "0").split(".")[0]) >= FIRST_NVCC,
    "glibc": lambda c, wish, _: numbers(c.build.runs_from or "2.0") <= numbers(wish),
    "driver": lambda c, wish, query: _driven(c.cuda, wish) if c.cuda else query.get("cuda") == CPU,
    "gpu": lambda c, wish, query: gpu_refusal(wish, query.get("cudnn"), c) is None,
}
"""Axis to whether a combination is what is wished for on it; the whole query is given since a cuDNN decides on GPUs."""


@cache
def _flavour_order() -> "list[int]":
    return sorted({flavour_order(c.flavour) for c in releases.all_combinations()})


def _steps(axis: str, wish: str, c: Combination) -> int:
    """How many releases, Pythons or flavours lie between a wish and a combination."""
    if axis == "torch":
        order = releases.known()
        asked = [i for i, torch in enumerate(order) if begins(torch, wish)]
        return min((abs(order.index(c.torch) - i) for i in asked), default=0)
    if axis == "python":
        return abs(numbers(c.python)[-1] - numbers(wish)[-1])
    if axis == "cuda":
        if CPU in (wish, c.flavour):
            return 0 if wish == CPU else len(_flavour_order())
        between = sorted((flavour_order(c.flavour), flavour_order(wish)))
        return sum(between[0] <= known < between[1] for known in _flavour_order())
    return 0
