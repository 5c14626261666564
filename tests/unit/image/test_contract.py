"""The contract: what an image must be, agreed on by two sides that do not ask each other."""

import ast
import dataclasses
import json
import re
import shlex
import subprocess

import pytest

from tests.unit.conftest import ROOT, make_package
from torchdev.docgen.project import open_project
from torchdev.image import render
from torchdev.image.contract import make_contract, said_version, size_limit, support, to_text
from torchdev.image.plan import Plan
from torchdev.matrix.load import Cell
from torchdev.util.trees import File
from torchdev.wheels.lock import Lock


def test_torch_is_described_by_lock_and_catalog(cell: Cell, lock: Lock) -> None:
    """Versions from the lock; architectures and glibc from the catalog; the driver from the facts."""
    assert make_contract(cell, lock)["torch"] == {
        "distribution": "2.13.0+cu130",
        "version": "2.13.0+cu130",
        "cuda": "13.0",
        "cudnn": "9.20.0.48",
        "nccl": "2.29.7",
        "architectures": ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"],
        "minimum_driver": "580",
        "glibc": "2.28",
    }


def test_overridden_cudnn_is_the_one_that_must_be_there(cell: Cell, lock: Lock) -> None:
    """The lock holds the wheel that the matrix asks for, and the catalog's pin says nothing any more."""
    other = make_package("nvidia-cudnn-cu13", "9.24.0.43")
    packages = tuple(other if p.name == other.name else p for p in lock.packages)
    changed = dataclasses.replace(cell, cudnn="9.24.0.43")
    assert make_contract(changed, dataclasses.replace(lock, packages=packages))["torch"]["cudnn"] == "9.24.0.43"


def test_a_cell_without_cuda_claims_none(cell: Cell, lock: Lock) -> None:
    """No CUDA, cuDNN, NCCL, architecture or driver; and the support statement says so."""
    plain = tuple(p for p in lock.packages if "nvidia" not in p.name)
    cpu = dataclasses.replace(cell, flavour="cpu")
    found = make_contract(cpu, dataclasses.replace(lock, packages=plain))
    claims = [found["torch"][name] for name in ("cuda", "cudnn", "nccl", "architectures", "minimum_driver")]
    assert claims == [None, None, None, [], None]
    assert found["support"] == "no GPU: CPU only"


@pytest.mark.parametrize(
    ("torch", "flavour", "arch", "distribution", "expected"),
    [
        ("2.13.0", "cu130", "amd64", "2.13.0", "2.13.0+cu130"),
        ("2.13.0", "cpu", "amd64", "2.13.0+cpu", "2.13.0+cpu"),
        ("1.10.2", "cu102", "amd64", "1.10.2", "1.10.2+cu102"),
        ("1.10.2", "cpu", "arm64", "1.10.2", "1.10.2"),
        ("2.5.1", "cpu", "arm64", "2.5.1", "2.5.1"),
        ("2.6.0", "cpu", "arm64", "2.6.0", "2.6.0+cpu"),
        ("2.4.1", "cu124", "arm64", "2.4.1+cu124", "2.4.1+cu124"),
    ],
)
def test_version_is_that_of_the_module(
    cell: Cell, torch: str, flavour: str, arch: str, distribution: str, expected: str
) -> None:
    """As torch/version.py of the wheels says; older ones for ARM on PyPI name no CUDA variant."""
    asked = dataclasses.replace(cell, torch=torch, flavour=flavour, arch=arch)
    assert said_version(asked, "torch", distribution) == expected


@pytest.mark.parametrize(
    ("name", "torch", "flavour", "arch", "distribution", "expected"),
    [
        ("torchvision", "2.14.1", "cu130", "amd64", "0.29.1", "0.29.1+cu130"),
        ("torchvision", "1.13.1", "cu117", "amd64", "0.14.1", "0.14.1+cu117"),
        ("torchaudio", "2.10.0", "cu128", "amd64", "2.10.0", "2.10.0+cu128"),
        ("torchvision", "2.13.0", "cpu", "amd64", "0.28.0+cpu", "0.28.0+cpu"),
        ("torchvision", "2.10.0", "cpu", "arm64", "0.25.0", "0.25.0"),
        ("torchaudio", "2.10.0", "cpu", "arm64", "2.10.0", "2.10.0"),
        ("torchvision", "2.11.0", "cu130", "arm64", "0.26.0", "0.26.0+cu130"),
        ("triton", "2.14.1", "cu130", "amd64", "3.8.0", "3.8.0"),
        ("numpy", "2.14.1", "cu130", "amd64", "2.3.0", "2.3.0"),
    ],
)
def test_companions_have_versions_of_the_same_kind(
    cell: Cell, name: str, torch: str, flavour: str, arch: str, distribution: str, expected: str
) -> None:
    """As NAME/version.py of the wheels of these releases says; others have that of their wheels."""
    asked = dataclasses.replace(cell, torch=torch, flavour=flavour, arch=arch)
    assert said_version(asked, name, distribution) == expected


@pytest.mark.parametrize(
    ("cuda", "architectures", "driver", "expected"),
    [
        ("13.0", ["sm_75", "sm_120"], "580", "GPUs sm_75 to sm_120, driver 580 or newer"),
        ("12.9", ["sm_70", "sm_120", "compute_120"], "525", "GPUs sm_70 to sm_120 and newer, driver 525 or newer"),
        ("11.8", [], "450.80.02", "GPUs not known, driver 450.80.02 or newer"),
        (None, [], None, "no GPU: CPU only"),
    ],
)
def test_support_is_one_line(cuda: "str | None", architectures: list[str], driver: "str | None", expected: str) -> None:
    """From the oldest GPU to the newest, or beyond it by PTX."""
    assert support(cuda, architectures, driver) == expected


def test_size_limit_needs_every_wheel(cell: Cell, lock: Lock) -> None:
    """While one wheel is not known to the byte, no limit is made up."""
    unknown = dataclasses.replace(lock.packages[0], installed=None)
    assert size_limit(cell, dataclasses.replace(lock, packages=(unknown, *lock.packages[1:]))) is None
    large = dataclasses.replace(lock.packages[0], installed=5_000_000_000)
    limit = size_limit(cell, dataclasses.replace(lock, packages=(large,)))
    assert limit is not None
    assert 5_500_000_000 < limit < 6_000_000_000
    triton = dataclasses.replace(large, name="triton", version="3.8.0")
    kept, slim = (
        size_limit(dataclasses.replace(cell, slim=slim), dataclasses.replace(lock, packages=(triton,)))
        for slim in (False, True)
    )
    assert kept == limit
    assert slim == limit - (173_235_712 + 337_999_480) // 2


def test_committed_cells_agree_on_both_sides() -> None:
    """Labels of the plan, ENV, ENTRYPOINT, CMD and WORKDIR of each Dockerfile are what the contract says."""
    project = open_project(ROOT, ROOT / "matrix.yaml")
    files = {name: file.text for name, file in project.rendered().items()}
    for plan in project.plans(project.by_lock(project.matrix.cells)[0]):
        said = json.loads(files[f"{plan.cell.id}/contract.json"])
        assert said["labels"] == {key: value for key, value in plan.labels.items() if ".base." not in key}
        dockerfile = files[f"{plan.cell.id}/Dockerfile"]
        assert _pairs(dockerfile, "ENV") == said["environment"]
        for instruction, field in (("ENTRYPOINT", "entrypoint"), ("CMD", "cmd")):
            assert ast.literal_eval(_last(dockerfile, instruction)) == said[field]
        assert _last(dockerfile, "WORKDIR") == said["workdir"]
        assert _pairs(dockerfile, "LABEL") == plan.labels


def test_dev_containers_work_as_the_images_user(cell: Cell, lock: Lock) -> None:
    """By the label that such tools read: JSON, a list of what devcontainer.json may hold."""
    contract = make_contract(cell, lock)
    (said,) = json.loads(contract["labels"]["devcontainer.metadata"])
    assert said["remoteUser"] == contract["user"]["name"]
    editor = said["customizations"]["vscode"]
    assert editor["settings"]["python.defaultInterpreterPath"] == contract["python"]["executable"]


@pytest.mark.parametrize("text", ["plain", 'a "word"', "a $HOME", "back\\slash", "${x}"])
def test_labels_are_quoted_for_dockerfiles(text: str) -> None:
    """In double quotes, where a shell escapes as BuildKit does."""
    command = ["sh", "-c", f"printf %s {render.label(text)}"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == text


def _last(dockerfile: str, instruction: str) -> str:
    return str(re.findall(rf"^{instruction} (.*)$", dockerfile, re.MULTILINE)[-1])


def _pairs(dockerfile: str, instruction: str) -> dict[str, str]:
    block = re.findall(rf"^{instruction} ((?:.*\\\n)*.*)$", dockerfile, re.MULTILINE)[-1]
    return dict(entry.split("=", 1) for entry in shlex.split(block.replace("\\\n", " ")))


def test_neither_side_asks_the_other() -> None:
    """What writes labels and variables knows no contract, and the contract no plan."""
    assert "plan" not in (ROOT / "torchdev" / "image" / "contract.py").read_text().split()
    assert "contract" not in (ROOT / "torchdev" / "image" / "plan.py").read_text()
    assert "contract" not in (ROOT / "templates" / "layers" / "user.j2").read_text()


def test_image_and_folder_hold_the_same(plan: Plan) -> None:
    """The file that goes into the image is the one that is committed."""
    files = render.render((plan,), ROOT / "templates")
    text = File(to_text(make_contract(plan.cell, plan.lock)).encode())
    assert files[f"{plan.cell.id}/contract.json"] == text
    assert f"\nCOPY {plan.cell.id}/contract.json /\n" in files[f"{plan.cell.id}/Dockerfile"].text
