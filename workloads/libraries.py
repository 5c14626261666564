"""Ask the libraries that PyTorch computes with for something whose answer a formula knows, in float64.

python -m workloads.libraries                 # each answer within 1e-9
python -m workloads.libraries --other-input   # must fail: the formulas are of numbers that are 1% larger

On a GPU, the profiler must see kernels, and nccl must give back what one process sends to itself.
"""

import argparse
import math
import re
import sys
from pathlib import Path

import torch
from torch import Tensor, distributed
from torch.nn.functional import conv2d, unfold

from workloads import harness
from workloads.harness import Limit, Workload

SIZE = 24
VENDOR = re.compile(r"/lib((?:cu|nv|nccl)[A-Za-z]*)[-.0-9a-z]*\.so")
"""Libraries of NVIDIA's, by the names of their files."""


def product(x: Tensor, y: Tensor) -> Tensor:
    """The matrix product of (n, n) and (n, n), by no library: sums of products."""
    return (x.unsqueeze(2) * y.unsqueeze(0)).sum(dim=1)


def matrix_product(x: Tensor, same: Tensor) -> "tuple[Tensor, Tensor]":
    """Of x with its transpose: cuBLAS."""
    return x @ x.t(), product(same, same.t())


def convolution(x: Tensor, same: Tensor) -> "tuple[Tensor, Tensor]":
    """Of an image with 3 by 3 of its own numbers: cuDNN."""
    image, kernel = x.view(1, 1, SIZE, SIZE), x[:3, :3].reshape(1, 1, 3, 3)
    patches = unfold(same.view(1, 1, SIZE, SIZE), 3, padding=1)
    return conv2d(image, kernel, padding=1).flatten(), (patches * same[:3, :3].reshape(9, 1)).sum(dim=1).flatten()


def fourier(x: Tensor, same: Tensor) -> "tuple[Tensor, Tensor]":
    """The real part of the discrete transform of each row: cuFFT."""
    steps = torch.arange(SIZE, dtype=x.dtype, device=x.device)
    return torch.fft.fft(x).real, product(same, torch.cos(2 * math.pi / SIZE * steps.unsqueeze(1) * steps))


def singular_values(x: Tensor, same: Tensor) -> "tuple[Tensor, Tensor]":
    """A matrix made again of its decomposition: cuSOLVER."""
    left, values, right = torch.linalg.svd(x)
    return product(left * values, right), same


def eigenvalues(x: Tensor, same: Tensor) -> "tuple[Tensor, Tensor]":
    """A symmetric matrix made again of its decomposition: cuSOLVER."""
    values, vectors = torch.linalg.eigh(x + x.t())
    return product(vectors * values, vectors.t()), same + same.t()


def solution(x: Tensor, same: Tensor) -> "tuple[Tensor, Tensor]":
    """A linear system's right side, made again of its solution: cuSOLVER or cuBLAS."""
    regular = x + 2 * SIZE**0.5 * torch.eye(SIZE, dtype=x.dtype, device=x.device)
    return product(regular, torch.linalg.solve(regular, x)), same


def sparse(x: Tensor, same: Tensor) -> "tuple[Tensor, Tensor]":
    """The positive numbers of a matrix times all of it: cuSPARSE."""
    return torch.sparse.mm(x.relu().to_sparse(), x), product(same.relu(), same)


def special(x: Tensor, same: Tensor) -> "tuple[Tensor, Tensor]":
    """Digamma's recurrence; on a GPU, PyTorch compiles the function when it is first used: NVRTC."""
    return torch.digamma(x.abs() + 2) - torch.digamma(x.abs() + 1), 1 / (same.abs() + 1)


ANSWERS = (matrix_product, convolution, fourier, singular_values, eigenvalues, solution, sparse, special)
LIMITS = {answer.__name__: Limit("<=", 1e-9) for answer in ANSWERS}
GPU_LIMITS = (("kernels_seen", Limit(">=", 1)), ("nccl", Limit("<=", 0)))


def kernels_seen(x: Tensor) -> int:
    """How many kernels the profiler sees in a matrix product and a sum: CUPTI. Copies and fills are none."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as seen:
        (x @ x).sum().item()
    return sum("CUDA" in str(event.device_type) and not event.name.startswith("Mem") for event in seen.events())


def received(x: Tensor) -> float:
    """The largest difference between what one process sends to itself and what it gets: nccl."""
    distributed.init_process_group("nccl", store=distributed.HashStore(), rank=0, world_size=1)
    found = torch.zeros_like(x)
    distributed.all_gather([found], x)
    distributed.destroy_process_group()
    return float((found - x).abs().max())


def loaded() -> "list[str]":
    """NVIDIA's libraries in this process, by name."""
    return sorted(set(VENDOR.findall(Path("/proc/self/maps").read_text())))


def measure(options: argparse.Namespace, seed: int) -> "dict[str, object]":
    """The relative error of each answer: largest difference by largest value of the formula."""
    x = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(options.device)
    same = x * 1.01 if options.control else x
    found: "dict[str, object]" = {}
    for answer in ANSWERS:
        got, formula = answer(x, same)
        found[answer.__name__] = float((got - formula).abs().max() / formula.abs().max())
    if options.device.type == "cuda":
        found.update(kernels_seen=kernels_seen(x), nccl=received(x), loaded=" ".join(loaded()))
    return found


WORKLOAD = Workload(measure, LIMITS, "--other-input", "formulas of other numbers", gpu_limits=GPU_LIMITS)

if __name__ == "__main__":
    sys.exit(harness.main(WORKLOAD, __doc__))
