"""Train on handwritten digits in mixed precision: bfloat16 on the CPU, float16 with a GradScaler on a GPU.

    python -m workloads.amp                    # at least 90% on held-out data, every layer in low precision
    python -m workloads.amp --full-precision   # must fail: autocast is off

On a GPU, a step whose gradients overflow must be skipped, and the scale lowered.
"""

import argparse
import sys

import torch
from torch import Tensor, nn

from workloads import digits, harness
from workloads.harness import Limit, Workload

LIMITS = {"accuracy": Limit(">=", 0.90), "low_precision": Limit(">=", 1.0)}
GPU_LIMITS = (("overflow_skipped", Limit(">=", 1.0)),)
EPOCHS = 8
BATCH = 32
LEARNING_RATE = 2e-3
WIDTH = 64
LOW = {"cpu": torch.bfloat16, "cuda": torch.float16}


class NoScaler:
    """Stands for a GradScaler where none is needed: bfloat16 has the range of float32."""

    def scale(self, loss: Tensor) -> Tensor:
        """The loss as it is."""
        return loss

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """A step of the optimizer."""
        optimizer.step()

    def update(self) -> None:
        """Nothing is adapted."""


def scaler_for(device: torch.device) -> object:
    """A GradScaler on a GPU. It moved in PyTorch 2.3, and the old place warns since 2.4."""
    if device.type == "cpu":
        return NoScaler()
    moved = getattr(torch.amp, "GradScaler", None)
    return moved("cuda") if moved else torch.cuda.amp.GradScaler()


def network() -> nn.Sequential:
    """Three linear layers: images (n, 3, 24, 24) to scores (n, 10)."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(3 * 24 * 24, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10)
    )


def overflow_is_skipped(model: nn.Module, optimizer: torch.optim.Optimizer, scaler: object, images: Tensor) -> bool:
    """Whether a step with infinite gradients leaves the weights alone and lowers the scale."""
    before, scale = [weights.detach().clone() for weights in model.parameters()], scaler.get_scale()
    optimizer.zero_grad()
    scaler.scale(model(images).sum() * float("inf")).backward()
    scaler.step(optimizer)
    scaler.update()
    same = all(torch.equal(old, new) for old, new in zip(before, model.parameters()))
    return same and scaler.get_scale() < scale


def measure(options: argparse.Namespace, seed: int) -> "dict[str, object]":
    """Accuracy on held-out digits, and the share of linear layers' results, from 0 to 1, in low precision."""
    torch.manual_seed(seed)
    device, low = options.device, LOW[options.device.type]
    training, held_out = (split.to(device) for split in digits.load())
    model, scaler, dtypes = network().to(device), scaler_for(device), []
    for layer in model:
        if isinstance(layer, nn.Linear):
            layer.register_forward_hook(lambda _, __, result: dtypes.append(result.dtype))
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(training.labels)).to(device).split(BATCH):
            optimizer.zero_grad()
            with torch.autocast(device.type, dtype=low, enabled=not options.control):
                scores = model(training.images[batch])
            scaler.scale(nn.functional.cross_entropy(scores.float(), training.labels[batch])).backward()
            scaler.step(optimizer)
            scaler.update()
    with torch.no_grad(), torch.autocast(device.type, dtype=low, enabled=not options.control):
        right = model(held_out.images).argmax(dim=1) == held_out.labels
    found = {
        "accuracy": float(right.float().mean()),
        "low_precision": sum(dtype == low for dtype in dtypes) / len(dtypes),
        "dtype": str(low),
    }
    if device.type == "cuda":
        found["overflow_skipped"] = float(overflow_is_skipped(model, optimizer, scaler, held_out.images))
    return found


WORKLOAD = Workload(measure, LIMITS, "--full-precision", "autocast is off", gpu_limits=GPU_LIMITS)

if __name__ == "__main__":
    sys.exit(harness.main(WORKLOAD, __doc__))
