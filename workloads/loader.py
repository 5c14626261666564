"""Read handwritten digits by a DataLoader whose workers are processes; on a GPU, by way of pinned memory.

python -m workloads.loader                # every example once and as it is, from two workers
python -m workloads.loader --wrong-data   # must fail: workers return another example than was asked for
"""

import argparse
import os
import sys

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from workloads import digits, harness
from workloads.harness import Limit, Workload

LIMITS = {"wrong": Limit("<=", 0), "missing": Limit("<=", 0), "workers": Limit(">=", 2), "same_order": Limit(">=", 1)}
GPU_LIMITS = (("pinned", Limit(">=", 1.0)),)
WORKERS = 2
BATCH = 32
"""Examples; a batch is 221 kB of shared memory, of which Docker gives a container 64 MB."""


class Numbered(Dataset):
    """Digits that say which they are and which process read them; in workers, wrong ones if that is wanted."""

    def __init__(self, split: digits.Split, wrong: bool) -> None:
        self.split, self.wrong = split, wrong

    def __len__(self) -> int:
        return len(self.split.labels)

    def __getitem__(self, index: int) -> "tuple[int, Tensor, Tensor, int]":
        source = (index + 1) % len(self) if self.wrong and get_worker_info() else index
        return index, self.split.images[source], self.split.labels[source], os.getpid()


def measure(options: argparse.Namespace, seed: int) -> "dict[str, object]":
    """Examples that are wrong or missing after one pass, worker processes seen, and the share of pinned batches."""
    data, on_gpu = digits.load()[1], options.device.type == "cuda"
    images, labels = data.images.to(options.device), data.labels.to(options.device)
    wrong, pinned, processes, orders = 0, [], set(), []
    for _ in range(2):
        order = []
        loader = DataLoader(
            Numbered(data, options.control), BATCH, shuffle=True, num_workers=WORKERS, pin_memory=on_gpu,
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        for index, found, label, process in loader:
            pinned.append(found.is_pinned() if on_gpu else False)
            found, label = (part.to(options.device, non_blocking=True) for part in (found, label))
            at = index.to(options.device)
            equal = (found == images[at]).flatten(1).all(dim=1) & (label == labels[at])
            wrong += int((~equal).sum())
            order += index.tolist()
            processes |= set(process.tolist()) - {os.getpid()}
        orders.append(order)
    return {
        "wrong": wrong,
        "missing": sum(len(data.labels) - len(set(order)) for order in orders),
        "workers": len(processes) / len(orders),
        "same_order": int(orders[0] == orders[1]),
        "pinned": sum(pinned) / len(pinned),
    }


WORKLOAD = Workload(
    measure, LIMITS, "--wrong-data", "workers return another example than was asked for", gpu_limits=GPU_LIMITS
)

if __name__ == "__main__":
    sys.exit(harness.main(WORKLOAD, __doc__))
