"""Train the guide's small CNN on handwritten digits, save it, load it, and compare what both compute.

    python -m workloads.cnn                    # three seeds; fails below 90% on held-out data
    python -m workloads.cnn --shuffle-labels   # must fail: there is nothing to learn
    python -m workloads.cnn --device cuda      # fails where there is no usable GPU

One line of JSON on standard output; exit status 0 if every seed reached the threshold, else 1.
"""

import argparse
import json
import sys
import tempfile
import time
from inspect import signature
from pathlib import Path

import torch
from torch import Tensor, nn

from workloads import digits

THRESHOLD = 0.90
EPOCHS = 10
LEARNING_RATE = 0.01
# With plain SGD at this rate, ten epochs are too few; momentum 0.9 and small batches suffice.
MOMENTUM = 0.9
BATCH = 32


class SmallCNN(nn.Module):
    """Two convolutions and two linear layers: images (n, 3, 24, 24) to class scores (n, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(64 * 6 * 6, 128), nn.ReLU(), nn.Linear(128, 10))

    def forward(self, images: Tensor) -> Tensor:
        """Scores before softmax, of shape (n, 10), for images of shape (n, 3, 24, 24)."""
        scores: Tensor = self.classifier(self.features(images))
        return scores


def train(data: digits.Split, seed: int, epochs: int) -> SmallCNN:
    """A model trained on `data`, on the device the data is on, with SGD and cross-entropy."""
    torch.manual_seed(seed)
    device = data.images.device
    model = SmallCNN().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    loss_of = nn.CrossEntropyLoss()
    for _ in range(epochs):
        for batch in torch.randperm(len(data.labels)).to(device).split(BATCH):
            optimizer.zero_grad()
            loss_of(model(data.images[batch]), data.labels[batch]).backward()
            optimizer.step()
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, data: digits.Split) -> float:
    """Share of examples, from 0 to 1, whose highest score is their label's."""
    return float((model(data.images).argmax(dim=1) == data.labels).float().mean())


@torch.no_grad()
def survives_saving(model: SmallCNN, images: Tensor) -> bool:
    """Whether a saved and loaded copy gives exactly the same scores for `images`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.pt")
        torch.save(model.state_dict(), path)
        copy = SmallCNN().to(images.device).eval()
        # PyTorch before 1.13 knows no such argument.
        safe = {"weights_only": True} if "weights_only" in signature(torch.load).parameters else {}
        copy.load_state_dict(torch.load(path, map_location=images.device, **safe))
    return torch.equal(model(images), copy(images))


def run(device: torch.device, seeds: "list[int]", epochs: int, shuffle: bool) -> "dict[str, object]":
    """Train once per seed and report accuracies, whether loading gave equal scores, and seconds taken."""
    training, held_out = (split.to(device) for split in digits.load())
    if shuffle:
        order = torch.randperm(len(training.labels), generator=torch.Generator().manual_seed(0)).to(device)
        training = digits.Split(training.images, training.labels[order])
    began = time.perf_counter()
    models = [train(training, seed, epochs) for seed in seeds]
    accuracies = [accuracy(model, held_out) for model in models]
    return {
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "seeds": seeds,
        "accuracies": [round(value, 4) for value in accuracies],
        "loaded_equal": all(survives_saving(model, held_out.images) for model in models),
        "reached": min(accuracies) >= THRESHOLD,
        "seconds": round(time.perf_counter() - began, 1),
    }


def main(arguments: "list[str] | None" = None) -> int:
    """Parse the command line, train, print one line of JSON; 0 if the threshold was reached on every seed."""
    parser = argparse.ArgumentParser(prog="python -m workloads.cnn", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--device", default="cpu", type=torch.device, help="cpu, cuda or cuda:N; never changed in silence"
    )
    parser.add_argument("--seeds", default=[0, 1, 2], type=int, nargs="+")
    parser.add_argument("--epochs", default=EPOCHS, type=int, choices=range(1, EPOCHS + 1), metavar=f"1..{EPOCHS}")
    parser.add_argument("--shuffle-labels", action="store_true", help="train on labels in random order")
    options = parser.parse_args(arguments)
    result = run(options.device, options.seeds, options.epochs, options.shuffle_labels)
    print(json.dumps(result))
    return 0 if result["reached"] and result["loaded_equal"] else 1


if __name__ == "__main__":
    sys.exit(main())
