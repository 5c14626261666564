"""Asks each tool where its cache is and puts a file there; with `compile`, torch.compile fills its own. Prints JSON."""

import glob
import json
import os
import subprocess
import sys


def said_by(*command):
    """What a program prints."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
    return done.stdout.decode().strip()


def inductor():
    """The folder of torch.compile, which PyTorch makes when it is asked; none before 2.0."""
    import torch

    if int(torch.__version__.split(".")[0]) < 2:
        return None
    from torch._inductor.codecache import cache_dir

    return cache_dir()


def triton():
    """The folder in which Triton has put what it was given; none where there is no Triton, or one before 2.1."""
    try:
        from triton.runtime import cache
    except ImportError as error:
        if (error.name or "").startswith("triton"):
            return None
        raise
    return os.path.dirname(cache.get_cache_manager("0" * 64).put(b"kernel", "kernel.cubin"))


def put(folder):
    """Why no file can be made in a folder; none if it can."""
    try:
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, "written-by-a-check")
        with open(path, "w"):
            pass
        os.remove(path)
    except OSError as error:
        return str(error)
    return None


def compiled():
    """What torch.compile left in its cache, and whether it found it there: libraries, hits and misses."""
    import torch
    from torch._dynamo.utils import counters

    x = torch.linspace(-3, 3, 1000)
    right = torch.allclose(torch.compile(compute)(x), compute(x), atol=1e-5)
    libraries = glob.glob(os.path.join(inductor(), "**", "*.so"), recursive=True)
    met = counters["inductor"]
    return {
        "right": right,
        "libraries": libraries,
        "hits": met["fxgraph_cache_hit"],
        "misses": met["fxgraph_cache_miss"],
    }


def compute(x):
    """Something to compile."""
    return x.sin() + x.cos().relu()


def main():
    """Ask and tell."""
    folders = {
        "HOME": os.environ.get("HOME", ""),
        "pip": said_by(sys.executable, "-m", "pip", "cache", "dir"),
        "uv": said_by("uv", "cache", "dir"),
        "inductor": inductor(),
        "triton": triton(),
    }
    found = {"folders": {name: path for name, path in folders.items() if path is not None}}
    found["refused"] = {name: why for name, path in found["folders"].items() for why in [put(path)] if why}
    if "compile" in sys.argv:
        found["compiled"] = compiled()
    print(json.dumps(found))


main()
