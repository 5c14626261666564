"""Train a generator against a discriminator until its numbers are distributed like the target's.

    python -m workloads.gan               # Wasserstein distance at most 0.35, where the two modes are 4 apart
    python -m workloads.gan --untrained   # must fail: the generator stays as it began

The target is a mixture, in equal parts, of two normal distributions: means -2 and 2, standard deviation 0.5.
"""

import argparse
import sys

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from workloads import harness
from workloads.harness import Limit, Workload

LIMITS = {"distance": Limit("<=", 0.35)}
MEAN, DEVIATION = 2.0, 0.5
NOISE = 4
WIDTH = 64
STEPS = 1000
BATCH = 128
SAMPLES = 8192
LEARNING_RATE = 1e-3
PENALTY = 0.5
SMOOTHING = 0.99


def perceptron(inputs: int) -> nn.Sequential:
    """Two hidden layers: (n, inputs) to (n, 1)."""
    return nn.Sequential(
        nn.Linear(inputs, WIDTH), nn.LeakyReLU(0.2), nn.Linear(WIDTH, WIDTH), nn.LeakyReLU(0.2), nn.Linear(WIDTH, 1)
    )


def target(number: int, generator: torch.Generator) -> Tensor:
    """Samples of the target, of shape (number, 1)."""
    side = torch.randint(2, (number, 1), generator=generator) * 2 - 1
    return side * MEAN + DEVIATION * torch.randn(number, 1, generator=generator)


def distance(left: Tensor, right: Tensor) -> float:
    """The Wasserstein distance of two samples of equal size on a line: the mean distance of equal ranks."""
    return float((left.flatten().sort()[0] - right.flatten().sort()[0]).abs().mean())


def train(options: argparse.Namespace, generator: torch.Generator) -> nn.Module:
    """The generator's running mean, which is steadier than its last state."""
    made, judge, steady = (perceptron(inputs).to(options.device) for inputs in (NOISE, 1, NOISE))
    steady.load_state_dict(made.state_dict())
    steps = 0 if options.control else STEPS
    of_made = torch.optim.Adam(made.parameters(), lr=LEARNING_RATE, betas=(0.0, 0.9))
    of_judge = torch.optim.Adam(judge.parameters(), lr=LEARNING_RATE, betas=(0.0, 0.9))
    for _ in range(steps):
        real = target(BATCH, generator).to(options.device).requires_grad_()
        noise = torch.randn(BATCH, NOISE, generator=generator).to(options.device)
        verdict = judge(real)
        # A steep discriminator makes training swing; Mescheder et al., 2018, arXiv:1801.04406, penalise it so.
        (slope,) = torch.autograd.grad(verdict.sum(), real, create_graph=True)
        loss = softplus(-verdict).mean() + softplus(judge(made(noise).detach())).mean()
        of_judge.zero_grad()
        (loss + PENALTY * slope.square().mean()).backward()
        of_judge.step()
        of_made.zero_grad()
        softplus(-judge(made(noise))).mean().backward()
        of_made.step()
        with torch.no_grad():
            for mean, now in zip(steady.parameters(), made.parameters()):
                mean.lerp_(now, 1 - SMOOTHING)
    return steady


def measure(options: argparse.Namespace, seed: int) -> "dict[str, object]":
    """How far what the generator makes is from the target, in the target's own unit."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = train(options, generator)
    noise = torch.randn(SAMPLES, NOISE, generator=generator).to(options.device)
    with torch.no_grad():
        found = model(noise).cpu()
    return {"distance": distance(found, target(SAMPLES, generator))}


WORKLOAD = Workload(measure, LIMITS, "--untrained", "the generator stays as it began")

if __name__ == "__main__":
    sys.exit(harness.main(WORKLOAD, __doc__))
