"""Renders the files that start a job, from templates/recipes: for Docker, Compose, dev containers and Kubernetes."""

import base64
import json
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from torchdev.image import render
from torchdev.image.plan import Plan
from torchdev.recipes import jobs
from torchdev.recipes.containers import SHM, STACK
from torchdev.recipes.jobs import Job
from torchdev.util.trees import File, Files

TEMPLATES = {
    jobs.DOCKER: ("run.sh",),
    jobs.COMPOSE: ("compose.yaml",),
    jobs.DEVCONTAINER: (".devcontainer/devcontainer.json",),
    jobs.KUBERNETES: ("job.yaml", "storage.yaml"),
    jobs.TRAINJOB: ("runtime.yaml", "trainjob.yaml", "storage.yaml"),
}
"""The files of each kind of recipe that come from templates."""
FOLDER, CLUSTER_FOLDER = "recipes", "recipes/kubernetes"
"""The folders of these templates, and of those for Kubernetes."""
CONFIG = "files.yaml"
"""The ConfigMap that brings a job's files into Pods."""
TEMPLATE_ID = "torchdev"
"""The name of the dev container template, and of its folder (the convention of their collections: src/ID)."""
FILTERS = (
    ("quoted", lambda text: json.dumps(text, ensure_ascii=False)),
    ("shell", shlex.join),
    ("comment", lambda text: text.replace("\n", "\n# ")),
)
"""The filters of these templates: for JSON, for shells and for comments."""
USER = 1000
"""The image's user, by number: Kubernetes can't tell by a name that it is not root."""


def make(job: Job, templates: Path) -> Files:
    """The files of a recipe."""
    values = {"job": job, "user": USER, "stack": STACK, **_dev_container(job)}
    folder = CLUSTER_FOLDER if job.kind in jobs.CLUSTER else FOLDER
    files = _rendered(TEMPLATES[job.kind], folder, templates, values)
    if job.kind in jobs.CLUSTER and job.files:
        texts = {name: data.decode() for name, data in job.files.items() if is_plain(data)}
        binaries = {name: _base64(data) for name, data in job.files.items() if name not in texts}
        files |= _rendered((CONFIG,), folder, templates, values | {"texts": texts, "binaries": binaries})
    own = {name: File(data, 0o755 if name.endswith(".sh") else 0o644) for name, data in job.files.items()}
    return files if job.kind in jobs.CLUSTER else {**files, **own}


def dev_template(repository: str, tags: "Iterable[str]", templates: Path) -> Files:
    """A dev container template of the images with these tags, the first of which is the usual one."""
    names = ("devcontainer-template.json", ".devcontainer/devcontainer.json")
    about = ("A dev container of torchdev.", f"Made by: {render.COMMAND}")
    chosen = {"name": "torchdev ${templateOption:tag}", "image": "${templateOption:repository}:${templateOption:tag}"}
    values = {
        **{"id": TEMPLATE_ID, "repository": repository, "tags": tuple(tags), "usual_shm": f"{SHM}g"},
        **{"about": about, "gpus": None, "shm": "${templateOption:shm}", "stack": STACK, **chosen},
    }
    files = _rendered(names, FOLDER, templates, values)
    return {f"src/{TEMPLATE_ID}/{name}": data for name, data in files.items()}


def _dev_container(job: Job) -> "dict[str, object]":
    """The values of the dev container template, for one image."""
    about = (f"A dev container of {job.cell.id}.", f"Made by: {job.made_by}")
    name = f"torchdev {job.cell.id}"
    return {"about": about, "name": name, "image": job.image, "gpus": job.gpus, "shm": f"{job.shm}g"}


def examples(plan: Plan, tags: "Iterable[str]", usual: "Mapping[str, bytes]", templates: Path) -> Files:
    """The committed examples, a folder each: recipes of one image, and the dev container template of all."""
    options = {
        "docker": jobs.RecipeOptions(kind=jobs.DOCKER),
        "compose": jobs.RecipeOptions(kind=jobs.COMPOSE),
        "compose-2": jobs.RecipeOptions(kind=jobs.COMPOSE, nodes=2),
        "devcontainer": jobs.RecipeOptions(kind=jobs.DEVCONTAINER),
        "kubernetes": jobs.RecipeOptions(kind=jobs.KUBERNETES),
        "kubernetes-2": jobs.RecipeOptions(kind=jobs.KUBERNETES, nodes=2),
        "trainjob": jobs.RecipeOptions(kind=jobs.TRAINJOB, nodes=2),
    }
    files: Files = {}
    for folder, chosen in options.items():
        made = make(jobs.make_job(plan.cell, chosen, plan.tags[0], usual), templates)
        files |= {f"{folder}/{name}": data for name, data in made.items()}
    template = dev_template(plan.image, tags, templates)
    return files | {f"devcontainer-template/{name}": data for name, data in template.items()}


def is_plain(data: bytes) -> bool:
    """Whether a file can be part of YAML unchanged: printable lines, of which the first and last are not blank."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    printable = text.replace("\n", "").isprintable()
    return printable and text.endswith("\n") and not text.endswith("\n\n") and not text.startswith((" ", "\n"))


def _rendered(names: "Iterable[str]", folder: str, templates: Path, values: "Mapping[str, object]") -> Files:
    environment = render.environment(templates, FILTERS)
    return {n: render.made(environment, templates, f"{folder}/{Path(n).name}.j2", values) for n in names}


def _base64(data: bytes) -> str:
    text = base64.b64encode(data).decode()
    return "\n".join(text[begin : begin + 100] for begin in range(0, len(text), 100))
