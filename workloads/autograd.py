"""Compare gradients by autograd with their formulas, in float64: first derivatives, and a second one.

python -m workloads.autograd                    # relative error at most 1e-10
python -m workloads.autograd --wrong-gradient   # must fail: one formula lacks a term
"""

import argparse
import sys

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from workloads import harness
from workloads.harness import Limit, Workload

LIMITS = {"error": Limit("<=", 1e-10)}
SIZE = 64


def elementwise(x: Tensor, wrong: bool) -> "tuple[Tensor, Tensor]":
    """Of sum(sin(x) exp(-x^2)), for x of shape (n,)."""
    (found,) = torch.autograd.grad((x.sin() * (-(x**2)).exp()).sum(), x)
    formula = x.cos() if wrong else x.cos() - 2 * x * x.sin()
    return found, formula * (-(x**2)).exp()


def least_squares(matrix: Tensor, target: Tensor) -> "tuple[Tensor, Tensor]":
    """Of |A w - b|^2 / 2 at w = 0.5, for A of shape (n, n) and b of shape (n,)."""
    weights = torch.full_like(target, 0.5).requires_grad_()
    (found,) = torch.autograd.grad((matrix @ weights - target).square().sum() / 2, weights)
    return found, matrix.t() @ (matrix @ weights - target)


def classification(scores: Tensor) -> "tuple[Tensor, Tensor]":
    """Of the mean cross-entropy of scores of shape (n, n) with the labels 0 to n - 1."""
    labels = torch.arange(len(scores), device=scores.device)
    (found,) = torch.autograd.grad(cross_entropy(scores, labels), scores)
    return found, (scores.softmax(dim=1) - one_hot(labels)) / len(scores)


def determinant(matrix: Tensor) -> "tuple[Tensor, Tensor]":
    """Of log |det A|, for A of shape (n, n): the transposed inverse."""
    (found,) = torch.autograd.grad(torch.linalg.slogdet(matrix)[1], matrix)
    return found, torch.linalg.inv(matrix).t()


def curvature(x: Tensor, direction: Tensor) -> "tuple[Tensor, Tensor]":
    """The Hessian of sum(x^4) / 12 times a direction, by differentiating twice; both of shape (n,)."""
    (slope,) = torch.autograd.grad((x**4).sum() / 12, x, create_graph=True)
    (found,) = torch.autograd.grad(slope @ direction, x)
    return found, x**2 * direction


def measure(options: argparse.Namespace, seed: int) -> "dict[str, object]":
    """The largest relative error of five gradients: largest difference by largest value of the formula."""
    generator = torch.Generator().manual_seed(seed)
    x, direction = torch.randn(2, SIZE, generator=generator, dtype=torch.float64).to(options.device)
    matrix = torch.randn(SIZE, SIZE, generator=generator, dtype=torch.float64).to(options.device)
    # Far from singular, so that the error is autograd's and not the matrix's.
    matrix = matrix + 2 * SIZE**0.5 * torch.eye(SIZE, device=matrix.device)
    x, matrix = x.requires_grad_(), matrix.requires_grad_()
    pairs = [
        elementwise(x, options.control),
        least_squares(matrix, direction),
        classification(matrix),
        determinant(matrix),
        curvature(x, direction),
    ]
    errors = [
        float((found.detach() - formula.detach()).abs().max() / formula.detach().abs().max())
        for found, formula in pairs
    ]
    return {"error": max(errors)}


WORKLOAD = Workload(measure, LIMITS, "--wrong-gradient", "one formula lacks a term")

if __name__ == "__main__":
    sys.exit(harness.main(WORKLOAD, __doc__))
