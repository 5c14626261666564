"""What is inside is what the lock says."""

import json
from typing import Any

from testinfra.host import Host

from torchdev.plan import Plan


def test_python_is_of_the_cells_series(facts: dict[str, Any], plan: Plan) -> None:
    """`python` is the Python that the tag names."""
    assert facts["python"].split(".")[:2] == plan.cell.python.split(".")


def test_torch_is_the_locked_one(facts: dict[str, Any], plan: Plan) -> None:
    """torch.__version__ is the locked version, with or without a local part for the flavour."""
    locked = plan.lock.version("torch")
    assert facts["torch"] in (locked, f"{locked}+{plan.cell.flavour}")


def test_cuda_is_the_cells(facts: dict[str, Any], plan: Plan) -> None:
    """Torch was built for the CUDA of the tag."""
    assert facts["cuda"] == plan.cell.cuda


def test_cudnn_is_loaded_in_the_locked_version(facts: dict[str, Any], plan: Plan) -> None:
    """The cuDNN that is loaded (91002 is 9.10.2, 8902 is 8.9.2) is the one whose wheel is locked."""
    if plan.lock.cudnn is None:
        # PyTorch before 1.13 has cuDNN inside its own wheel, and no lock says which.
        assert (facts["cudnn"] is None) == (plan.cell.cuda is None)
        return
    major, minor, patch = (int(part) for part in plan.lock.cudnn.split(".")[:3])
    assert facts["cudnn"] == major * (10_000 if major >= 9 else 1000) + minor * 100 + patch


NMS = """
import torch
from torchvision.ops import nms
boxes = torch.tensor([[0., 0., 10., 10.], [1., 1., 10., 10.], [20., 20., 30., 30.]])
print(nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist(), torch.ops.torchvision._cuda_version())
"""
DECIBEL = """
import torch, torchaudio
print(torchaudio.functional.amplitude_to_DB(torch.tensor([1., 10.]), 10., 1e-10, 0.).tolist())
"""


def test_torchvision_is_of_the_cells_flavour(host: Host, plan: Plan) -> None:
    """Its compiled operators load and compute, and were built for the CUDA of the tag (12.8 is 12080; none is -1)."""
    if plan.lock.version("torchvision"):
        major, minor = (int(part) for part in (plan.cell.cuda or "0.0").split("."))
        expected = major * 1000 + minor * 10 if plan.cell.cuda else -1
        assert host.check_output(f"python -c '{NMS}'") == f"[0, 2] {expected}"
    else:
        assert host.run("python -c 'import torchvision'").rc != 0


def test_torchaudio_works(host: Host, plan: Plan) -> None:
    """Where the release has it; elsewhere there is none."""
    if plan.lock.version("torchaudio"):
        assert host.check_output(f"python -c '{DECIBEL}'") == "[0.0, 10.0]"
    else:
        assert host.run("python -c 'import torchaudio'").rc != 0


LIBRARIES = ("libcudart", "libcudnn", "libcublas", "libnccl")


def test_one_cuda_is_loadable(host: Host, plan: Plan) -> None:
    """No library of CUDA is on the loader's own paths, and none is there twice under one name."""
    assert not [
        line for line in host.check_output("ldconfig -p").splitlines() if any(name in line for name in LIBRARIES)
    ]
    pattern = " -o ".join(f"-name '{name}*.so*'" for name in LIBRARIES)
    found = host.check_output(f"find / -xdev -type f \\( {pattern} \\) 2> /dev/null || true").split()
    names = [path.rpartition("/")[2] for path in found]
    assert sorted(names) == sorted(set(names))
    assert bool(names) == (plan.cell.cuda is not None)


def test_every_locked_package_is_installed_and_no_other(host: Host, plan: Plan) -> None:
    """The installed distributions are those of the lock, and the pip of the Python base."""
    listing = json.loads(host.check_output("python -m pip list --format json --disable-pip-version-check"))
    installed = {entry["name"].lower().replace("_", "-").replace(".", "-"): entry["version"] for entry in listing}
    locked = {package.name: package.version for package in plan.lock.packages}
    from_base = {"pip"} - locked.keys()
    torch = installed.get("torch", "")
    assert torch.partition("+")[0] == locked["torch"].partition("+")[0]
    assert {name: version for name, version in installed.items() if name not in from_base} == locked | {"torch": torch}


def test_labels_say_what_is_inside(engine: Any, image: str, plan: Plan) -> None:
    """Labels name cell, versions and lock; base labels may say that the bases were bootstrapped."""
    labels = engine.image(image).labels
    expected = {key: value for key, value in plan.labels.items() if ".base." not in key}
    assert {key: labels.get(key) for key in expected} == expected
    assert labels["io.torchdev.base.origin"] in ("official", "bootstrapped")
    if labels["io.torchdev.base.origin"] == "official":
        assert labels["org.opencontainers.image.base.digest"] == plan.debian.digest
    else:
        assert labels["org.opencontainers.image.base.name"].startswith("torchdev-bootstrap/")
