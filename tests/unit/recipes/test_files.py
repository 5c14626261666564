"""Recipes: valid by the schemas of those who read them, with what they must have, and red when they are broken."""

import base64
import copy
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.unit import manifests
from tests.unit.conftest import ROOT
from torchdev.docgen.project import open_project
from torchdev.image.plan import Plan
from torchdev.matrix.load import load
from torchdev.recipes import files as recipes
from torchdev.recipes import jobs
from torchdev.recipes.jobs import RecipeOptions
from torchdev.util.errors import InputError
from torchdev.util.trees import Contents, contents

TEMPLATES = ROOT / "templates"
DIGEST = "ghcr.io/me/torchdev@sha256:" + "ab" * 32
USUAL = open_project(ROOT, ROOT / "matrix.yaml").job_files()
CLUSTER = [
    RecipeOptions(kind=jobs.KUBERNETES),
    RecipeOptions(kind=jobs.KUBERNETES, gpus=0),
    RecipeOptions(kind=jobs.KUBERNETES, gpus=8, cpus=96, memory=512, shm=64),
    RecipeOptions(kind=jobs.KUBERNETES, nodes=2),
    RecipeOptions(kind=jobs.KUBERNETES, nodes=7, gpus=2, name="my-job", data="images"),
    RecipeOptions(kind=jobs.KUBERNETES, nodes=4, min_nodes=2, command="python -m mine --say '$(HOME) \"x\": #1'"),
    RecipeOptions(
        kind=jobs.KUBERNETES, command="bash -c 'echo $(date): {}'", files={"a.txt": b"\ttab\n", "b.bin": b"\0\xff"}
    ),
    RecipeOptions(kind=jobs.TRAINJOB),
    RecipeOptions(kind=jobs.TRAINJOB, nodes=2),
    RecipeOptions(kind=jobs.TRAINJOB, nodes=3, gpus=4, data="images", command="my.py --x"),
    RecipeOptions(kind=jobs.TRAINJOB, gpus=0, command="python my.py"),
]
"""Options that between them take every branch of the templates."""


def make(plan: Plan, options: RecipeOptions, image: str = DIGEST) -> Contents:
    """The recipe of the small plan's cell."""
    return contents(recipes.make(jobs.make_job(plan.cell, options, image, USUAL), TEMPLATES))


def of_kind(files: Contents, kind: str) -> "manifests.Manifest":
    """The only object of a kind."""
    (found,) = (found for found in manifests.documents(files) if found["kind"] == kind)
    return found


SCRIPT = "import os\n\nif True:\n    print('$(HOME)')"


@pytest.mark.parametrize("name", ["null", "true", "yes", "on", "y", "n", "no", "off"])
@pytest.mark.parametrize("kind", [jobs.COMPOSE, *jobs.CLUSTER])
@pytest.mark.parametrize("nodes", [1, 2])
def test_a_name_is_text_whatever_it_is(plan: Plan, kind: str, name: str, nodes: int) -> None:
    """YAML reads `null`, `on` and others as something else where they are not in quotes."""
    given = {"data": name} if kind in jobs.CLUSTER else {}
    odd = manifests.documents(make(plan, RecipeOptions(kind=kind, nodes=nodes, name=name, **given)))
    assert list(texts_of(odd)) == [re.sub(r"\btrain\b(?!\.py)", name, text) for text in usual_texts(plan, kind, nodes)]
    if kind in jobs.CLUSTER:
        assert [problem for found in odd for problem in manifests.by_schema(found)] == []
        assert manifests.by_rules(odd) == []


@cache
def usual_texts(plan: Plan, kind: str, nodes: int) -> "list[str]":
    """Every text of a recipe that has the name train."""
    given = {"data": "train"} if kind in jobs.CLUSTER else {}
    wished = RecipeOptions(kind=kind, nodes=nodes, name="train", **given)
    return list(texts_of(manifests.documents(make(plan, wished))))


def texts_of(found: Any) -> "Iterator[str]":
    """Every text in an object, keys and values, but for those of a ConfigMap's files."""
    if isinstance(found, dict):
        for key, value in found.items():
            yield from texts_of(key)
            yield from texts_of(value if key not in ("data", "binaryData") else "")
    elif isinstance(found, list):
        for value in found:
            yield from texts_of(value)
    elif isinstance(found, str):
        yield found


@pytest.mark.parametrize("kind", [jobs.COMPOSE, *jobs.CLUSTER])
@pytest.mark.parametrize("nodes", [1, 2])
def test_a_command_may_have_lines(plan: Plan, kind: str, nodes: int) -> None:
    """It arrives as it is, and in comments no line of it stands for itself."""
    command = shlex.join(["bash", "-c", SCRIPT])
    files = make(plan, RecipeOptions(kind=kind, nodes=nodes, command=command, gpus=0))
    escaped = SCRIPT.replace("$(", "$$(")
    words = [text for text in texts_of(manifests.documents(files)) if "import os" in text]
    assert words
    for text in words:
        assert escaped in (text, shlex.split(text, comments=True)[-1])
    for data in files.values():
        comments = data.decode().split("\n#\n")[0]
        assert all(line.startswith("#") for line in comments.splitlines() if "import" in line or "print" in line)


def test_a_script_may_have_lines(plan: Plan) -> None:
    """What stands above its first command is a comment to the last line."""
    text = make(plan, RecipeOptions(kind=jobs.DOCKER, command=shlex.join(["bash", "-c", SCRIPT])))["run.sh"].decode()
    assert all(line.startswith("#") for line in text.partition("\nset -eu\n")[0].splitlines())
    assert shlex.join([SCRIPT]) in text


@pytest.mark.parametrize("options", CLUSTER, ids=range(len(CLUSTER)))
def test_manifests_are_valid(plan: Plan, options: RecipeOptions) -> None:
    """By the strict schemas of old and new versions of Kubernetes, Kubeflow Trainer's models, and further rules."""
    objects = manifests.documents(make(plan, options))
    for found in objects:
        assert manifests.by_schema(found) == [], found["kind"]
    assert manifests.by_rules(objects) == []


def test_examples_are_valid_in_every_version() -> None:
    """What is committed, by the schemas of every Kubernetes that is known here, from 1.25 on."""
    assert (manifests.VERSIONS[0], len(manifests.VERSIONS) >= 13) == ("1.25.0", True)
    for folder in ("kubernetes", "kubernetes-2", "trainjob"):
        paths = (ROOT / "examples" / "recipes" / folder).iterdir()
        objects = manifests.documents({path.name: path.read_bytes() for path in paths})
        for found in objects:
            assert manifests.by_schema(found, manifests.VERSIONS) == [], folder
        assert manifests.by_rules(objects) == []


def test_runtime_is_valid_as_a_job(plan: Plan) -> None:
    """Kubeflow's models know few kinds of values: the Job of a TrainingRuntime is held to Kubernetes' schemas, too."""
    runtime = of_kind(make(plan, RecipeOptions(kind=jobs.TRAINJOB, nodes=2, data="images")), "TrainingRuntime")
    job = manifests.job_of(runtime)
    assert manifests.by_schema(job) == []
    set_at(job, (*POD, "restartPolicies"), "Never")
    assert manifests.by_schema(job) != []


def set_at(found: Any, path: "tuple[Any, ...]", value: Any) -> None:
    """Put a value at a path; None takes away what is there."""
    *parents, last = path
    for key in parents:
        found = found[key]
    if value is None:
        del found[last]
    else:
        found[last] = value


POD = ("spec", "template", "spec")
BOX = (*POD, "containers", 0)
RUNTIME = ("spec", "template", "spec", "replicatedJobs", 0, "template", *POD)
MISTAKES: "list[tuple[str, str, tuple[Any, ...], Any]]" = [
    (jobs.KUBERNETES, "Job", ("spec", "backofLimit"), 3),
    (jobs.KUBERNETES, "Job", ("spec", "completions"), "2"),
    (jobs.KUBERNETES, "Job", ("spec", "podFailurePolicy", "rules", 1, "action"), None),
    (jobs.KUBERNETES, "Job", (*POD, "securityContext", "runAsUser"), "1000"),
    (jobs.KUBERNETES, "Job", (*BOX, "env", 0, "value"), 4),
    (jobs.KUBERNETES, "Job", (*BOX, "volumeMounts", 0, "mountpath"), "/dev/shm"),
    (jobs.KUBERNETES, "Job", (*POD, "tolerations", 0, "operators"), "Exists"),
    (jobs.KUBERNETES, "Service", ("spec", "publishNotReadyAddress"), True),
    (jobs.KUBERNETES, "Service", ("spec", "ports", 0, "port"), "29500"),
    (jobs.KUBERNETES, "PersistentVolumeClaim", ("spec", "accessMode"), ["ReadWriteOnce"]),
    (jobs.KUBERNETES, "ConfigMap", ("binarydata",), {}),
    (jobs.TRAINJOB, "TrainJob", ("spec", "trainer", "numNode"), 2),
    (jobs.TRAINJOB, "TrainJob", ("spec", "trainer", "numNodes"), "2"),
    (jobs.TRAINJOB, "TrainJob", ("spec", "runtimeRef", "name"), None),
    (jobs.TRAINJOB, "TrainJob", ("spec", "trainer", "resourcesPerNode", "limit"), {"memory": "1Gi"}),
    (jobs.TRAINJOB, "TrainingRuntime", ("spec", "mlPolicy", "touch"), {}),
    (jobs.TRAINJOB, "TrainingRuntime", ("spec", "template", "spec", "failurePolicy", "maxRestarts"), "3"),
    (jobs.TRAINJOB, "TrainingRuntime", (*RUNTIME, "securityContext", "fsGroups"), 1000),
    (jobs.TRAINJOB, "TrainingRuntime", (*RUNTIME, "containers", 0, "image_pull_policy"), "Always"),
]


@pytest.mark.parametrize(("kind", "found", "path", "value"), MISTAKES, ids=lambda part: str(part)[-40:])
def test_schemas_see_mistakes(plan: Plan, kind: str, found: str, path: "tuple[Any, ...]", value: Any) -> None:
    """A field that is misspelt, missing, or of another type is seen, in every version; so the test above can fail."""
    right = of_kind(make(plan, RecipeOptions(kind=kind, nodes=2)), found)
    assert manifests.by_schema(right) == []
    wrong = copy.deepcopy(right)
    set_at(wrong, path, value)
    problems = manifests.by_schema(wrong)
    assert len(problems) >= (1 if found in manifests.TRAINER else len(manifests.SOME))


BREACHES: "list[tuple[str, tuple[Any, ...], Any, str]]" = [
    ("Job", (*BOX, "volumeMounts", 0, "name"), "shn", "mounted are"),
    ("Job", (*POD, "volumes", 3, "persistentVolumeClaim", "claimName"), "other", "no claim other"),
    ("Job", (*POD, "volumes", 4, "configMap", "name"), "other", "no ConfigMap other"),
    ("Job", (*POD, "volumes", 0, "emptyDir", "medium"), "", "not counted"),
    ("Job", (*POD, "volumes", 0, "emptyDir", "sizeLimit"), "64Gi", "not counted"),
    ("Job", (*POD, "volumes", 1), {"name": "home", "hostPath": {"path": "/"}}, "not allowed"),
    ("Job", (*POD, "securityContext", "runAsUser"), 0, "as root"),
    ("Job", (*POD, "securityContext", "seccompProfile", "type"), "Unconfined", "seccomp"),
    ("Job", (*BOX, "securityContext", "capabilities", "drop"), [], "gain rights"),
    ("Job", (*BOX, "securityContext", "allowPrivilegeEscalation"), True, "gain rights"),
    ("Job", (*BOX, "securityContext", "readOnlyRootFilesystem"), False, "read-only"),
    ("Job", (*BOX, "resources", "limits", "memory"), "24 GB", "no quantity"),
    ("Job", (*BOX, "resources", "requests", "memory"), "25Gi", "more memory"),
    ("Job", (*POD, "tolerations"), [], "toleration"),
    ("Job", (*POD, "restartPolicy"), "OnFailure", "restartPolicy"),
    ("Job", (*POD, "subdomain"), "other", "no Service"),
    ("Job", ("metadata", "name"), "other", "do not meet"),
    ("Job", ("spec", "completions"), 3, "not all Pods"),
    ("Job", ("spec", "template", "metadata", "labels"), {"x": "y"}, "selects other Pods"),
    ("Job", ("spec", "podFailurePolicy", "rules", 1, "onExitCodes", "containerName"), "other", "no container"),
    ("Job", ("spec", "podFailurePolicy", "rules", 1, "onExitCodes"), None, "exit codes or"),
    ("Service", ("spec", "clusterIP"), "10.0.0.1", "no names"),
    ("ConfigMap", ("metadata", "name"), "Files", "is no name"),
]


@pytest.mark.parametrize(("kind", "path", "value", "said"), BREACHES, ids=lambda part: str(part)[-40:])
def test_rules_see_what_schemas_do_not(plan: Plan, kind: str, path: "tuple[Any, ...]", value: Any, said: str) -> None:
    """Each rule is broken once."""
    objects = manifests.documents(make(plan, RecipeOptions(kind=jobs.KUBERNETES, nodes=2)))
    set_at(next(found for found in objects if found["kind"] == kind), path, value)
    assert any(said in problem for problem in manifests.by_rules(objects))


def test_files_arrive_as_they_are(plan: Plan) -> None:
    """What the ConfigMap holds is byte for byte what was given: the script to be read, the data encoded."""
    files = dict(USUAL) | {"odd.txt": b" leading\n", "end.txt": b"no newline", "bom": "\ufeffx\n".encode()}
    config = of_kind(make(plan, RecipeOptions(kind=jobs.KUBERNETES, files=files)), "ConfigMap")
    texts = {name: text.encode() for name, text in config["data"].items()}
    binaries = {name: base64.b64decode(text) for name, text in config["binaryData"].items()}
    assert texts | binaries == files
    assert set(texts) == {"train.py"}
    size = len(json.dumps(config))
    assert size < jobs.LARGEST, "an API server takes no larger object"


def test_command_reaches_the_pod(plan: Plan) -> None:
    """Behind torchrun where there is more than one process; what looks like a variable is none."""
    command = "python my.py '$(HOME)' 'a b'"
    one = of_kind(make(plan, RecipeOptions(kind=jobs.KUBERNETES, command=command)), "Job")
    assert manifests.pod_of(one)["containers"][0]["args"] == ["python", "my.py", "$$(HOME)", "a b"]  # type: ignore[index]
    two = of_kind(make(plan, RecipeOptions(kind=jobs.KUBERNETES, command=command, nodes=2, gpus=4)), "Job")
    shell, flags, script = manifests.pod_of(two)["containers"][0]["args"]  # type: ignore[index]
    assert (shell, flags) == ("sh", "-ec")
    assert "--nnodes=2 --max_restarts=0 --nproc_per_node=4" in script
    assert script.endswith("""exec torchrun "$@" my.py '$$(HOME)' 'a b'\n""")
    trainer = of_kind(make(plan, RecipeOptions(kind=jobs.TRAINJOB, command=command, nodes=2)), "TrainJob")["spec"][
        "trainer"
    ]
    assert trainer["args"] == ["torchrun", "my.py", "$$(HOME)", "a b"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 1)


def test_elastic_job_may_go_on_with_fewer(plan: Plan) -> None:
    """The least and the most are told to torchrun."""
    job = of_kind(make(plan, RecipeOptions(kind=jobs.KUBERNETES, nodes=4, min_nodes=2, command="my.py")), "Job")
    assert "--nnodes=2:4 --max_restarts=3" in job["spec"]["template"]["spec"]["containers"][0]["args"][2]


def test_image_is_the_one_that_was_named(plan: Plan) -> None:
    """By its digest, in every kind of recipe."""
    for kind in jobs.KINDS:
        files = make(plan, RecipeOptions(kind=kind))
        assert any(DIGEST in data.decode(errors="replace") for data in files.values()), kind


def test_examples_are_current_and_whole() -> None:
    """Each kind of recipe has one; all that lies there is generated; none is of another cell than `latest`."""
    project = open_project(ROOT, ROOT / "matrix.yaml")
    made = contents(project.examples())
    assert {name.split("/")[0].split("-")[0] for name in made} == set(jobs.KINDS)
    latest = load(ROOT / "matrix.yaml").aliases["latest"].id
    assert all(
        latest.encode() in data for name, data in made.items() if name.endswith(("job.yaml", ".sh", "compose.yaml"))
    )


def test_misspelt_variable_is_an_error(plan: Plan, tmp_path: Path) -> None:
    """In any template of a recipe."""
    shutil.copytree(TEMPLATES / "recipes", tmp_path / "recipes")
    spoil(tmp_path / "recipes" / "kubernetes" / "pod.j2", lambda text: text.replace("job.shm", "job.shn"))
    with pytest.raises(InputError, match="shn"):
        recipes.make(jobs.make_job(plan.cell, RecipeOptions(kind=jobs.KUBERNETES), DIGEST, USUAL), tmp_path)


def spoil(path: Path, how: "Callable[[str], str]") -> None:
    """Change a file's text."""
    path.write_text(how(path.read_text()))
