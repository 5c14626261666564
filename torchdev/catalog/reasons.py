"""Why wishes conflict, in sentences with their sources; and what a combination runs on."""

from collections.abc import Sequence

from torchdev.catalog import facts, releases
from torchdev.catalog.builds import PYPI, Source, load, numbers
from torchdev.catalog.facts import Fact
from torchdev.catalog.query import ANY, FIRST_NVCC, Query, gpu_refusal
from torchdev.catalog.releases import COMPANIONS, Combination, flavour_order

NAMES = {
    "python": "Python {}", "cuda": "{}", "torch": "PyTorch {}", "cudnn": "cuDNN {}", "driver": "driver {}",
    "gpu": "{}", "glibc": "glibc {}", "arch": "{}", "variant": "the {} variant",
}  # fmt: skip


def _pythons(rest: "Sequence[Combination]") -> str:
    """The Pythons of some combinations, in words."""
    found = sorted({c.python for c in rest}, key=numbers)
    return f"Python {_span(found)}"


def _span(values: "list[str]") -> str:
    return values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _releases(rest: "Sequence[Combination]") -> str:
    return f"PyTorch {_span(sorted({c.torch for c in rest}, key=numbers))}"


def _flavours(rest: "Sequence[Combination]") -> str:
    found = sorted({c.flavour for c in rest}, key=flavour_order)
    return ", ".join(found) if len(found) < MANY else f"{len(found)} flavours, the newest {found[-1]}"


GIVEN_UP = {
    "cuda": "other CUDA", "torch": "other PyTorch", "python": "other Python", "cudnn": "PyTorch's own cuDNN",
    "gpu": "another GPU", "driver": "another driver", "glibc": "a newer glibc", "arch": "other architecture",
    "variant": "plain", "torchvision": "without that torchvision", "torchaudio": "without that torchaudio",
}  # fmt: skip
"""What it means that a combination is not what was wished for on an axis."""
MANY = 7
"""From so many flavours on they are counted."""


def wish_text(axis: str, value: str) -> str:
    """A wish in words: Python 3.9, cu130, torchaudio."""
    if axis in COMPANIONS:
        return axis if value == ANY else f"{axis} {value}"
    return NAMES[axis].format(value)


def facts_about(axis: str, wish: str, others: Query, rest: "Sequence[Combination]") -> "list[Fact]":
    """What those combinations have on an axis that are all else that is wished for."""
    with_them = " and ".join(wish_text(*other) for other in others.items()) or "the catalog"
    sources = tuple(dict.fromkeys(source for c in rest for source in c.sources))
    if axis == "gpu":
        return _gpu_facts(wish, others, rest)
    if axis == "cudnn":
        return _cudnn_facts(wish, others, with_them, rest, sources)
    if axis in COMPANIONS:
        return [_companion_fact(axis, others, with_them, rest, sources)]
    values = {"python": _pythons, "torch": _releases, "cuda": _flavours}.get(axis)
    if values and not others:
        return [Fact(f"no PyTorch of the catalog is for {wish_text(axis, wish)}: it has {values(rest)}", sources)]
    if values:
        more = f" ({_releases(rest)})" if axis != "torch" and "torch" not in others else ""
        return [Fact(f"{with_them}: {values(rest)}{more}", sources)]
    return _other_facts(axis, wish, with_them, rest, sources)


def _gpu_facts(wish: str, others: Query, rest: "Sequence[Combination]") -> "list[Fact]":
    # Those that are compiled for it show what truly forbids it; else the newest that is not.
    own = [c for c in rest if gpu_refusal(wish, None, c) is None] or [c for c in rest if c.cuda] or rest
    fact = gpu_refusal(wish, others.get("cudnn"), own[-1])
    return [fact] if fact else []


def _cudnn_facts(
    wish: str, others: Query, with_them: str, rest: "Sequence[Combination]", sources: "tuple[Source, ...]"
) -> "list[Fact]":
    if not others:
        return [_no_such_cudnn(wish)]
    pinned = sorted({c.build.cudnn for c in rest if c.build.cudnn}, key=numbers)
    if "gpu" in others:
        return []  # it is the GPU that does not go with it
    if not pinned:
        return [Fact(f"{with_them}: no {wish_text('cudnn', wish)} can take the place of its own", sources)]
    rule = "another must have the same major version and not be older"
    text = f"{with_them} is built with cuDNN {_span(pinned)}; {rule}"
    return [Fact(text, (*sources, facts.cudnn_rule()))]


def _no_such_cudnn(wish: str) -> Fact:
    found = {version for versions in load().cudnn.values() for version in versions}
    same = sorted((v for v in found if numbers(v)[:1] == numbers(wish)[:1]), key=numbers)
    near = sorted(same, key=lambda v: [abs(a - b) for a, b in zip(numbers(v), numbers(wish), strict=False)])[:2]
    words = f"the nearest are {' and '.join(near)}" if near else f"it has {_span(sorted(found, key=numbers))}"
    return Fact(f"PyPI has no cuDNN {wish} that can serve any PyTorch; {words}", (load().sources[PYPI],))


def _companion_fact(
    name: str, others: Query, with_them: str, rest: "Sequence[Combination]", sources: "tuple[Source, ...]"
) -> Fact:
    if "torch" not in others:
        have = sorted({v for c in rest if (v := c.companion(name))}, key=numbers)
        return Fact(f"{with_them}: {f'{name} {_span(have)}' if have else f'no {name}'}", sources)
    own = sorted({v for c in rest if (v := releases.companions_of(c.torch).get(name))}, key=numbers)
    if not own:
        last = max((b.version for b in load().of(name)), key=numbers)
        return Fact(f"{name} ends with {last}: none belongs to {with_them}", sources)
    wheels = [b for b in load().of(name) if b.version in own and b.arch in {c.arch for c in rest}]
    pythons = sorted({w.python for b in wheels for w in b.wheels if not w.python.endswith("t")}, key=numbers)
    return Fact(f"{name} {_span(own)} belongs to {with_them}, and has wheels for Python {_span(pythons)}", sources)


def _other_facts(
    axis: str, wish: str, with_them: str, rest: "Sequence[Combination]", sources: "tuple[Source, ...]"
) -> "list[Fact]":
    if axis == "driver" and (cudas := sorted({c.cuda for c in rest if c.cuda}, key=numbers)):
        return [_driver_fact(cudas, sources)]
    if axis == "glibc":
        needs = min((c.build.runs_from or "2.0" for c in rest), key=numbers)
        return [Fact(f"{with_them} needs glibc {needs} or newer", sources)]
    if axis == "variant":
        return [Fact(f"PyPI has no nvcc for CUDA before {FIRST_NVCC}", sources)]
    if axis == "arch":
        return [Fact(f"{with_them}: {', '.join(sorted({c.arch for c in rest}))}", sources)]
    return [Fact(f"{with_them}: no {wish_text(axis, wish)}", sources)]


def _driver_fact(cudas: "list[str]", sources: "tuple[Source, ...]") -> Fact:
    """What the oldest of some CUDA versions, oldest first, needs; of those whose need is known, if there are any."""
    for cuda in cudas:
        if found := facts.driver(cuda):
            return Fact(f"CUDA {cuda.split('.')[0]} needs driver {found[0]} or newer", (found[1],))
    return Fact(f"the driver that CUDA {cudas[0]} needs is {facts.NOT_KNOWN}", sources)


def support(c: Combination) -> str:
    """What a combination runs on, in words."""
    where = "on PyPI" if c.build.origin == PYPI else "on the PyTorch index"
    if c.cuda is None:
        return f"runs on the CPU; {where}"
    have = [name for name in c.build.architectures if name.startswith("sm_")]
    gpus = f"GPUs {have[0]} to {have[-1]}, " if have else ""
    driver = facts.driver(c.cuda)
    return f"{gpus}driver {f'{driver[0]} or newer' if driver else facts.NOT_KNOWN}; {where}"
