"""Plans to text: the Dockerfile, scripts and wheel lists under images/, and the bake file; write or compare."""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from torchdev.commands import build_py
from torchdev.contract import make_contract, to_text
from torchdev.errors import InputError
from torchdev.plan import EPOCH, Plan, Templates, guarded
from torchdev.texts import quoted

BAKE_FILE = "docker-bake.json"
KEPT = frozenset({"bases.json", "lock.json"})
"""Files under images/ that other stages write."""
CONTRACT_FILE = "contract.json"
"""In a cell's folder, and once more among the files that go into its image."""
COMMAND = "python build.py render"
"""What generated files name; no matter how it was started, or they would differ."""
RENDER = build_py("render")

Files = dict[str, str]
"""Path below images/ to the text of the file."""


def render(plans: "tuple[Plan, ...]", templates: Path) -> Files:
    """Every generated file below images/, for these plans."""
    found = environment(templates)
    files = {BAKE_FILE: bake_text(plans)}
    for plan in plans:
        for name, text in _cell_files(plan, found).items():
            files[f"{plan.cell.id}/{name}"] = text
    return files


def write_cell(plan: Plan, templates: Path, images: Path) -> None:
    """Write one cell's folder anew, after its lock has changed."""
    for name, text in _cell_files(plan, environment(templates)).items():
        _write(images / plan.cell.id / name, text, _mode(f"{plan.cell.id}/{name}"))


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
        raise InputError(f"{quoted(text)} can't be the value of a label", next_step=COMMAND)
    return '"' + re.sub(r'(["\\$])', r"\\\1", text) + '"'


def _cell_files(plan: Plan, environment: Environment) -> Files:
    values = {"plan": plan, "epoch": EPOCH, "guarded": guarded(plan.lock)}
    files = {"Dockerfile": fill(environment, "Dockerfile.j2", values)}
    for folder in ("scripts", "steps", "files", *(("override",) if plan.cell.cudnn else ())):
        for name in sorted(path for path in environment.list_templates() if path.startswith(f"{folder}/")):
            if "__pycache__" not in name:
                files[name.removesuffix(".j2")] = fill(environment, name, values)
    files[CONTRACT_FILE] = files[f"files/{CONTRACT_FILE}"] = to_text(make_contract(plan.cell, plan.lock))
    if plan.cell.cudnn:
        files["override/pin.txt"] = f"{plan.lock.cudnn_name}=={plan.lock.cudnn}\n"
    files["wheels/tools/requirements.txt"] = "".join(f"{tool.requirement}\n" for tool in plan.tools)
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


def write(files: Files, images: Path) -> "list[str]":
    """Write what differs and remove what no cell has; the paths that changed."""
    images.mkdir(parents=True, exist_ok=True)
    changed = differences(files, images)
    for name in changed:
        path = images / name
        if name in files:
            _write(path, files[name], _mode(name))
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return changed


def _write(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def check(files: Files, images: Path) -> None:
    """Raise InputError if anything under images/ is not as it would be rendered now."""
    changed = differences(files, images)
    if changed:
        listing = "\n".join(f"  images/{name}" for name in changed)
        raise InputError(f"{len(changed)} generated files or folders are out of date:\n{listing}", next_step=RENDER)


def differences(files: Files, images: Path) -> "list[str]":
    """Paths below images/ that are missing, differ, have another mode, or belong to no cell."""
    missing = [name for name, text in files.items() if not _same(images / name, text, _mode(name))]
    cells = {name.split("/")[0] for name in files}
    stale = [entry.name for entry in images.iterdir() if entry.name not in cells and _generated(entry)]
    known = files.keys() | {f"{cell}/{name}" for cell in cells for name in KEPT} | KEPT
    for cell in cells:
        for path in (images / cell).rglob("*"):
            name = path.relative_to(images).as_posix()
            if not path.is_dir() and name not in known:
                stale.append(name)
    return sorted(missing) + sorted(stale)


def _generated(folder: Path) -> bool:
    """Whether a folder is one that was made here for a cell; others are left alone."""
    if not folder.is_dir():
        return False
    return (folder / "lock.json").exists() or (folder / "Dockerfile").exists() or not any(folder.iterdir())


def _same(path: Path, text: str, mode: int) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text and path.stat().st_mode & 0o100 == mode & 0o100


def _mode(name: str) -> int:
    programs = (
        "/scripts/",
        "/steps/",
        "/override/accept-version",
        "/files/uv",
        "/files/entrypoint",
        "/files/torchdev-doctor",
    )
    executable = any(part in name for part in programs)
    return 0o755 if executable else 0o644
