"""PyTorch's companions are of its release and its flavour."""

from testinfra.host import Host

from torchdev.plan import Plan

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
