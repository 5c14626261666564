"""Imports torch, computes, compiles, and compares every installed file with what its wheel named: a line of JSON each.

A process of its own, with the packages that users would get.
"""

import base64
import csv
import glob
import hashlib
import json
import os
import pathlib
import sys
import time

PACKAGES = "/usr/local/lib/python/packages"
OK, NOTE, LIMIT, FAULT = "ok", "note", "can't", "fault"


def say(level, subject, what, step=""):
    """Print a finding."""
    print(json.dumps([level, subject, what, step]), flush=True)


def attempt(subject, trial, *arguments):
    """Run a trial; whatever it raises is a fault."""
    began = time.time()
    try:
        what = trial(*arguments)
    except Exception as error:
        say(FAULT, subject, f"{type(error).__name__}: {str(error).strip()[:400]}")
    else:
        say(OK, subject, f"{what} ({time.time() - began:.1f} s)")


def versions(contract):
    """What torch says of itself is what the contract says."""
    import torch

    found = {"version": torch.__version__, "cuda": torch.version.cuda}
    if torch.version.cuda and contract["torch"]["cudnn"]:
        major, minor, patch = (int(part) for part in contract["torch"]["cudnn"].split(".")[:3])
        wanted = major * (10000 if major >= 9 else 1000) + minor * 100 + patch
        if torch.backends.cudnn.version() != wanted:
            raise RuntimeError(f"cuDNN {torch.backends.cudnn.version()} is loaded, not {wanted}")
    wrong = [
        "{} is {}, not {}".format(key, found[key], contract["torch"][key])
        for key in found
        if found[key] != contract["torch"][key]
    ]
    if wrong:
        raise RuntimeError("; ".join(wrong) + f" (from {os.path.dirname(torch.__file__)})")
    return f"torch {torch.__version__} imports from {os.path.dirname(torch.__file__)}"


def computes(device):
    """A product and a convolution agree with what they are by hand."""
    import torch

    ones = torch.ones(64, 64, device=device)
    if not bool(((ones @ ones) == 64).all()):
        raise RuntimeError("a product of matrices is wrong")
    image, kernel = torch.ones(1, 1, 8, 8, device=device), torch.ones(1, 1, 3, 3, device=device)
    if not bool((torch.nn.functional.conv2d(image, kernel) == 9).all()):
        raise RuntimeError("a convolution is wrong")
    name = torch.cuda.get_device_name(device) if device != "cpu" else "the CPU"
    return f"{name} multiplies and convolves"


def compiles(device):
    """torch.compile makes code for a device that gives the same numbers."""
    import torch

    def program(x):
        return torch.sin(x) + torch.cos(x).relu()

    x = torch.linspace(-3, 3, 1000, device=device)
    if not torch.allclose(torch.compile(program)(x), program(x), atol=1e-5):
        raise RuntimeError("torch.compile computes other numbers")
    return f"torch.compile works on {device}"


def digest(path):
    """sha256 of a file as RECORD writes it."""
    found = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            found.update(block)
    return "sha256=" + base64.urlsafe_b64encode(found.digest()).rstrip(b"=").decode()


def left_out(path, contract):
    """Whether the image lacks a file of its wheels on purpose, as the contract says; * stops at a slash."""
    return any(pathlib.PurePosixPath(path).match(glob) for glob in contract["left_out"])


def files(contract):
    """Every file of site-packages is the one that its wheel named; large ones are compared by size."""
    site, changed, count = contract["python"]["site_packages"], [], 0
    packages, kept = PACKAGES + "/*.dist-info/RECORD", "/usr/local/share/torchdev/records/*.csv"
    found = [(PACKAGES, path) for path in glob.glob(packages)] + [(site, path) for path in glob.glob(kept)]
    for folder, record in sorted(found):
        with open(record, newline="", encoding="utf-8") as file:
            for path, sha256, size in (row[:3] for row in csv.reader(file)):
                place = os.path.normpath(os.path.join(folder, path))
                if not sha256 or path.endswith(".pyc") or left_out(path, contract):
                    continue
                count += 1
                try:
                    same = os.path.getsize(place) == int(size or 0) and (
                        int(size or 0) > 1 << 20 or digest(place) == sha256
                    )
                except OSError:
                    same = False
                if not same:
                    changed.append(place)
    if changed:
        shown = " ".join(sorted(changed)[:5]) + (" ..." if len(changed) > 5 else "")
        say(NOTE, "files", f"{len(changed)} of {count} installed files are gone or were edited: {shown}")
    else:
        say(OK, "files", f"{count} installed files are those of their wheels")


def main():
    """Everything that takes longer than three seconds."""
    with open("/usr/local/share/torchdev/contract.json") as file:
        contract = json.load(file)
    attempt("torch", versions, contract)
    import torch

    devices = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if contract["torch"]["cuda"] and not devices:
        say(LIMIT, "torch", "torch sees no GPU, so nothing was tried on one")
    for device in ["cpu"] + devices:
        attempt("torch", computes, device)
    if hasattr(torch, "compile"):
        for device in ["cpu"] + devices[:1]:
            attempt("compile", compiles, device)
    files(contract)


if __name__ == "__main__":
    sys.exit(main())
