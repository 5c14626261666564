"""A sequence task for several models: at each step, name the symbol that was read three steps before."""

import argparse

import torch
from torch import Tensor, nn

SYMBOLS = 8
LENGTH = 16
DELAY = 3
STEPS = 200
BATCH = 32
HELD_OUT = 512
LEARNING_RATE = 0.005


def examples(number: int, generator: torch.Generator, shuffle: bool) -> "tuple[Tensor, Tensor]":
    """Symbols and what to answer, both int64 of shape (number, LENGTH); -100 where there is no answer yet.

    With `shuffle`, answers are those to another sequence, so that nothing can be learnt but their frequency.
    """
    symbols = torch.randint(SYMBOLS, (number, LENGTH), generator=generator)
    source = symbols[torch.randperm(number, generator=generator)] if shuffle else symbols
    answers = torch.full_like(symbols, -100)
    answers[:, DELAY:] = source[:, :-DELAY]
    return symbols, answers


def measure(model: nn.Module, options: argparse.Namespace, seed: int) -> "dict[str, object]":
    """Train a model that gives scores (n, LENGTH, SYMBOLS) for symbols (n, LENGTH); share right on new sequences."""
    generator = torch.Generator().manual_seed(seed)
    model = model.to(options.device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    loss_of = nn.CrossEntropyLoss()
    for _ in range(STEPS):
        symbols, answers = (part.to(options.device) for part in examples(BATCH, generator, options.control))
        optimizer.zero_grad()
        loss_of(model(symbols).flatten(0, 1), answers.flatten()).backward()
        optimizer.step()
    symbols, answers = (part.to(options.device) for part in examples(HELD_OUT, generator, False))
    with torch.no_grad():
        named = model.eval()(symbols).argmax(dim=2)
    return {"accuracy": float((named == answers)[:, DELAY:].float().mean())}
