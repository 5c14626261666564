"""Compile a small network by torch.compile, to C++ on the CPU and Triton on a GPU, and compare it with itself.

python -m workloads.compile           # scores and gradients within 1e-4; machine code was made
python -m workloads.compile --eager   # must fail: the graph is captured, but nothing is compiled
"""

import argparse
import importlib
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from workloads import harness
from workloads.harness import CannotRun, Limit, Workload

LIMITS = {"error": Limit("<=", 1e-4), "compiled": Limit(">=", 1)}
WIDTH = 64
BATCH = 128
SUFFIX = {"cpu": ".so", "cuda": ".cubin"}
"""What a compiler leaves in the cache: libraries of g++, or machine code for the GPU by Triton."""


class Gated(nn.Module):
    """Matrix products and what can be fused between them: (n, WIDTH) to (n, WIDTH)."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.gate, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as `x`."""
        hidden = torch.tanh(self.into(x)) * torch.sigmoid(self.gate(x))
        return self.out(hidden + torch.sin(x).relu()).softmax(dim=1)


def needs(options: argparse.Namespace) -> None:
    """PyTorch 2.0, a C++ compiler, and Triton for a GPU."""
    if not hasattr(torch, "compile"):
        raise CannotRun(f"torch before 2.0 has no torch.compile, and this is {torch.__version__}")
    compiler = os.environ.get("CXX", "g++")
    if not shutil.which(compiler):
        raise CannotRun(f"no C++ compiler: {compiler}")
    if options.device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise CannotRun("triton is not installed")


def gradients(model: nn.Module, function: object, x: Tensor) -> "list[Tensor]":
    """The scores for `x`, and the gradients of their weighted sum by every parameter."""
    scores = function(x)
    weights = torch.linspace(-1, 1, WIDTH, device=x.device)
    return [scores.detach(), *torch.autograd.grad((scores * weights).sum(), list(model.parameters()))]


def measure(options: argparse.Namespace, seed: int) -> "dict[str, object]":
    """The largest difference by compiling, and the number of files of machine code that were made for it."""
    torch.manual_seed(seed)
    model, x = Gated().to(options.device), torch.randn(BATCH, WIDTH).to(options.device)
    expected = gradients(model, model, x)
    # One process compiles: more would each take memory, and could outlive the folder.
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    # PyTorch 2.0 does not know its own torch._dynamo before it is imported.
    importlib.import_module("torch._dynamo").reset()
    compiled = torch.compile(model, backend="eager" if options.control else "inductor")
    found = gradients(model, compiled, x)
    made = [path for path in Path(tempfile.gettempdir()).rglob("*") if path.suffix == SUFFIX[options.device.type]]
    errors = [float((left - right).abs().max()) for left, right in zip(found, expected)]
    return {"error": max(errors), "compiled": len(made)}


WORKLOAD = Workload(measure, LIMITS, "--eager", "the graph is captured, but nothing is compiled", needs=needs)

if __name__ == "__main__":
    sys.exit(harness.main(WORKLOAD, __doc__))
