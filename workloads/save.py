"""Interrupt a training, save model and optimizer, load them, go on: the same weights as without the interruption.

python -m workloads.save             # weights within 1e-6
python -m workloads.save --corrupt   # must fail: one byte of the saved weights is altered
"""

import argparse
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from workloads import digits, harness
from workloads.harness import Limit, Workload, load_saved

LIMITS = {"difference": Limit("<=", 1e-6), "moved": Limit(">=", 1e-3)}
STEPS = 20
BATCH = 64
WIDTH = 32


def beginning(device: torch.device) -> "tuple[nn.Module, torch.optim.Optimizer]":
    """A new model and an optimizer with a state of its own."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10)).to(device)
    return model, torch.optim.Adam(model.parameters(), lr=1e-3)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, data: digits.Split, steps: range) -> None:
    """Some steps; each takes the examples that belong to its number."""
    for step in steps:
        batch = (torch.arange(BATCH) + step * BATCH).to(data.labels.device) % len(data.labels)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(data.images[batch]), data.labels[batch]).backward()
        optimizer.step()


def corrupt(path: Path) -> None:
    """Turn over one byte in the middle of the largest record of a checkpoint, which is a zip of stored records."""
    with zipfile.ZipFile(path) as archive:
        record = max(archive.infolist(), key=lambda entry: entry.file_size)
    with path.open("r+b") as file:
        file.seek(record.header_offset + 26)
        name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
        # The last byte of a float32, which holds its sign and exponent.
        position = record.header_offset + 30 + name + extra + record.file_size // 8 * 4 + 3
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 0xFF]))


def resumed(device: torch.device, data: digits.Split, path: Path) -> "list[Tensor]":
    """The weights after the second half of the steps, from a checkpoint made after the first."""
    model, optimizer = beginning(device)
    saved = load_saved(path, device)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    train(model, optimizer, data, range(STEPS, 2 * STEPS))
    return list(model.parameters())


def measure(options: argparse.Namespace, seed: int) -> "dict[str, object]":
    """Largest difference of a weight by the interruption, infinite if unreadable; how far weights moved after it."""
    torch.manual_seed(seed)
    data = digits.load()[0].to(options.device)
    model, optimizer = beginning(options.device)
    train(model, optimizer, data, range(STEPS))
    halfway = [weights.detach().clone() for weights in model.parameters()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint.pt")
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)
        if options.control:
            corrupt(path)
        train(model, optimizer, data, range(STEPS, 2 * STEPS))
        try:
            found = resumed(options.device, data, path)
        except RuntimeError as error:
            return {"difference": float("inf"), "moved": 0.0, "refused": str(error).splitlines()[0]}
    return {"difference": apart(found, model.parameters()), "moved": apart(halfway, model.parameters())}


def apart(left: "list[Tensor]", right: "list[Tensor]") -> float:
    """The largest difference between two lists of weights."""
    return max(float((one - other).detach().abs().max()) for one, other in zip(left, right))


WORKLOAD = Workload(measure, LIMITS, "--corrupt", "one byte of the saved weights is altered")

if __name__ == "__main__":
    sys.exit(harness.main(WORKLOAD, __doc__))
