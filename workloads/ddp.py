"""Train in two processes by DistributedDataParallel: the same weights as one process with all the data.

    python -m workloads.ddp             # weights within 1e-9; both processes have the same
    python -m workloads.ddp --no-sync   # must fail: each process keeps its gradients to itself

gloo on the CPU. With `--device cuda`: nccl if there are two GPUs, one for each process; with a single one, or cuda:N,
gloo with both processes on it, since nccl refuses that. `backend` in the result says which. Only the loopback is used.
"""

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from workloads import harness
from workloads.harness import CannotRun, Limit, Workload, load_saved
from workloads.save import apart

LIMITS = {"ranks_apart": Limit("<=", 0), "error": Limit("<=", 1e-9), "loss_ratio": Limit("<=", 0.5)}
RANKS = 2
STEPS = 50
BATCH = 16
WIDTH = 16
LEARNING_RATE = 0.1
PATIENCE = timedelta(seconds=120)


def needs(options: argparse.Namespace) -> None:
    """A PyTorch that was built with torch.distributed, and nccl for several GPUs."""
    if not distributed.is_available():
        raise CannotRun("this PyTorch was built without torch.distributed")
    if backend_for(options.device) == "nccl" and not distributed.is_nccl_available():
        raise CannotRun("this PyTorch was built without nccl")


def backend_for(device: torch.device) -> str:
    """Nccl if each process can have a GPU of its own, else gloo."""
    alone = device.type == "cuda" and device.index is None and torch.cuda.device_count() >= RANKS
    return "nccl" if alone else "gloo"


def network(seed: int) -> nn.Module:
    """A small network in float64, so that the order of sums does not show: (n, WIDTH) to (n, 1)."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 1)).double()


def examples(seed: int) -> "tuple[Tensor, Tensor]":
    """Inputs (RANKS * BATCH, WIDTH) and what to answer (RANKS * BATCH, 1), in float64."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(RANKS * BATCH, WIDTH, generator=generator, dtype=torch.float64)
    return inputs, inputs[:, :1] - inputs[:, 1:2]


def train(model: nn.Module, inputs: Tensor, answers: Tensor) -> float:
    """Gradient descent on all examples at once; the last loss by the first."""
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs), answers)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses[-1] / losses[0]


def train_rank(rank: int, folder: str, device: str, backend: str, seed: int, synchronise: bool) -> None:
    """One of the processes: train on its share of the examples, and leave its weights in the folder."""
    os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    os.dup2(2, 1)  # gloo of PyTorch 2.8 writes greetings to standard output, which is for the result alone
    own = torch.device(f"cuda:{rank}" if backend == "nccl" else device)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    rendezvous = Path(folder, "rendezvous").as_uri()
    distributed.init_process_group(backend, rendezvous, timeout=PATIENCE, rank=rank, world_size=RANKS)
    try:
        torch.save(train_share(rank, own, seed, synchronise), Path(folder, f"{rank}.pt"))
        distributed.barrier()
    finally:
        distributed.destroy_process_group()
    # DistributedDataParallel leaves gloo's threads behind, even when all of it is gone (seen with PyTorch 2.13). If one
    # of them drops a Python object while Python ends, the process aborts: so it ends without that.
    harness.leave(harness.PASSED)


def train_share(rank: int, own: torch.device, seed: int, synchronise: bool) -> "list[Tensor]":
    """Train on the examples of one process; the weights."""
    # Each begins elsewhere; DistributedDataParallel hands the weights of rank 0 to all.
    model = DistributedDataParallel(network(seed + rank).to(own))
    inputs, answers = (part[rank::RANKS].to(own) for part in examples(seed))
    with ExitStack() as stack:
        if not synchronise:
            stack.enter_context(model.no_sync())
        train(model, inputs, answers)
    return [weights.detach().cpu() for weights in model.parameters()]


def measure(options: argparse.Namespace, seed: int) -> "dict[str, object]":
    """How far apart the weights of both processes are, how far from those of one alone, and how far its loss fell."""
    backend = backend_for(options.device)
    device = f"cuda:{torch.cuda.current_device()}" if str(options.device) == "cuda" else str(options.device)
    alone = network(seed).to(options.device)
    ratio = train(alone, *(part.to(options.device) for part in examples(seed)))
    with tempfile.TemporaryDirectory() as folder:
        arguments = (folder, device, backend, seed, not options.control)
        torch.multiprocessing.spawn(train_rank, arguments, nprocs=RANKS)
        ranks = [load_saved(Path(folder, f"{rank}.pt"), torch.device("cpu")) for rank in range(RANKS)]
    expected = [weights.detach().cpu() for weights in alone.parameters()]
    error = max(apart(found, expected) for found in ranks)
    return {"ranks_apart": apart(*ranks), "error": error, "loss_ratio": ratio, "backend": backend}


WORKLOAD = Workload(measure, LIMITS, "--no-sync", "each process keeps its gradients to itself", needs=needs)

if __name__ == "__main__":
    sys.exit(harness.main(WORKLOAD, __doc__))
