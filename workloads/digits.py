"""Handwritten digits as a fixed training and held-out split: a real data set, small enough to ship.

`digits.csv.gz` is the file that scikit-learn ships: 1797 images of 8 by 8 pixels, each pixel a count from 0
to 16, then the label. It comes from E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits",
UCI Machine Learning Repository, 1998, doi:10.24432/C50P49, licence CC BY 4.0.
"""

import csv
import gzip
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

SOURCE = Path(__file__).with_name("digits.csv.gz")
HELD_OUT = 360
SPLIT_SEED = 20_000


class Split(NamedTuple):
    """Images as float32 of shape (n, 3, 24, 24) in [0, 1], and labels as int64 of shape (n,)."""

    images: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> "Split":
        """The same examples on another device."""
        return Split(self.images.to(device), self.labels.to(device))


def load() -> "tuple[Split, Split]":
    """Training (1437 examples) and held-out (360) data; the split never changes between runs."""
    with gzip.open(SOURCE, "rt", newline="") as lines:
        rows = torch.tensor([[float(value) for value in row] for row in csv.reader(lines)])
    small = rows[:, :64].reshape(-1, 1, 8, 8) / 16
    images = interpolate(small, size=(24, 24), mode="bilinear", align_corners=False).repeat(1, 3, 1, 1)
    labels = rows[:, 64].long()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(SPLIT_SEED))
    train, held_out = order[HELD_OUT:], order[:HELD_OUT]
    return Split(images[train], labels[train]), Split(images[held_out], labels[held_out])
