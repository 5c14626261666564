"""Renders the files below images/ from plans: Dockerfile, scripts, wheel lists, contract, and the bake file."""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from torchdev.image.context import COMMON, context_of, own_scripts
from torchdev.image.contract import make_contract, to_text
from torchdev.image.dockerfile import Recipe, taken
from torchdev.image.paths import BAKE_FILE, BY_OTHERS, CONTRACT, DOCKERFILE, replaced_folder
from torchdev.image.plan import EPOCH, Plan
from torchdev.util import trees
from torchdev.util.errors import InputError
from torchdev.util.files import read
from torchdev.util.texts import quoted
from torchdev.util.trees import RENDER, File, Files, Tree

COMMAND = "python build.py render"
"""The command that generated files name. It is always the same, however render was started, so that files do not
differ.
"""
RAN = ("scripts", "steps", "files", "override")
"""Folders below templates/ whose files builds mount."""


def render(plans: "tuple[Plan, ...]", templates: Path, folder: str = "images") -> Files:
    """Every generated file below images/, or another folder, for these plans."""
    sources = Sources(templates)
    files = {BAKE_FILE: File(bake_text(plans, folder).encode())}
    for plan in plans:
        files |= sources.files(plan)
    return files


def tree(files: Files, images: Path, speaks: "Callable[[str], bool]" = lambda _: True) -> Tree:
    """The tree of images/: other commands write locks and digests of bases; mounted folders may hold nothing else.

    Files that Dockerfiles outside the tree use are no part of it.
    """
    made = (file.text for name, file in files.items() if _dockerfile(name))
    closed = {path for text in made for path in taken(text) if path not in files}

    @cache
    def kept() -> "frozenset[str]":
        # Read when it is first asked for: by then the folder is locked, and what others were writing there is whole.
        others = (path for path in images.glob(f"*/{DOCKERFILE}") if not speaks(f"{path.parent.name}/{DOCKERFILE}"))
        return frozenset(path for other in others for path in taken(read(other).decode("utf-8", "replace")))

    def spoken(name: str) -> bool:
        return speaks(name) and not any(name == path or name.startswith(f"{path}/") for path in kept())

    copies = replaced_folder(images)
    return Tree(
        root=images,
        files=files,
        speaks=spoken,
        others=_written_by_others,
        closed=closed,
        label=images.name,
        kept=copies,
    )


def _dockerfile(name: str) -> bool:
    return name.rpartition("/")[2] == DOCKERFILE


def _written_by_others(name: str) -> bool:
    return name.rpartition("/")[2] in BY_OTHERS


def write_cell(plan: Plan, templates: Path, images: Path) -> None:
    """Write one cell's files after its lock has changed; lists that no cell uses any longer are removed."""
    own = (f"{plan.cell.id}/", f"{COMMON}/")
    trees.update(tree(Sources(templates).files(plan), images, lambda name: name.startswith(own)))


def with_steps(plan: Plan, sources: "Sources") -> Plan:
    """A plan with the hashes of the steps that make its layers."""
    return dataclasses.replace(plan, steps=sources.steps(plan))


@cache
def environment(templates: Path, filters: "tuple[tuple[str, Callable[..., str]], ...]" = ()) -> Environment:
    """The Jinja environment, with templates compiled once a run; an undefined name is an error."""
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
    made.filters.update(filters)
    return made


def label(text: str) -> str:
    """A text as a value of LABEL, with quotes, backslashes and variables escaped; in one line."""
    if not text.isprintable():
        raise InputError(f"{quoted(text)} can't be the value of a label", next_step=RENDER)
    return '"' + re.sub(r'(["\\$])', r"\\\1", text) + '"'


class Sources:
    """The templates of the files below images/; shared files are read and filled once, however many cells there are."""

    def __init__(self, templates: Path) -> None:
        self.templates = templates
        self.environment = environment(templates)
        found = [path for path in self.environment.list_templates() if "__pycache__" not in path]
        self.by_folder = {folder: [p for p in found if p.startswith(f"{folder}/")] for folder in RAN}
        self._steps: "dict[Plan, tuple[str, ...]]" = {}
        self._found: "dict[tuple[str, str], tuple[Files, dict[str, str]]]" = {}

    def dockerfile(self, plan: Plan) -> File:
        """A cell's Dockerfile."""
        values = {"plan": plan, "at": context_of(plan)}
        return made(self.environment, self.templates, f"{DOCKERFILE}.j2", values)

    def files(self, plan: Plan) -> Files:
        """The files that a cell's build uses, by their paths below images/."""
        own = {DOCKERFILE: self.dockerfile(plan), CONTRACT: _contract(plan)}
        return {**self._shared(plan)[0], **_listed(plan), **{f"{plan.cell.id}/{name}": own[name] for name in own}}

    def steps(self, plan: Plan) -> "tuple[str, ...]":
        """The hashes of the steps that make a plan's layers, computed once a run."""
        if plan not in self._steps:
            self._steps[plan] = Recipe(self.dockerfile(plan).text, self._hashes(plan)).layers
        return self._steps[plan]

    def _hashes(self, plan: Plan) -> "dict[str, str]":
        """The files of the context that a build uses, by path: permissions and hash."""
        lists = {name: _hash(file) for name, file in _listed(plan).items()}
        return {**self._shared(plan)[1], **lists, f"{plan.cell.id}/{CONTRACT}": _hash(_contract(plan))}

    def _shared(self, plan: Plan) -> "tuple[Files, dict[str, str]]":
        """The files that a cell shares with all others of its kind, by path, and their hashes."""
        at, own = context_of(plan), own_scripts(plan)
        if (at.scripts, at.override) not in self._found:
            homes = {"scripts": at.scripts, "steps": at.steps, "files": at.files, "override": at.override}
            values = {"epoch": EPOCH, "python": own}
            files = {
                f"{home}/{name.removesuffix('.j2').partition('/')[2]}": self._file(name, values)
                for folder, home in homes.items()
                for name in (self.by_folder[folder] if home else ())
            }
            self._found[at.scripts, at.override] = files, {name: _hash(file) for name, file in files.items()}
        return self._found[at.scripts, at.override]

    def _file(self, name: str, values: "Mapping[str, object]") -> File:
        """The file that a template makes, with the template's permissions."""
        if name.endswith(".j2"):
            return made(self.environment, self.templates, name, values)
        path = self.templates / name
        return File.like(path, path.read_bytes())


def _contract(plan: Plan) -> File:
    return File(to_text(make_contract(plan.cell, plan.lock)).encode())


def _listed(plan: Plan) -> Files:
    return {name: File(text.encode()) for name, text in context_of(plan).lists.items()}


def _hash(file: File) -> str:
    return f"{file.mode:o} {file.sha256}"


def made(environment: Environment, templates: Path, name: str, values: "Mapping[str, object]") -> File:
    """The file that a template makes; it is executable if the template is."""
    return File.like(templates / name, fill(environment, name, values).encode())


def fill(environment: Environment, name: str, values: "Mapping[str, object]") -> str:
    """The text of a template; InputError, with its line, if it can't be rendered."""
    try:
        text = environment.get_template(name).render(**values)
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        where = f"templates/{name}" + (f":{line}" if line else "")
        raise InputError(f"the template can't be rendered: {error}", where=where, next_step=RENDER) from None
    return text.rstrip("\n") + "\n"


def bake_text(plans: "tuple[Plan, ...]", folder: str) -> str:
    """The bake file, with a target for each cell; nothing in it depends on the machine that builds."""
    target = {
        plan.target: {
            "context": folder,
            "dockerfile": f"{plan.cell.id}/{DOCKERFILE}",
            "tags": [plan.candidate],
            "platforms": [plan.lock.platform],
        }
        for plan in plans
    }
    group = {"default": {"targets": [plan.target for plan in plans]}}
    return json.dumps({"group": group, "target": target}, indent=2) + "\n"
