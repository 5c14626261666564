"""The build context images/: where shared files lie, and which of them each cell's build mounts."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from torchdev.image.plan import Layer, Plan

COMMON = "common"
"""The folder below images/ with everything that cells share."""
OWN_SCRIPTS = ("3.6",)
"""Pythons with scripts of their own: one folder has all of these, because builds mount it as a whole."""
NAME = 12
"""Characters of a hash that name a list of wheels."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """Where a cell's build finds the files that it mounts: paths below images/.

    `wheels` and `fetch` are by layer; tools and pip have wheels, too. `lists` are the files, by path, that list this
    cell's wheels and describe its override. Their content names them: cells with equal lists share them, and adding or
    removing a cell moves no file of another.

    BuildKit's key of a step includes a hash of everything that the step mounts of the context, in the order of the
    paths. To hit the cache of an older layout, the mounted files must be in the same order in both.
    """

    scripts: str
    wheels: "Mapping[str, str]"
    fetch: "Mapping[str, str]"
    override: str
    lists: "Mapping[str, str]"
    steps: str = f"{COMMON}/steps"
    files: str = f"{COMMON}/files"


def own_scripts(plan: Plan) -> str:
    """The Python of a cell if it has scripts of its own, else empty."""
    return plan.cell.python if plan.cell.python in OWN_SCRIPTS else ""


@cache
def context_of(plan: Plan) -> Context:
    """The context of a plan's build."""
    own = own_scripts(plan)
    lists: dict[str, str] = {}
    wheels, fetch = {}, {}
    for name, files in _wheel_lists(plan).items():
        wheels[name] = f"{COMMON}/wheels/{name}-{_name(files)}"
        lists |= {f"{wheels[name]}/{file}": text for file, text in files.items()}
    for layer in plan.layers:
        if layer.packages:
            options = "".join(f"{option}\n" for option in layer.pip_options)
            fetch[layer.name] = f"{COMMON}/fetch/{layer.name}-{_name(options)}.txt"
            lists[fetch[layer.name]] = options
    override = ""
    if plan.cell.cudnn:
        pin = f"{plan.lock.cudnn_name}=={plan.lock.cudnn}\n"
        override = f"{COMMON}/override/cudnn-{_name(pin)}"
        lists[f"{override}/pin.txt"] = pin
    scripts = f"{COMMON}/python{own}/scripts" if own else f"{COMMON}/scripts"
    return Context(scripts=scripts, wheels=wheels, fetch=fetch, override=override, lists=lists)


def _wheel_lists(plan: Plan) -> "dict[str, dict[str, str]]":
    """What the tools, pip and each layer install, and which of their files are excluded: files by the folder's name."""
    found = {
        "tools": {"requirements.txt": "".join(f"{tool.requirement}\n" for tool in plan.tools)},
        "pip": {"requirements.txt": f"{plan.pip.requirement}\n"},
    }
    return found | {layer.name: _of_layer(plan, layer) for layer in plan.layers if layer.packages}


def _of_layer(plan: Plan, layer: Layer) -> "dict[str, str]":
    files = {"requirements.txt": layer.pins, "SHA256SUMS": layer.sums}
    files |= {f"{how}.txt": "".join(f"{path}\n" for path in paths) for how, paths in layer.excluded.items() if paths}
    if layer.elsewhere:
        lines = [f"{plan.cell.flavour}/{package.file}\n" for package in layer.elsewhere]
        files["pytorch-index.txt"] = "".join(lines)
    return files


def _name(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:NAME]
