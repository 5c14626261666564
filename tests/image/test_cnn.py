"""The guide's CNN trains inside the image, and the check can fail."""

import json

import pytest
from testinfra.host import Host

from tests.image.conftest import Gpu


@pytest.fixture(scope="module")
def run(forks: str) -> str:
    """The command that trains it."""
    return f"cd /opt && {forks} -m workloads.cnn"


def test_cnn_trains_saves_and_loads_on_the_cpu(host: Host, run: str) -> None:
    """Three seeds reach 90% on held-out digits within ten epochs; a loaded copy computes the same."""
    result = json.loads(host.check_output(f"{run} --until-reached"))
    assert result["device"] == "cpu"
    assert len(result["accuracies"]) == 3
    assert min(result["accuracies"]) >= 0.90
    assert result["loaded_equal"] is True


@pytest.mark.control
def test_cnn_learns_nothing_from_shuffled_labels(host: Host, run: str) -> None:
    """With labels in random order the program fails: its threshold is not reached by chance."""
    done = host.run(f"{run} --seeds 0 --epochs 3 --until-reached --shuffle-labels")
    assert done.rc == 1
    assert json.loads(done.stdout)["accuracies"][0] < 0.5


@pytest.mark.cuda
def test_cnn_trains_on_the_gpu(host: Host, run: str, gpu: Gpu) -> None:
    """The CNN also trains on the GPU, if there is one."""
    gpu.need()
    result = json.loads(host.check_output(f"{run} --device cuda"))
    assert result["device"].startswith("cuda")
    assert min(result["accuracies"]) >= 0.90
    assert result["loaded_equal"] is True


def test_cnn_refuses_a_gpu_that_is_not_there(host: Host, run: str, gpu: Gpu) -> None:
    """Without a GPU, the program fails if it is asked for one; it never falls back to the CPU."""
    if gpu.present:
        done = host.run(f"export CUDA_VISIBLE_DEVICES= && {run} --device cuda")
    else:
        done = host.run(f"{run} --device cuda")
    assert done.rc != 0
    assert not done.stdout.strip()
