"""The GPU is visible and used; without one these checks are not-run, and say why."""

from typing import Any

import pytest
from testinfra.host import Host

from tests.image.conftest import Gpu
from torchdev.engine.gpus import ToolkitView, toolkit_view
from torchdev.image.plan import Plan


@pytest.mark.cuda
def test_gpu_is_visible(host: Host, gpu: Gpu) -> None:
    """Torch sees a GPU and computes on it."""
    gpu.need()
    program = "import torch; x = torch.ones(4, 4, device='cuda'); assert float((x @ x).sum()) == 64; print('seen')"
    assert host.check_output(f'python -c "{program}"') == "seen"


def test_no_variable_that_misleads_the_nvidia_toolkit(host: Host) -> None:
    """CUDA_VERSION makes an image count as legacy, NVIDIA_VISIBLE_DEVICES=all hands GPUs to whoever asked for none."""
    names = {line.partition("=")[0] for line in host.check_output("cat /proc/1/environ | tr '\\0' '\\n'").splitlines()}
    baked = {name for name in names if name.startswith(("NVIDIA_REQUIRE", "NCCL_", "PET_", "CUDA_"))}
    assert baked == set()


def test_image_bakes_in_no_gpu_variables(config: dict[str, Any]) -> None:
    """The image's configuration has none of these variables."""
    assert [entry for entry in config["Env"] if entry.startswith(("NVIDIA_", "CUDA_", "NCCL_", "PET_"))] == []


def test_toolkit_gives_what_is_asked_for_and_no_more(config: dict[str, Any]) -> None:
    """As the NVIDIA toolkit reads the image: no GPU by default, the driver's compute and utility, no requirement."""
    view = toolkit_view(dict(entry.split("=", 1) for entry in config["Env"]))
    assert view == ToolkitView(visible="", capabilities=("compute", "utility"), requirements=(), legacy=False)


def test_architectures_are_compiled_in(facts: dict[str, Any], plan: Plan) -> None:
    """A CUDA image holds code for at least one GPU architecture, as the library itself lists them."""
    assert bool(facts["architectures"]) == (plan.cell.cuda is not None)
