"""Train a network whose graph is another one for each example: it has the form of the expression that it reads.

    python -m workloads.dynamic                 # at least 90% of deeper expressions than those it has learnt from
    python -m workloads.dynamic --fixed-graph   # must fail: leaves are read in a row, whatever the expression

An expression is True, False, or a tuple of an operator and its operands, such as ("and", True, ("not", False)).
"""

import argparse
import random
import sys

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from workloads import harness
from workloads.harness import Limit, Workload

LIMITS = {"accuracy": Limit(">=", 0.90)}
OPERATORS = {"and": all, "or": any, "not": lambda operands: not operands[0]}
EXAMPLES, HELD_OUT = 400, 300
DEPTH, HELD_OUT_DEPTH = 3, 5
EPOCHS = 8
BATCH = 8
LEARNING_RATE = 0.01
WIDTH = 16


def expression(depth: int, source: random.Random) -> object:
    """A random expression that is at most `depth` operators deep."""
    if depth == 0 or source.random() < 0.1:
        return source.random() < 0.5
    operator = source.choice(sorted(OPERATORS))
    return (operator, *(expression(depth - 1, source) for _ in range(1 if operator == "not" else 2)))


def value(tree: object) -> bool:
    """What an expression comes to."""
    return OPERATORS[tree[0]]([value(operand) for operand in tree[1:]]) if isinstance(tree, tuple) else tree


def leaves(tree: object) -> "list[bool]":
    """The constants of an expression from left to right."""
    return [leaf for operand in tree[1:] for leaf in leaves(operand)] if isinstance(tree, tuple) else [tree]


def in_a_row(tree: object) -> object:
    """The same constants under one operator, so that nothing of the expression's form is left."""
    row, *rest = leaves(tree)
    for leaf in rest:
        row = ("and", row, leaf)
    return row


class TreeNetwork(nn.Module):
    """One small layer per operator, put together as each expression says."""

    def __init__(self) -> None:
        super().__init__()
        self.constants = nn.Embedding(2, WIDTH)
        self.operators = nn.ModuleDict(
            {name: nn.Linear(WIDTH if name == "not" else 2 * WIDTH, WIDTH) for name in sorted(OPERATORS)}
        )
        self.read = nn.Linear(WIDTH, 1)

    def state(self, tree: object) -> Tensor:
        """What an expression, or a part of one, becomes: shape (WIDTH,)."""
        if not isinstance(tree, tuple):
            return self.constants.weight[int(tree)]
        operands = torch.cat([self.state(operand) for operand in tree[1:]])
        return torch.tanh(self.operators[tree[0]](operands))

    def forward(self, trees: "list[object]") -> Tensor:
        """Logits, of shape (n,), of n expressions being true."""
        return self.read(torch.stack([self.state(tree) for tree in trees])).squeeze(1)


def measure(options: argparse.Namespace, seed: int) -> "dict[str, object]":
    """Share of expressions, from 0 to 1, that are deeper than any learnt from and rightly judged."""
    source = random.Random(seed)
    torch.manual_seed(seed)
    shape = in_a_row if options.control else (lambda tree: tree)
    training = [expression(DEPTH, source) for _ in range(EXAMPLES)]
    held_out = [expression(HELD_OUT_DEPTH, source) for _ in range(HELD_OUT)]
    model = TreeNetwork().to(options.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for _ in range(EPOCHS):
        source.shuffle(training)
        for start in range(0, EXAMPLES, BATCH):
            batch = training[start : start + BATCH]
            truth = torch.tensor([float(value(tree)) for tree in batch], device=options.device)
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(model([shape(tree) for tree in batch]), truth).backward()
            optimizer.step()
    with torch.no_grad():
        judged = (model([shape(tree) for tree in held_out]) > 0).tolist()
    return {"accuracy": sum(found == value(tree) for found, tree in zip(judged, held_out)) / HELD_OUT}


WORKLOAD = Workload(measure, LIMITS, "--fixed-graph", "leaves are read in a row, whatever the expression")

if __name__ == "__main__":
    sys.exit(harness.main(WORKLOAD, __doc__))
