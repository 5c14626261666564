"""What the engine understands of a request for GPUs, and that a refusal is told as one. No GPU is needed."""

import pytest

from torchdev.engine.client import Engine
from torchdev.engine.gpus import CDI_KIND, by_cdi, by_toolkit
from torchdev.engine.refusals import container_error
from torchdev.util.errors import GpuError


@pytest.mark.parametrize("way", [by_toolkit, by_cdi])
def test_engine_keeps_the_request(engine: Engine, base: str, way: "type[object]") -> None:
    """A container that is created, not started, has it as it was sent."""
    asked = way()
    kept = engine.created_with(base, device_requests=[asked])["DeviceRequests"][0]
    assert {key: value or None for key, value in kept.items()} == {k: v or None for k, v in dict(asked).items()}


def test_engine_without_gpus_refuses_with_a_next_step(engine: Engine, base: str) -> None:
    """Whichever way was asked; the container is not started without them."""
    refusal = engine.gpu_refusal(base)
    if refusal is None:
        pytest.skip("this engine has GPUs")
    assert "toolkit" in str(refusal).lower() or "CDI" in str(refusal)
    assert refusal.next_step


@pytest.mark.parametrize(
    ("explanation", "step"),
    [
        ('could not select device driver "" with capabilities: [[gpu]]', "nvidia-ctk runtime configure"),
        ('could not select device driver "cdi" with capabilities: []', "nvidia-ctk cdi generate"),
        (f"CDI device injection failed: unresolvable CDI devices {CDI_KIND}=all", "nvidia-ctk cdi generate"),
        ("nvidia-container-cli: requirement error: unsatisfied condition: cuda>=13.0", "update the driver"),
    ],
)
def test_each_refusal_of_an_engine_has_its_next_step(explanation: str, step: str) -> None:
    """In the words in which Docker 26 to 28 and the toolkit say it."""
    error = container_error("image", explanation)
    assert isinstance(error, GpuError)
    assert step in str(error.next_step)
