"""Parses BuildKit's log (`--progress=plain`): steps by number, their names, and the bytes that they move. Pure."""

import re
from collections.abc import Mapping

from torchdev.util.amounts import rate, read_bytes, size

STEP = re.compile(r"#(\d+) (.+)")
NAMED = re.compile(r"\[([\w.-]+)(?: +\d+/\d+)?\] (.+)")
"""A step when it begins: its stage and its instruction."""
MOVED = re.compile(r"(?:transferring context:|sha256:\w+) (?P<now>[0-9.]+[kMGT]?B)(?: / (?P<all>[0-9.]+[kMGT]?B))?")
TOOK = re.compile(r" ([0-9.]+)s(?: done)?$")


def step_name(texts: "Mapping[str, str]", text: str) -> str:
    """A short name for a step: its layer, or the purpose of its stage; empty for steps that take no time."""
    if text.startswith("exporting to"):
        return "export"
    found = NAMED.fullmatch(text)
    if not found:
        return ""
    stage, instruction = found.groups()
    if stage == "internal":
        return "context" if instruction == "load build context" else ""
    layer = texts.get(squeezed(instruction.removeprefix("RUN ")))
    if layer or not instruction.startswith("RUN "):
        return layer or ""
    return stage.replace("-", " ", 1)


def steps_of(dockerfile: str) -> dict[str, str]:
    """The name in BuildKit's log of each step that makes a layer, to the layer: each RUN below a comment `# layer:
    why`.
    """
    found, layer = {}, ""
    for block in re.split(r"(?m)^(?=# |RUN |FROM )", dockerfile):
        comment = re.match(r"# ([a-z-]+): ", block)
        if comment:
            layer = comment[1]
        elif block.startswith("RUN ") and layer:
            joined = re.sub(r"\\\n", "", block.removeprefix("RUN ").split("\n\n")[0])
            found[squeezed(joined.split("\n")[0])] = layer
            layer = ""
    return found


def squeezed(text: str) -> str:
    """A text with single spaces."""
    return " ".join(text.split())


def moved(text: str) -> str:
    """The bytes that a line reports: how many, of how many, and how fast."""
    found, took = MOVED.match(text), TOOK.search(text)
    if not found:
        return ""
    now, seconds = read_bytes(found["now"]), float(took[1]) if took else 0.0
    return size(now) + (f" of {size(read_bytes(found['all']))}" if found["all"] else "") + rate(now, seconds)
