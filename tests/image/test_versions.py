"""PyTorch's companions are of its release and its CUDA variant."""

import pytest
from packaging.version import Version
from testinfra.host import Host

from torchdev.image.plan import Plan

NMS = """
import torch
from torchvision.ops import nms
boxes = torch.tensor([[0., 0., 10., 10.], [1., 1., 10., 10.], [20., 20., 30., 30.]])
print(nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist(), torch.ops.torchvision._cuda_version())
"""
BRIDGE = """
import numpy, torch
print(torch.from_numpy(numpy.ones(2)).add(1).tolist(), torch.ones(2).numpy().tolist())
"""
EXTENSION = """
from torch.utils.cpp_extension import BuildExtension, CppExtension
print(len(CppExtension("own", ["own.cpp"]).include_dirs) > 1)
"""
DECIBEL = """
import torch, torchaudio
print(torchaudio.functional.amplitude_to_DB(torch.tensor([1., 10.]), 10., 1e-10, 0.).tolist())
"""


def test_torchvision_is_of_the_cells_flavour(host: Host, forks: str, plan: Plan) -> None:
    """Its compiled operators load and compute, and were built for the CUDA of the tag (12.8 is 12080; none is -1)."""
    if plan.lock.version("torchvision"):
        cuda = Version(plan.cell.cuda or "0")
        expected = cuda.major * 1000 + cuda.minor * 10 if plan.cell.cuda else -1
        assert host.check_output(f"{forks} -c '{NMS}'") == f"[0, 2] {expected}"
    else:
        assert host.run("python -c 'import torchvision'").rc != 0


def test_torch_and_numpy_exchange_arrays(host: Host, plan: Plan) -> None:
    """torch.from_numpy and Tensor.numpy() work, which PyTorch before 2.3 can't with NumPy 2."""
    if not plan.lock.version("numpy"):
        pytest.skip("the cell has no NumPy")
    assert host.check_output(f"python -W error -c '{BRIDGE}'") == "[2.0, 2.0] [1.0, 1.0]"


def test_cpp_extension_is_usable(host: Host, forks: str) -> None:
    """It imports, which before PyTorch 2.2 needs pkg_resources of an older setuptools, and names its compiler."""
    assert host.check_output(f"{forks} -c '{EXTENSION}'") == "True"


def test_torchaudio_works(host: Host, forks: str, plan: Plan) -> None:
    """The package works if the release has it; otherwise it is not installed."""
    if plan.lock.version("torchaudio"):
        assert host.check_output(f"{forks} -c '{DECIBEL}'") == "[0.0, 10.0]"
    else:
        assert host.run("python -c 'import torchaudio'").rc != 0
