"""Train an LSTM to name, at each step, the symbol that it read three steps before.

python -m workloads.lstm                     # at least 95% on new sequences; one in eight is chance
python -m workloads.lstm --shuffle-targets   # must fail: the answers belong to other sequences
"""

import argparse
import sys

import torch
from torch import Tensor, nn

from workloads import harness, sequences
from workloads.harness import Limit, Workload

LIMITS = {"accuracy": Limit(">=", 0.95)}
WIDTH = 64


class Recurrent(nn.Module):
    """Embedding, LSTM and a linear layer: symbols (n, length) to scores (n, length, SYMBOLS)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(sequences.SYMBOLS, WIDTH)
        self.lstm = nn.LSTM(WIDTH, WIDTH, batch_first=True)
        self.read = nn.Linear(WIDTH, sequences.SYMBOLS)

    def forward(self, symbols: Tensor) -> Tensor:
        """Scores before softmax; those of a step depend on no later one."""
        return self.read(self.lstm(self.embed(symbols))[0])


def measure(options: argparse.Namespace, seed: int) -> "dict[str, object]":
    """Share of steps, from 0 to 1, with the right symbol, on sequences that were not trained on."""
    torch.manual_seed(seed)
    return sequences.measure(Recurrent(), options, seed)


WORKLOAD = Workload(measure, LIMITS, "--shuffle-targets", "the answers belong to other sequences")

if __name__ == "__main__":
    sys.exit(harness.main(WORKLOAD, __doc__))
