"""Cell ids: made here and nowhere else, and parsed only where a user may name a cell that does not exist."""

import re

PLAIN, DEVEL = "plain", "devel"
AMD64, ARM64 = "amd64", "arm64"
COMPANIONS = ("torchvision", "torchaudio")
"""The packages whose version belongs to a PyTorch release."""
PATTERN = re.compile(
    r"py(?P<python>3\d+)-(?P<cuda>cpu|cu\d{3})(-torch(?P<torch>\d+(\.\d+)*))?(-cudnn(?P<cudnn>\d+(\.\d+)*))?"
    r"(-(?P<variant>devel))?(-(?P<arch>arm64))?"
)


def cell_id(
    python: str, flavour: str, torch: str, cudnn: "str | None" = None, variant: str = PLAIN, arch: str = AMD64
) -> str:
    """The id of a cell: py311-cu130-torch2.13.0, with a suffix for everything that differs from the default."""
    return f"{_pair(python, flavour)}-torch{torch}{_suffix(cudnn, variant, arch)}"


def short_tag(python: str, flavour: str, cudnn: "str | None" = None, variant: str = PLAIN, arch: str = AMD64) -> str:
    """The id without the PyTorch release, which is the tag of the cell with the newest one."""
    return _pair(python, flavour) + _suffix(cudnn, variant, arch)


def _pair(python: str, flavour: str) -> str:
    return f"py{python.replace('.', '')}-{flavour}"


def _suffix(cudnn: "str | None", variant: str, arch: str) -> str:
    parts = ((f"cudnn{cudnn}", cudnn), (variant, variant != PLAIN), (arch, arch != AMD64))
    return "".join(f"-{text}" for text, wanted in parts if wanted)


def query(text: str) -> "dict[str, str] | None":
    """A query from an id or short tag, whether or not there is such a cell; None if the text is neither."""
    match = PATTERN.fullmatch(text)
    if not match:
        return None
    found = {axis: value for axis, value in match.groupdict().items() if value}
    return found | {"python": f"3.{found['python'][1:]}"}
