"""Whether manifests are valid: by the schemas of Kubernetes and Kubeflow Trainer, and by rules that no schema holds."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import kubernetes_validate
import yaml

from torchdev.util.trees import Contents

kubernetes_validate.utils.schema_contents = cache(kubernetes_validate.utils.schema_contents)
"""It would read megabytes of schema for each object."""
Manifest = dict[str, Any]
VERSIONS = tuple(dict.fromkeys(kubernetes_validate.utils.all_versions()))
"""Of Kubernetes, oldest first, as far as schemas are at hand."""
SOME = (VERSIONS[0], VERSIONS[len(VERSIONS) // 2], VERSIONS[-1])
TRAINER = {"TrainJob": "TrainerV1alpha1TrainJob", "TrainingRuntime": "TrainerV1alpha1TrainingRuntime"}
QUANTITY = re.compile(r"\d+(m|[KMGT]i?)?")
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where it is there, which is several times as fast."""
INDEX = 6
"""Characters that a Job's controller adds to a Pod's hostname: a hyphen and an index."""


def documents(files: Contents) -> "list[Manifest]":
    """Every object in the YAML files of a recipe."""
    return [found for name, data in files.items() if name.endswith(".yaml") for found in yaml.load_all(data, LOADER)]


def by_schema(found: Manifest, versions: "tuple[str, ...]" = SOME) -> "list[str]":
    """What is wrong with an object by its schema, or unknown to it; of Kubernetes' own kinds, in each version."""
    if found["kind"] in TRAINER:
        return list(_by_trainer(found))
    problems = []
    for version in versions:
        try:
            kubernetes_validate.validate(found, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            problems.append(f"{version}: {'.'.join(map(str, error.path))}: {error.message}")
    return problems


def _by_trainer(found: Manifest) -> Iterator[str]:
    """By the models that Kubeflow generates from its CRDs; what they leave out when they write it again is unknown."""
    from kubeflow_trainer_api import models  # not above: it takes as long as all other imports of a test together

    try:
        read = getattr(models, TRAINER[found["kind"]]).from_dict(found)
    except ValueError as error:
        yield str(error)
        return
    yield from _differences(found, read.to_dict() if read else {}, found["kind"])


def _differences(given: Any, kept: Any, where: str) -> Iterator[str]:
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            yield from _differences(value, kept.get(key, "nothing"), f"{where}.{key}")
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from _differences(one, other, f"{where}.{number}")
    elif given != kept:
        yield f"{where}: {given!r} is read as {kept!r}"


def pod_of(found: Manifest) -> "Manifest | None":
    """The Pod's spec of a Job or TrainingRuntime; None of others."""
    if found["kind"] == "Job":
        return dict(found["spec"]["template"]["spec"])
    if found["kind"] == "TrainingRuntime":
        return dict(job_of(found)["spec"]["template"]["spec"])
    return None


def job_of(runtime: Manifest) -> Manifest:
    """The Job that a TrainingRuntime makes, as one that could stand by itself."""
    (replicated,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    spec = replicated["template"]["spec"]
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "node"}, "spec": spec}


def by_rules(objects: "list[Manifest]") -> "list[str]":
    """What is wrong with a recipe beyond schemas: names that refer to nothing, sizes, what no Job may have."""
    names = {(found["kind"], found["metadata"]["name"]) for found in objects}
    problems = [f"{name} is no name" for _, name in names if not LABEL.fullmatch(name) or len(name) > 63 - INDEX]
    for found in objects:
        pod = pod_of(found)
        if pod:
            problems += [*_volumes(pod, names), *_unprivileged(pod), *_policy(found, pod)]
        if found["kind"] == "Job":
            problems += [
                *_indexed(found, objects),
                *_sizes(pod or {}, pod["containers"][0]["resources"] if pod else {}),
            ]
        if found["kind"] == "TrainJob":
            runtime = next(other for other in objects if other["kind"] == found["spec"]["runtimeRef"]["kind"])
            problems += _sizes(pod_of(runtime) or {}, found["spec"]["trainer"]["resourcesPerNode"])
            if found["spec"]["runtimeRef"]["name"] != runtime["metadata"]["name"]:
                problems.append("runtimeRef names no runtime")
    return problems


def _volumes(pod: Manifest, names: "set[tuple[str, str]]") -> Iterator[str]:
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounted = [mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]]
    if sorted(mounted) != sorted(volumes):
        yield f"mounted are {mounted}, volumes are {sorted(volumes)}"
    for volume in volumes.values():
        claim, config = volume.get("persistentVolumeClaim"), volume.get("configMap")
        if claim and not claim.get("readOnly") and ("PersistentVolumeClaim", claim["claimName"]) not in names:
            yield f"there is no claim {claim['claimName']}"
        if config and ("ConfigMap", config["name"]) not in names:
            yield f"there is no ConfigMap {config['name']}"


def _unprivileged(pod: Manifest) -> Iterator[str]:
    """The Pod Security Standard `restricted`, and a root file system that nobody writes to."""
    whole = pod["securityContext"]
    if not (whole["runAsNonRoot"] and isinstance(whole["runAsUser"], int) and whole["runAsUser"] > 0):
        yield "it may run as root"
    if whole["seccompProfile"]["type"] != "RuntimeDefault":
        yield "it has no seccomp profile"
    for container in pod["containers"]:
        own = container["securityContext"]
        if own["allowPrivilegeEscalation"] is not False or own["capabilities"] != {"drop": ["ALL"]}:
            yield "it may gain rights"
        if own["readOnlyRootFilesystem"] is not True:
            yield "its root file system is not read-only"
    for volume in pod["volumes"]:
        if not set(volume) - {"name"} <= {"configMap", "emptyDir", "persistentVolumeClaim"}:
            yield f"the volume {volume['name']} is of a kind that is not allowed"


def _policy(found: Manifest, pod: Manifest) -> Iterator[str]:
    job = found if found["kind"] == "Job" else job_of(found)
    rules = job["spec"].get("podFailurePolicy", {}).get("rules", [])
    if rules and pod["restartPolicy"] != "Never":
        yield "a podFailurePolicy needs restartPolicy: Never"
    names = {container["name"] for container in pod["containers"]}
    for rule in rules:
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
        if bool(codes) == bool(conditions):
            yield "a rule has exit codes or conditions"
        if codes and (codes["containerName"] not in names or 0 in codes["values"]):
            yield f"a rule names no container, or 0: {codes}"


def _indexed(job: Manifest, objects: "list[Manifest]") -> Iterator[str]:
    """The Pods of an Indexed Job have names by a headless Service that selects them."""
    spec, pod = job["spec"], job["spec"]["template"]
    if spec.get("completionMode") != "Indexed":
        return
    if spec["completions"] != spec["parallelism"]:
        yield "not all Pods run at once"
    services = [found for found in objects if found["kind"] == "Service"]
    if [service["metadata"]["name"] for service in services] != [pod["spec"]["subdomain"]]:
        yield "there is no Service of the subdomain's name"
    for service in services:
        if service["spec"]["clusterIP"] != "None" or not service["spec"]["publishNotReadyAddresses"]:
            yield "the Service gives Pods no names before they are ready"
        if not service["spec"]["selector"].items() <= pod["metadata"]["labels"].items():
            yield "the Service selects other Pods"
    first = f"{job['metadata']['name']}-0.{pod['spec']['subdomain']}"
    if not any(f"--rdzv_endpoint={first}:" in word for word in pod["spec"]["containers"][0]["args"]):
        yield f"they do not meet at {first}"


def _sizes(pod: Manifest, resources: Manifest) -> Iterator[str]:
    """Quantities are quantities; shared memory is counted in the memory limit; requests are not above limits."""
    sizes = [volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if "emptyDir" in volume]
    for quantity in [*sizes, *resources["requests"].values(), *resources["limits"].values()]:
        if not QUANTITY.fullmatch(str(quantity)):
            yield f"{quantity} is no quantity"
            return
    memory, shm = gib(resources["limits"]["memory"]), next(v["emptyDir"] for v in pod["volumes"] if v["name"] == "shm")
    if shm["medium"] != "Memory" or gib(shm["sizeLimit"]) >= memory:
        yield "shared memory is not counted in the memory limit"
    if gib(resources["requests"]["memory"]) > memory:
        yield "more memory is requested than allowed"
    if bool(resources["limits"].get("nvidia.com/gpu")) != bool(pod.get("tolerations")):
        yield "GPUs and their toleration belong together"


def gib(quantity: str) -> int:
    """A quantity of whole GiB as a number."""
    return int(quantity.removesuffix("Gi"))
