"""Claims: what the name of a tag says about an image, as a careful reader takes it, compared with the cell."""

import re
from collections.abc import Iterator
from functools import cache

from torchdev.catalog import bases, facts, ids, releases, support
from torchdev.catalog.versions import begins, minor, order
from torchdev.matrix.cells import Cell

PYTHON, CUDA, TORCH, CUDNN = "Python", "CUDA", "PyTorch", "cuDNN"
NUMBERED = {
    PYTHON: "python|py|cp",
    CUDA: "cuda|cu",
    TORCH: "pytorch|torch|pt",
    CUDNN: "cudnn",
    "torchvision": "torchvision|vision",
    "torchaudio": "torchaudio|audio",
}
"""Things that have a version, and the words before the version in a tag: py39, cuda12.8, pytorch-2.7."""
ACCELERATOR = "accelerator"
WORDS = {
    ACCELERATOR: dict.fromkeys(("cpu", "nocuda", "nogpu"), "CPU")
    | dict.fromkeys(("gpu", "cuda", "cudnn"), "CUDA")
    | {"rocm": "ROCm", "hip": "ROCm", "xpu": "XPU", "tpu": "TPU"},
    "variant": dict.fromkeys(("devel", "nvcc"), ids.DEVEL) | dict.fromkeys(("plain", "runtime"), ids.PLAIN),
    "architecture": dict.fromkeys(("arm", "arm64", "aarch64"), ids.ARM64)
    | dict.fromkeys(("amd64", "x64", "x86", "x86_64"), ids.AMD64)
    | {name: name for name in ("i386", "ppc64le", "riscv64", "s390x")},
    "system": {name: name for name in ("buster", "bullseye", "bookworm", "trixie", "forky", "sid")}
    | {name: name for name in ("alpine", "centos", "fedora", "macos", "rocky", "ubi", "ubuntu", "windows")},
}
"""Words that make a claim by themselves: to what they are about."""
VERSION = r"v?(?P<version>\d+(\.\d+)*(t(?![a-z]))?)(?!\d|\.\d)"
"""A version behind a word; with a t, of a free-threaded Python."""


def untrue(tag: str, cell: Cell) -> str:
    """The first claim of a tag that is false for a cell's image, in a phrase; empty if all claims are true."""
    negated = re.sub(r"(?<![a-z])(no|non|without)[-_](?=(cuda|gpu)(?![a-z]))", "no", tag.lower())
    text = negated.replace("x86-64", "x86_64")
    judges = (_of_versions, _of_words, _of_numbers, _of_gpus)
    return next((phrase for judge in judges for phrase in judge(text, cell)), next(_of_ids(tag, cell), ""))


def _of_versions(text: str, cell: Cell) -> "Iterator[str]":
    """False claims of versions behind a word."""
    for what, words in NUMBERED.items():
        for match in re.finditer(rf"(?<![a-z])({words})[-_.]?{VERSION}", text):
            has = _versions(cell)[what]
            if not _agree(match["version"], has):
                yield f"{match[0]} says {what} {match['version']}, and it has {f'{what} {has}' if has else 'none'}"


def _of_words(text: str, cell: Cell) -> "Iterator[str]":
    own = {
        ACCELERATOR: "CUDA" if cell.cuda else "CPU",
        "variant": cell.variant,
        "architecture": cell.arch,
        "system": bases.suite_of(cell.python).name,
    }
    for what, meanings in WORDS.items():
        for word, meaning in meanings.items():
            if re.search(rf"(?<![a-z0-9]){word}(?![a-z])", text) and own[what] != meaning:
                yield f"{word} says that its {what} is {meaning}, and that is {own[what]}"


def _of_numbers(text: str, cell: Cell) -> "Iterator[str]":
    """False claims of versions without a word: one that the catalog knows must be one of the cell's."""
    for version in re.findall(r"(?<![^-_])v?(\d+(?:\.\d+)+)(?![^-_])", text):
        what = _known().get(minor(version))
        if what and not any(_agree(version, has) for has in _versions(cell).values()):
            yield f"{version} is a {what}, and not one of its versions"


def _of_gpus(text: str, cell: Cell) -> "Iterator[str]":
    """False claims of GPUs, such as v100: the cell must serve them, as far as is known."""
    found = releases.find(cell.torch, cell.flavour, cell.arch, cell.python)
    for word in re.split("[-_.]", text) if found else ():
        if found and len(word) > 2 and word[0].isalpha() and facts.gpu(word):
            refusal = support.gpu_refusal(word, cell.cudnn, found)
            if refusal:
                yield f"it names {word}, and {refusal.text}"


def _of_ids(tag: str, cell: Cell) -> "Iterator[str]":
    """False claims of a tag that has the form of a cell's id: parts that it omits have their default."""
    named = ids.query(tag)
    own = {"cudnn": cell.cudnn, "variant": cell.devel, "arch": cell.arch != ids.AMD64}
    for axis, unusual in own.items() if named else ():
        if unusual and axis not in (named or {}):
            yield f"it is the name of a cell with the usual {axis}, and {getattr(cell, axis)} is another"


def _versions(cell: Cell) -> "dict[str, str | None]":
    """The version of something in an image: empty if it is not known; None if the image does not have it."""
    found = releases.find(cell.torch, cell.flavour, cell.arch, cell.python)
    cudnn = cell.cudnn or (found.build.cudnn if found else None) or ""
    own = {PYTHON: cell.python, CUDA: cell.cuda, TORCH: cell.torch, CUDNN: cudnn if cell.cuda else None}
    return own | {name: cell.companions.get(name) for name in ids.COMPANIONS}


def _agree(said: str, has: "str | None") -> bool:
    """Whether a version in a tag, whole or in part, with points or without, is one of the image's."""
    if not has:
        return has == ""
    if "." in said:
        return begins(has, said) or begins(said, has)
    parts = [str(number) for number in order(has).release]
    return said in {"".join(parts[: n + 1]) for n in range(len(parts))}


@cache
def _known() -> "dict[str, str]":
    """Known series of versions, and what they are of: a bare number such as 3.9 is taken for one of these."""
    found: dict[str, str] = {}
    for c in releases.all_combinations():
        found |= {minor(c.torch): TORCH, c.python: PYTHON} | ({c.cuda: CUDA} if c.cuda else {})
    return found
