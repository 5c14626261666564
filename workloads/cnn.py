"""Train the guide's small CNN on handwritten digits, save it, load it, and compare what both compute.

    python -m workloads.cnn                    # three seeds; fails below 90% on held-out data
    python -m workloads.cnn --until-reached    # no longer than it takes to reach that
    python -m workloads.cnn --shuffle-labels   # must fail: there is nothing to learn
    python -m workloads.cnn --device cuda      # fails where there is no usable GPU

One line of JSON on standard output; workloads/harness.py says what the exit status means.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Callable

import torch
from torch import Tensor, nn

from workloads import digits, harness
from workloads.harness import Limit, Workload, load_saved

LIMITS = {"accuracy": Limit(">=", 0.90), "loaded_equal": Limit(">=", 1)}
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


def train(data: digits.Split, seed: int, epochs: int, enough: "Callable[[nn.Module], bool]") -> SmallCNN:
    """A model trained on `data`, on the device the data is on, with SGD and cross-entropy, until it is good enough."""
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
        if enough(model):
            break
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
        copy.load_state_dict(load_saved(path, images.device))
    return torch.equal(model(images), copy(images))


def measure(options: argparse.Namespace, seed: int) -> "dict[str, object]":
    """Accuracy on held-out digits, and whether a saved and loaded model computes the same (1 or 0)."""
    training, held_out = (split.to(options.device) for split in digits.load())
    if options.control:
        order = torch.randperm(len(training.labels), generator=torch.Generator().manual_seed(0)).to(options.device)
        training = digits.Split(training.images, training.labels[order])

    def enough(model: nn.Module) -> bool:
        return options.until_reached and LIMITS["accuracy"].kept(accuracy(model, held_out))

    model = train(training, seed, options.epochs, enough)
    return {"accuracy": accuracy(model, held_out), "loaded_equal": int(survives_saving(model, held_out.images))}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How often to go through the training data, and whether to end as soon as that was enough."""
    parser.add_argument("--epochs", default=EPOCHS, type=int, choices=range(1, EPOCHS + 1), metavar=f"1..{EPOCHS}")
    text = "end after the first epoch by which held-out data is told as well as it must be"
    parser.add_argument("--until-reached", action="store_true", help=text)


def summarise(result: "dict[str, object]") -> "dict[str, object]":
    """The result with its accuracies, and with one answer on loading for all seeds."""
    measured = result["measured"]
    return dict(result, accuracies=measured["accuracy"], loaded_equal=all(measured["loaded_equal"]))


WORKLOAD = Workload(
    measure, LIMITS, "--shuffle-labels", "labels are in random order",
    add_arguments=add_arguments, summarise=summarise, seeds=(0, 1, 2),
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(harness.main(WORKLOAD, __doc__))
