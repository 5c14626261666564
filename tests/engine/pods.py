"""Pods as a Docker engine can imitate them: containers with what a manifest says of user, mounts, limits and names.

No kubelet, scheduler, Service or Job controller is in it: what a cluster makes of a manifest is not shown.
"""

import base64
import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from docker.types import EndpointConfig

from torchdev.engine.client import Engine
from torchdev.util.trees import Contents

Manifest = dict[str, Any]


def outcome(said: str) -> dict[str, Any]:
    """The last line that the training job prints, behind the name of its container where Compose puts it there."""
    line = next(line for line in said.splitlines() if '{"step"' in line)
    return dict(json.loads(line[line.index("{") :]))


def of_kind(files: Contents, kind: str) -> Manifest:
    """The only object of a kind in the YAML files of a recipe."""
    documents = (found for name, data in files.items() if name.endswith(".yaml") for found in yaml.safe_load_all(data))
    (found,) = (document for document in documents if document["kind"] == kind)
    return found


def unpack(files: Contents, folder: Path) -> None:
    """Write what the ConfigMap of a recipe holds."""
    config = of_kind(files, "ConfigMap")
    for name, text in config.get("data", {}).items():
        (folder / name).write_text(text)
    for name, text in config.get("binaryData", {}).items():
        (folder / name).write_bytes(base64.b64decode(text))


@dataclass(frozen=True)
class Pods:
    """The Pods of a Job. `claims` stands in for its volume, `config` for its ConfigMap; each is a folder."""

    engine: Engine
    image: str
    network: str
    name: str
    spec: Manifest
    claims: Path
    config: Path

    def options(self) -> dict[str, Any]:
        """What the Engine API is asked for the only container of a Pod."""
        (container,) = self.spec["containers"]
        security, pod = container["securityContext"], self.spec["securityContext"]
        assert "command" not in container, "the image's entry point would be left out"
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert security["allowPrivilegeEscalation"] is False
        mounts, temporary = {}, {}
        volumes = {volume["name"]: volume for volume in self.spec["volumes"]}
        for mount in container["volumeMounts"]:
            volume, path = volumes[mount["name"]], mount["mountPath"]
            if "emptyDir" in volume:
                # A kubelet gives it to fsGroup; Docker's tmpfs is told so.
                size = _bytes(volume["emptyDir"]["sizeLimit"])
                temporary[path] = f"size={size},mode=2777,gid={pod['fsGroup']},exec"
            else:
                folder = self.config if "configMap" in volume else self.claims
                mounts[str(folder)] = {"bind": path, "mode": "ro" if mount.get("readOnly") else "rw"}
        return {
            "user": f"{pod['runAsUser']}:{pod['runAsGroup']}",
            "group_add": [pod["fsGroup"]],
            "environment": {entry["name"]: entry["value"] for entry in container["env"]},
            "working_dir": container["workingDir"],
            "read_only": security["readOnlyRootFilesystem"],
            "cap_drop": security["capabilities"]["drop"],
            "security_opt": ["no-new-privileges"],
            "volumes": mounts,
            "tmpfs": temporary,
        }

    def run(self, args: "list[str]", index: int = 0, **environment: str) -> "tuple[int, str]":
        """Run one Pod to its end: exit status and output."""
        given = self.options()
        name = f"{self.name}-{index}"
        given["environment"] = {**given["environment"], "JOB_COMPLETION_INDEX": str(index), **environment}
        # In a cluster a Pod's own name is known by the headless Service, and its short one by the Pod itself.
        names = EndpointConfig("1.44", aliases=[f"{name}.{self.name}", name])
        where = {"network": self.network, "networking_config": {self.network: names}, "hostname": name}
        return self.engine.run(self.image, args, name=f"{self.network}-{name}", **given, **where)

    def run_all(self, args: "list[str]", count: int, **environment: str) -> "list[tuple[int, str]]":
        """Run all to their end, the last one first, as a cluster may start them."""

        def one(index: int) -> "tuple[int, str]":
            time.sleep(3 * (count - 1 - index))
            ranked = {"PET_NODE_RANK": str(index)} if environment else {}
            return self.run(args, index, **environment, **ranked)

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(one, range(count)))

    def run_to_success(self, args: "list[str]", count: int, failures: int, result: Path) -> "list[list[int]]":
        """Run all, each anew when it fails, as a Job's controller does, at most so often, until the result is there.

        The statuses of each. Once one has written the result, no other can be joined to it.
        """

        def one(index: int) -> "list[int]":
            statuses: list[int] = []
            while not statuses or (statuses[-1] and len(statuses) <= failures and not result.exists()):
                status, said = self.run(args, index)
                print(f"Pod {index} ended with {status}\n{said}")
                statuses.append(status)
            return statuses

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(one, range(count)))

    def kill(self, index: int) -> None:
        """End one Pod as a node that is lost does."""
        name = f"{self.network}-{self.name}-{index}"
        subprocess.run(["docker", "kill", name], check=True, stdout=subprocess.DEVNULL)


def _bytes(quantity: str) -> int:
    return int(quantity.removesuffix("Gi")) << 30
