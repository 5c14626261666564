"""What a combination supports: drivers, GPUs, glibc, cuDNN, companions, as far as is known."""

from collections.abc import Sequence

from torchdev.catalog import facts, releases
from torchdev.catalog.builds import PYPI, load
from torchdev.catalog.facts import Fact
from torchdev.catalog.releases import Combination
from torchdev.catalog.versions import begins, older, order, span


def driven(cuda: str, driver: str) -> bool:
    """Whether a driver is known to serve a CUDA version."""
    found = facts.driver(cuda)
    return found is not None and not older(driver, found[0])


def driver_refusal(name: str, driver: str) -> "Fact | None":
    """Why a driver does not serve a GPU; None if it does, as far as is known."""
    gpu = facts.gpu(name)
    said = facts.branch_source(gpu.capability) if gpu else None
    if not gpu or not said:
        return None
    if gpu.last and order(driver).major > order(gpu.last).major:
        return Fact(f"driver {gpu.last} is the last branch that serves {gpu.name}", (said,))
    if gpu.first and older(driver, gpu.first):
        return Fact(f"{gpu.name} needs driver {gpu.first} or newer", (said,))
    return None


def _glibc(c: Combination) -> str:
    return c.build.runs_from or "2.0"


def has_glibc(c: Combination, glibc: str) -> bool:
    """Whether a combination runs on a glibc."""
    return order(_glibc(c)) <= order(glibc)


def oldest_glibc(rest: "Sequence[Combination]") -> str:
    """The oldest glibc that any of some combinations runs on."""
    return min(map(_glibc, rest), key=order)


def cudnn_for(c: Combination, wanted: str) -> "str | None":
    """The cuDNN of a wanted version for a combination: its own, else the oldest on PyPI that can serve it."""
    own = c.build.cudnn
    if own and begins(own, wanted):
        return own
    if c.cuda is None or own is None or c.build.inside:
        return None  # there is none, it is not known, or it is a part of PyTorch's own wheel
    on_pypi = load().cudnn.get(f"nvidia-cudnn-cu{order(c.cuda).major}", ())
    fitting = (v for v in on_pypi if begins(v, wanted) and not cudnn_refusal(own, v))
    return min(fitting, key=order, default=None)


def cudnn_refusal(pinned: str, wanted: str) -> str:
    """Why a cuDNN can't serve what was built with another; empty if it can.

    It must have the same major version and not be older. Source: NVIDIA's cuDNN documentation, "API compatibility".
    """
    if order(wanted).major != order(pinned).major:
        return f"built with cuDNN {pinned}, and cuDNN {wanted} has another major version"
    return f"built with cuDNN {pinned}, and cuDNN {wanted} is older" if older(wanted, pinned) else ""


def no_such_cudnn(version: str) -> Fact:
    """The fact that PyPI has no such cuDNN, and the nearest versions."""
    found = {known for versions in load().cudnn.values() for known in versions}
    wanted = order(version)
    same = sorted((v for v in found if order(v).major == wanted.major), key=order)
    near = sorted(same, key=lambda v: [abs(a - b) for a, b in zip(order(v).release, wanted.release, strict=False)])[:2]
    words = f"the nearest are {' and '.join(near)}" if near else f"it has {span(found)}"
    return Fact(f"PyPI has no cuDNN {version} that can serve any PyTorch; {words}", (load().sources[PYPI],))


def gpu_refusal(name: str, cudnn: "str | None", c: Combination) -> "Fact | None":
    """Why a combination does not run on a GPU; None if it does, as far as is known."""
    gpu = facts.gpu(name)
    assert gpu, f"query.checked() lets no unknown GPU pass: {name}"
    if c.cuda is None:
        return Fact("the CUDA variant cpu uses no GPU", c.sources)
    if c.build.architectures and not facts.serves(c.build.architectures, gpu.capability):
        have = " ".join(c.build.architectures)
        said = facts.architectures_source(c.torch, c.flavour, c.arch) if c.build.origin != PYPI else None
        text = f"{_name(c)} is compiled for {have}; {gpu.name} is sm_{gpu.capability.replace('.', '')}"
        return Fact(text, (said,) if said else c.sources)
    toolkit = facts.toolkit(c.cuda)
    if toolkit and not order(toolkit[0]) <= order(gpu.capability) <= order(toolkit[1]):
        capabilities = f"compute capability {toolkit[0]} to {toolkit[1]}"
        return Fact(f"CUDA {c.cuda} compiles for {capabilities}; {gpu.name} has {gpu.capability}", (toolkit[2],))
    if not c.build.architectures:
        return Fact(f"it is not known which GPUs {_name(c)} for {c.arch} is compiled for", c.sources)
    end = facts.cudnn_end(gpu.capability)
    own = cudnn_for(c, cudnn) if cudnn else c.build.cudnn
    if end and own and order(own) >= order(end[0]):
        text = f"cuDNN serves {gpu.name} (compute capability {gpu.capability}) no longer from {end[0]} on"
        return Fact(text, (end[1],))
    return None


def _name(c: Combination) -> str:
    return f"PyTorch {c.torch} ({c.flavour})"


def companions(name: str, rest: "Sequence[Combination]") -> "tuple[list[str], list[str]]":
    """The versions of a companion that belong to the releases of some combinations, and the Pythons of their wheels."""
    own = sorted({v for c in rest if (v := releases.companions_of(c.torch).get(name))}, key=order)
    wheels = [b for b in load().of(name) if b.version in own and b.arch in {c.arch for c in rest}]
    return own, [w.python for b in wheels for w in b.wheels if not w.python.endswith("t")]


def newest(name: str) -> str:
    """The newest version of a project."""
    return max((build.version for build in load().of(name)), key=order)


def runs_on(c: Combination) -> str:
    """What a combination runs on, in words."""
    where = "on PyPI" if c.build.origin == PYPI else "on the PyTorch index"
    if c.cuda is None:
        return f"runs on the CPU; {where}"
    have = [name for name in c.build.architectures if name.startswith("sm_")]
    gpus = f"GPUs {have[0]} to {have[-1]}, " if have else ""
    driver = facts.driver(c.cuda)
    return f"{gpus}driver {f'{driver[0]} or newer' if driver else facts.NOT_KNOWN}; {where}"
