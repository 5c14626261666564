"""Plans to the files under images/: Dockerfile, scripts, wheel lists, contract, and the bake file."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from torchdev import texts, trees
from torchdev.contract import make_contract, to_text
from torchdev.errors import InputError
from torchdev.plan import EPOCH, Plan, Templates
from torchdev.texts import quoted
from torchdev.trees import RENDER as RENDER
from torchdev.trees import Changes, File, Files, Tree

BAKE_FILE = "docker-bake.json"
CONTRACT_FILE = "contract.json"
"""In a cell's folder, and once more among the files that go into its image."""
COMMAND = "python build.py render"
"""What generated files name; no matter how it was started, or they would differ."""
RAN = ("scripts", "steps", "files", "override")
"""Folders below templates/ of what builds mount and images hold."""


def render(plans: "tuple[Plan, ...]", templates: Path) -> Files:
    """Every generated file below images/, for these plans."""
    sources = _Sources(templates)
    files = {BAKE_FILE: File(bake_text(plans).encode())}
    for plan in plans:
        for name, file in _cell_files(plan, sources).items():
            files[f"{plan.cell.id}/{name}"] = file
    return files


def tree(files: Files, images: Path, speaks: "Callable[[str], bool]" = lambda _: True) -> Tree:
    """The tree of images/: locks and digests of bases have other writers; builds read a cell's folders as a whole."""
    closed = {"/".join(name.split("/")[:2]) for name in files if name.count("/") > 1}
    return Tree(images, files, speaks=speaks, others=_written_by_others, closed=closed, label=images.name)


def _written_by_others(name: str) -> bool:
    return name.rpartition("/")[2] in ("bases.json", "lock.json")


def write_cell(plan: Plan, templates: Path, images: Path) -> None:
    """Write one cell's folder anew, after its lock has changed."""
    own = f"{plan.cell.id}/"
    files = {f"{own}{name}": file for name, file in _cell_files(plan, _Sources(templates)).items()}
    trees.update(tree(files, images, lambda name: name.startswith(own)))


def digests(templates: Path) -> Templates:
    """The sha256 of every template that an image is written from."""
    found = sorted(path for path in templates.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    named = ((path.relative_to(templates).as_posix(), path) for path in found)
    own = ((name, path) for name, path in named if not name.startswith(("recipes/", "bootstrap/")))
    return tuple((name, hashlib.sha256(path.read_bytes()).hexdigest()) for name, path in own)


def environment(templates: Path) -> Environment:
    """How templates are read: a name that does not exist is an error."""
    made = Environment(
        loader=FileSystemLoader(templates),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    made.filters["megabytes"] = lambda count: f"{count / 1e6:,.0f} MB"
    made.filters["label"] = label
    return made


def label(text: str) -> str:
    """A text as a value of LABEL, where quotes, backslashes and variables would mean something; in one line."""
    if not text.isprintable():
        raise InputError(f"{quoted(text)} can't be the value of a label", next_step=RENDER)
    return '"' + re.sub(r'(["\\$])', r"\\\1", text) + '"'


class _Sources:
    """The templates of the files in a cell's folder; those that no cell changes are read once."""

    def __init__(self, templates: Path) -> None:
        self.templates = templates
        self.environment = environment(templates)
        found = [path for path in self.environment.list_templates() if "__pycache__" not in path]
        self.by_folder = {folder: [p for p in found if p.startswith(f"{folder}/")] for folder in RAN}
        self.plain: Files = {}

    def file(self, name: str, values: "Mapping[str, object]") -> File:
        """The file that is made from a template, with the permissions of the template."""
        if name in self.plain:
            return self.plain[name]
        if name.endswith(".j2"):
            return made(self.environment, self.templates, name, values)
        path = self.templates / name
        return self.plain.setdefault(name, File(path.read_bytes(), _mode(path)))


def _cell_files(plan: Plan, sources: _Sources) -> Files:
    values = {"plan": plan, "epoch": EPOCH}
    files = {"Dockerfile": sources.file("Dockerfile.j2", values)}
    for folder in RAN:
        if folder != "override" or plan.cell.cudnn:
            for name in sources.by_folder[folder]:
                files[name.removesuffix(".j2")] = sources.file(name, values)
    contract = File(to_text(make_contract(plan.cell, plan.lock)).encode())
    wheels = {name: File(text.encode()) for name, text in _wheel_lists(plan).items()}
    return files | {CONTRACT_FILE: contract, f"files/{CONTRACT_FILE}": contract} | wheels


def _wheel_lists(plan: Plan) -> "dict[str, str]":
    """What the tools and each layer install, and what of it the image lacks."""
    files = {"wheels/tools/requirements.txt": "".join(f"{tool.requirement}\n" for tool in plan.tools)}
    files["wheels/pip/requirements.txt"] = f"{plan.pip.requirement}\n"
    if plan.cell.cudnn:
        files["override/pin.txt"] = f"{plan.lock.cudnn_name}=={plan.lock.cudnn}\n"
    for layer in plan.layers:
        if layer.packages:
            files[f"wheels/{layer.name}/requirements.txt"] = layer.pins
            files[f"wheels/{layer.name}/SHA256SUMS"] = layer.sums
            files[f"fetch/{layer.name}.txt"] = "".join(f"{option}\n" for option in layer.pip_options)
        for how, paths in layer.lacks.items():
            if paths:
                files[f"wheels/{layer.name}/{how}.txt"] = "".join(f"{path}\n" for path in paths)
        if layer.elsewhere:
            lines = [f"{plan.cell.flavour}/{package.file}\n" for package in layer.elsewhere]
            files[f"wheels/{layer.name}/pytorch-index.txt"] = "".join(lines)
    return files


def made(environment: Environment, templates: Path, name: str, values: "Mapping[str, object]") -> File:
    """The file that a template makes, which can be run if the template can."""
    return File(fill(environment, name, values).encode(), _mode(templates / name))


def _mode(template: Path) -> int:
    return 0o755 if template.stat().st_mode & 0o100 else 0o644


def fill(environment: Environment, name: str, values: "Mapping[str, object]") -> str:
    """The text of a template; InputError, with its line, if it can't be rendered."""
    try:
        text = environment.get_template(name).render(**values)
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        where = f"templates/{name}" + (f":{line}" if line else "")
        raise InputError(f"the template can't be rendered: {error}", where=where, next_step=RENDER) from None
    return text.rstrip("\n") + "\n"


def bake_text(plans: "tuple[Plan, ...]") -> str:
    """The bake file: a target a cell, and nothing that depends on the machine that builds."""
    target = {
        plan.target: {"context": f"images/{plan.cell.id}", "tags": [plan.candidate], "platforms": [plan.lock.platform]}
        for plan in plans
    }
    group = {"default": {"targets": [plan.target for plan in plans]}}
    return json.dumps({"group": group, "target": target}, indent=2) + "\n"


def check(trees_: "Iterable[Tree]") -> "list[tuple[Tree, Changes]]":
    """Raise InputError if any generated file is not as it would be rendered now; what else there is to say."""
    found = [(tree, trees.compare(tree)) for tree in trees_]
    for tree, changes in found:
        trees.refuse_blocked(tree, changes)
    stale = [tree.shown(name) for tree, changes in found for name in (*changes.write, *changes.remove)]
    if stale:
        what = f"generated files are out of date ({len(stale)}):\n{texts.few(stale)}"
        raise InputError(what, next_step=RENDER)
    refuse_strays(found)
    return found


def write(trees_: "Iterable[Tree]") -> "list[tuple[Tree, Changes]]":
    """Write what differs, and remove what was written here and belongs there no longer; what was done."""
    found = list(trees_)
    for tree in found:
        trees.refuse_blocked(tree, trees.compare(tree))
    return [(tree, trees.update(tree)) for tree in found]


def refuse_strays(found: "Iterable[tuple[Tree, Changes]]") -> None:
    """Raise InputError if what torchdev did not write stands where builds read whole folders."""
    strays = [tree.shown(name) for tree, changes in found for name in changes.strays]
    if strays:
        what = f"these files are not torchdev's, and builds would take them in:\n{texts.few(strays)}"
        raise InputError(what, next_step="move them away, out of the folders of cells")
