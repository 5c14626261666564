"""Recipes for one machine: the Compose file and the dev container."""

import json
import re
from importlib.resources import files as resources
from typing import Any

import jsonschema
import pytest
import yaml

from tests.unit.recipes.test_files import DIGEST, TEMPLATES, make
from torchdev.image.plan import Plan
from torchdev.recipes import files as recipes
from torchdev.recipes import jobs
from torchdev.recipes.jobs import RecipeOptions
from torchdev.util.trees import contents


def compose_schema() -> Any:
    """The schema of the Compose specification, which check-jsonschema brings."""
    return json.loads(resources("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text())


COMPOSE = [
    RecipeOptions(kind=jobs.COMPOSE),
    RecipeOptions(kind=jobs.COMPOSE, gpus=0),
    RecipeOptions(kind=jobs.COMPOSE, nodes=2, gpus=2, shm=16),
    RecipeOptions(kind=jobs.COMPOSE, command="sh -c 'echo $HOME: {}'", name="mine"),
]


@pytest.mark.parametrize("options", COMPOSE)
def test_compose_file_is_valid(plan: Plan, options: RecipeOptions) -> None:
    """By the specification's schema; GPUs only where some are wanted."""
    found = yaml.safe_load(make(plan, options)["compose.yaml"])
    jsonschema.Draft202012Validator(compose_schema()).validate(found)
    assert len(found["services"]) == (options.nodes or 1)
    for service in found["services"].values():
        assert ("deploy" in service) == (options.gpus != 0)
        assert service["shm_size"] == f"{options.shm or 8}gb"


@pytest.mark.parametrize(
    ("key", "value"), [("shmsize", "8gb"), ("command", 3), ("ulimits", {"stack": [1]}), ("volumes", ".:/workspace")]
)
def test_compose_schema_sees_mistakes(plan: Plan, key: str, value: Any) -> None:
    """So the test above can fail."""
    found = yaml.safe_load(make(plan, RecipeOptions(kind=jobs.COMPOSE))["compose.yaml"])
    found["services"]["train-0"][key] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(compose_schema()).validate(found)


def test_compose_nodes_have_gpus_of_their_own(plan: Plan) -> None:
    """No GPU is given to two; the first is where they meet; `$` is Compose's unless it is doubled."""
    files = make(plan, RecipeOptions(kind=jobs.COMPOSE, nodes=3, gpus=2, command="my.py '$HOME'"))
    services = yaml.safe_load(files["compose.yaml"])["services"]
    devices = [service["deploy"]["resources"]["reservations"]["devices"][0] for service in services.values()]
    assert [device["device_ids"] for device in devices] == [["0", "1"], ["2", "3"], ["4", "5"]]
    commands = [service["command"] for service in services.values()]
    assert ["--rdzv_conf=is_host=true" in command for command in commands] == [True, False, False]
    assert all("--rdzv_endpoint=train-0:29500" in command and command[-1] == "$$HOME" for command in commands)


def without_comments(data: bytes) -> Any:
    """What JSON with comments on lines of their own holds."""
    return json.loads(re.sub(r"^\s*//.*$", "", data.decode(), flags=re.MULTILINE))


KNOWN = {
    "name", "image", "hostRequirements", "runArgs", "init", "remoteUser", "updateRemoteUserUID", "workspaceMount",
    "workspaceFolder", "initializeCommand", "mounts", "containerEnv", "customizations",
}  # fmt: skip
"""Properties of devcontainer.json that recipes use (containers.dev/implementors/json_reference)."""


@pytest.mark.parametrize(("gpus", "asked"), [(None, {"gpu": "optional"}), (0, None), (2, {"gpu": True})])
def test_dev_container_is_as_it_should_be(plan: Plan, gpus: "int | None", asked: Any) -> None:
    """The user, the workspace, a GPU if asked for, and no property that is not known."""
    found = without_comments(
        make(plan, RecipeOptions(kind=jobs.DEVCONTAINER, gpus=gpus))[".devcontainer/devcontainer.json"]
    )
    assert set(found) <= KNOWN
    assert found.get("hostRequirements") == asked
    assert (found["remoteUser"], found["updateRemoteUserUID"], found["image"]) == ("dev", True, DIGEST)
    assert found["workspaceMount"].endswith("target=" + found["workspaceFolder"] + ",type=bind")
    assert "--shm-size=8g" in found["runArgs"]


def test_dev_container_template_keeps_the_conventions() -> None:
    """Its folder has its id; each option has a type, and a default among its proposals; none is unknown or unused."""
    files = contents(recipes.dev_template("torchdev", ("latest", "py311"), TEMPLATES))
    folder = f"src/{recipes.TEMPLATE_ID}"
    template = json.loads(files[f"{folder}/devcontainer-template.json"])
    assert template["id"] == recipes.TEMPLATE_ID
    assert {"id", "version", "name", "description", "options"} <= set(template)
    for option in template["options"].values():
        assert (option["type"], option["default"] in option["proposals"]) == ("string", True)
    used = re.findall(r"\$\{templateOption:(\w+)\}", files[f"{folder}/.devcontainer/devcontainer.json"].decode())
    assert set(used) == set(template["options"])
