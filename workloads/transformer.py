"""Train a Transformer with a causal mask to name, at each step, the symbol that it read three steps before.

python -m workloads.transformer                     # at least 95% on new sequences; one in eight is chance
python -m workloads.transformer --shuffle-targets   # must fail: the answers belong to other sequences
"""

import argparse
import sys

import torch
from torch import Tensor, nn

from workloads import harness, sequences
from workloads.harness import Limit, Workload

LIMITS = {"accuracy": Limit(">=", 0.95)}
WIDTH = 64
HEADS = 4
LAYERS = 2


class Attentive(nn.Module):
    """Learned positions and a Transformer encoder: symbols (n, LENGTH) to scores (n, LENGTH, SYMBOLS)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(sequences.SYMBOLS, WIDTH)
        self.positions = nn.Parameter(torch.randn(sequences.LENGTH, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, dim_feedforward=2 * WIDTH, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, LAYERS)
        self.read = nn.Linear(WIDTH, sequences.SYMBOLS)
        later = torch.ones(sequences.LENGTH, sequences.LENGTH, dtype=torch.bool).triu(diagonal=1)
        self.register_buffer("later", later)

    def forward(self, symbols: Tensor) -> Tensor:
        """Scores before softmax; the mask keeps those of a step from depending on a later one."""
        return self.read(self.encoder(self.embed(symbols) + self.positions, mask=self.later))


def measure(options: argparse.Namespace, seed: int) -> "dict[str, object]":
    """Share of steps, from 0 to 1, with the right symbol, on sequences that were not trained on."""
    torch.manual_seed(seed)
    return sequences.measure(Attentive(), options, seed)


WORKLOAD = Workload(measure, LIMITS, "--shuffle-targets", "the answers belong to other sequences")

if __name__ == "__main__":
    sys.exit(harness.main(WORKLOAD, __doc__))
