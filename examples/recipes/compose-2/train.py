"""Train a small CNN on handwritten digits: a job to start from. One process or many, on CPU or GPU.

    python train.py --data digits.csv.gz --out run
    torchrun --nproc-per-node 2 train.py --data digits.csv.gz --out run

It needs PyTorch alone, 1.13 or newer. The same command goes on from the newest whole checkpoint in --out, and comes
out as a run that was never interrupted, since everything random depends on seed and step. SIGTERM ends it after the
current step, with a checkpoint. Rank 0 alone reads and writes files. Progress goes to standard error, metrics to
OUT/metrics.jsonl.

Exit status: 0 done; 1 it broke off, as all other processes do within a minute; 2 it can't run as asked; 75 ended by
SIGTERM or SIGINT, start it again to go on.
"""

import argparse
import csv
import gzip
import json
import os
import signal
import sys
import time
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import cross_entropy, interpolate
from torch.nn.parallel import DistributedDataParallel

CANNOT, AGAIN = 2, 75
HELD_OUT = 360
PATIENCE = timedelta(seconds=50)
"""How long a process waits for others: longer than rank 0 takes to judge and save."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FIXED = ("batch", "lr", "momentum", "seed", "precision", "world")
"""Settings that a run which goes on must share with the one before, or its result would be another."""


class Refusal(Exception):
    """It can't run as asked; the text says why, and what to do."""


def parse(arguments=None):
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    beside = Path(__file__).with_name("digits.csv.gz")
    parser.add_argument("--data", type=Path, default=beside, help="digits.csv.gz; default: beside this file")
    parser.add_argument("--out", type=Path, default=Path("run"), help="folder for checkpoints, metrics and the model")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=32, help="examples a step, of all processes together")
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="cuda: fail where there is none"
    )
    parser.add_argument(
        "--precision", choices=("auto", *DTYPES), default="auto", help="auto: bfloat16 on GPUs that have it"
    )
    parser.add_argument("--checkpoint-every", type=int, default=50, metavar="STEPS")
    parser.add_argument("--keep", type=int, default=2, help="checkpoints that are kept")
    parser.add_argument("--fresh", action="store_true", help="start anew, whatever --out has")
    options = parser.parse_args(arguments)
    for name in ("epochs", "batch", "checkpoint_every", "keep"):
        if getattr(options, name) < 1:
            parser.error("--{} must be 1 or more".format(name.replace("_", "-")))
    return options


# Where it runs


def choose_device(wanted, local_rank):
    """The device of this process; nothing falls back to the CPU that asked for a GPU."""
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise Refusal("--device cuda, but PyTorch sees no GPU; torchdev-doctor says why, --device cpu does without")
    if local_rank >= torch.cuda.device_count():
        what = "process {} of this machine has no GPU: there are {}; start fewer (--nproc-per-node)"
        raise Refusal(what.format(local_rank, torch.cuda.device_count()))
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def choose_precision(wanted, device):
    """The name of the type in which layers compute."""
    if wanted == "auto":
        return "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    if wanted == "float16" and device.type == "cpu":
        raise Refusal("--precision float16 is for GPUs; on the CPU: bfloat16 or float32")
    return wanted


def join(device):
    """Join the other processes, if torchrun has started some; rank and world size."""
    if "WORLD_SIZE" not in os.environ:
        return 0, 1
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    return dist.get_rank(), dist.get_world_size()


# Data and model


def read_digits(path):
    """Training and held-out images (n, 1, 24, 24) in [0, 1] with their labels (n,); the same split in every run."""
    try:
        with gzip.open(path, "rt", newline="") as lines:
            rows = torch.tensor([[float(value) for value in row] for row in csv.reader(lines)])
    except (OSError, ValueError) as error:
        raise Refusal("--data {}: {}".format(path, error)) from None
    images = interpolate(rows[:, :64].reshape(-1, 1, 8, 8) / 16, size=(24, 24), mode="bilinear", align_corners=False)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(20000))
    kept, held_out = order[HELD_OUT:], order[:HELD_OUT]
    labels = rows[:, 64].long()
    return (images[kept], labels[kept]), (images[held_out], labels[held_out])


def make_model():
    """Two convolutions and two linear layers: images (n, 1, 24, 24) to scores (n, 10)."""
    features = [nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    features += [nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*features, nn.Linear(64 * 6 * 6, 128), nn.ReLU(), nn.Linear(128, 10))


def batch_of(step, count, batch, seed, rank, world):
    """The indices of one step's examples that are this process's; every example comes once an epoch."""
    steps = count // batch
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1_000_003 + step // steps))
    start = step % steps * batch
    return order[start : start + batch][rank::world]


# Checkpoints


def write_whole(state, path):
    """Write a file so that it is there whole or not at all, even if the machine loses power."""
    unfinished = path.with_name("." + path.name)
    with open(unfinished, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def checkpoints(out):
    """The checkpoints in a folder, newest first."""
    return sorted(out.glob("checkpoint-*.pt"), reverse=True)


def newest_whole(out):
    """What the newest checkpoint that can be read holds; None if there is none."""
    for path in checkpoints(out):
        try:
            return torch.load(path, map_location="cpu")
        except Exception as error:
            say("{} can't be read ({}); trying the one before".format(path.name, type(error).__name__))
    return None


def keep_until(metrics, step):
    """Leave out of a metrics file what a run that was killed has noted beyond the checkpoint."""
    if metrics.exists():
        kept = [line for line in metrics.read_text().splitlines(True) if json.loads(line)["step"] <= step]
        unfinished = metrics.with_name("." + metrics.name)
        unfinished.write_text("".join(kept))
        os.replace(unfinished, metrics)


def say(text):
    """Progress goes to standard error."""
    print(text, file=sys.stderr, flush=True)


class Run:
    """A training that goes on from where it was: model, optimizer, scaler, the number of steps done."""

    def __init__(self, options, device, rank, world):
        self.options, self.device, self.rank, self.world = options, device, rank, world
        self.step, self.stopping = 0, False
        torch.manual_seed(options.seed)
        self.model = make_model().to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=options.lr, momentum=options.momentum)
        scaler = torch.amp.GradScaler if hasattr(torch.amp, "GradScaler") else torch.cuda.amp.GradScaler
        self.scaler = scaler(enabled=options.precision == "float16")
        self.restore()
        ids = [device.index] if device.type == "cuda" else None
        self.parallel = DistributedDataParallel(self.model, device_ids=ids) if world > 1 else self.model

    @property
    def settings(self):
        """What must not change when a run goes on."""
        return {name: self.world if name == "world" else getattr(self.options, name) for name in FIXED}

    def restore(self):
        """Take over the newest checkpoint; rank 0 reads it, the others get it from there."""
        found = [None]
        if self.rank == 0:
            self.options.out.mkdir(parents=True, exist_ok=True)
            found = [None if self.options.fresh else newest_whole(self.options.out)]
        if self.world > 1:
            dist.broadcast_object_list(found, device=self.device if self.device.type == "cuda" else None)
        state = found[0]
        if state:
            changed = [name for name in FIXED if state["settings"][name] != self.settings[name]]
            if changed:
                was = ", ".join("{} was {}".format(name, state["settings"][name]) for name in changed)
                raise Refusal(
                    "{} has a run with other settings ({}); --fresh starts anew".format(self.options.out, was)
                )
            self.step = state["step"]
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
        if self.rank == 0:
            keep_until(self.options.out / "metrics.jsonl", self.step if state else -1)
            say("going on after step {}".format(self.step) if state else "starting anew")

    def save(self):
        """Write a checkpoint, and remove those that are no longer kept."""
        if self.rank == 0:
            state = {name: getattr(self, name).state_dict() for name in ("model", "optimizer", "scaler")}
            state.update(step=self.step, settings=self.settings)
            write_whole(state, self.options.out / "checkpoint-{:08d}.pt".format(self.step))
            for path in checkpoints(self.options.out)[self.options.keep :]:
                path.unlink()

    def note(self, **values):
        """Add a line to the metrics file."""
        if self.rank == 0:
            with open(self.options.out / "metrics.jsonl", "a") as file:
                file.write(json.dumps(dict(step=self.step, **values)) + "\n")

    def advance(self, images, labels):
        """One step on this process's part of a batch; the mean loss of all processes, and whether one is to stop."""
        torch.manual_seed(self.options.seed * 1_000_003 + self.step * self.world + self.rank)
        low = self.options.precision != "float32"
        context = torch.autocast(self.device.type, DTYPES[self.options.precision]) if low else nullcontext()
        self.optimizer.zero_grad()
        with context:
            loss = cross_entropy(self.parallel(images).float(), labels)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        told = torch.stack([loss.detach() / self.world, loss.new_tensor(float(self.stopping))])
        if self.world > 1:
            dist.all_reduce(told)
        return told[0].item(), bool(told[1].item())

    @torch.no_grad()
    def judge(self, images, labels):
        """Mean loss and share of right answers, from 0 to 1."""
        scores = self.model(images.to(self.device)).float()
        labels = labels.to(self.device)
        return cross_entropy(scores, labels).item(), (scores.argmax(1) == labels).float().mean().item()


def train(run):
    """Go to the last epoch; whether it got there."""
    options, (data, held_out) = run.options, read_digits(run.options.data)
    if options.batch % run.world or options.batch > len(data[0]):
        raise Refusal("--batch {}: it must be a multiple of {} processes, at most {}".format(
            options.batch, run.world, len(data[0])
        ))  # fmt: skip
    steps = len(data[0]) // options.batch
    began, first = time.monotonic(), run.step
    while run.step < steps * options.epochs:
        mine = batch_of(run.step, len(data[0]), options.batch, options.seed, run.rank, run.world)
        loss, stop = run.advance(data[0][mine].to(run.device), data[1][mine].to(run.device))
        run.note(loss=loss)
        if run.step % steps == 0 and run.rank == 0:
            held_loss, accuracy = run.judge(*held_out)
            run.note(epoch=run.step // steps, held_out_loss=held_loss, accuracy=accuracy)
            rate = (run.step - first) * options.batch / (time.monotonic() - began)
            text = "epoch {} of {}: loss {:.4f}, accuracy {:.1%}, {:.0f} examples a second"
            say(text.format(run.step // steps, options.epochs, loss, accuracy, rate))
        if stop or run.step % options.checkpoint_every == 0 or run.step == steps * options.epochs:
            run.save()
        if stop:
            return False
    if run.rank == 0:
        write_whole(run.model.state_dict(), options.out / "model.pt")
        loss, accuracy = run.judge(*data)
        print(json.dumps({"step": run.step, "loss": loss, "accuracy": run.judge(*held_out)[1], "world": run.world}))
    return True


def main(arguments=None):
    """Train, and tell by the exit status what came of it."""
    options = parse(arguments)
    try:
        device = choose_device(options.device, int(os.environ.get("LOCAL_RANK", "0")))
        options.precision = choose_precision(options.precision, device)
        rank, world = join(device)
        run = Run(options, device, rank, world)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(run, "stopping", True))
        status = 0 if train(run) else AGAIN
        if world > 1:
            dist.barrier()  # rank 0 has written all: if it could not, no process ends with 0
        return status
    except Refusal as error:
        say("train.py: {}".format(error))
        return CANNOT
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def leave(status):
    """End with a status, but without Python's own end.

    DistributedDataParallel leaves gloo's threads behind, even when the process group is destroyed. If one of them drops
    a Python object while Python ends, the process aborts, and a run that has finished counts as failed. Whatever
    raises an exception does not come here: it ends as usual, with a traceback.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    leave(main())
