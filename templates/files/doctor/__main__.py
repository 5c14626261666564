"""torchdev-doctor: what this container can and can't do, and why.

Each subject is a module with read(), which looks, and judge(), which decides; they are read at the same time.
Runs on Python 3.6, needs nothing but the standard library, and imports no torch unless --full is given.
"""

import argparse
import json
import subprocess
import sys
import threading
import time

import container
import gpu
import guard
import network
import packages
from finding import BUSY, FAULT, LIMIT, NOTE, OK, Finding, fault, limit

HERE = gpu.HERE
CONTRACT = "/usr/local/share/torchdev/contract.json"
WAIT, MORE = 2.4, 0.2
"""Seconds after which an answer is given up, unless --wait says otherwise; and what a subject may take beyond them."""
EPILOG = (
    "exit codes: 0 nothing is broken; 1 something is, or a required GPU can't be used; 2 this is no image of torchdev"
)


def read(contract, wait):
    """The facts of each subject, or its error; one that takes longer than `wait` seconds is left out."""
    found = {}
    subjects = {
        "gpu": lambda: gpu.read(wait),
        "container": lambda: container.read(wait),
        "network": lambda: network.read(wait),
        "packages": lambda: packages.read(contract),
        "guard": lambda: guard.read(contract, wait),
        "files": lambda: guard.read_files(contract),
    }

    def one(name, look):
        try:
            found[name] = look()
        except Exception as error:
            found[name] = error

    end = time.monotonic() + wait + MORE
    threads = [threading.Thread(target=one, args=subject, daemon=True) for subject in subjects.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))
    return dict(found)


def examine(contract, found, wait):
    """Every finding, in the order of the subjects; what was read took `wait` seconds at most."""
    findings = []
    subjects = {
        "gpu": gpu.judge,
        "container": container.judge,
        "network": network.judge,
        "packages": packages.judge,
        "guard": guard.judge,
        "files": guard.judge_files,
    }
    for name, judge in subjects.items():
        if name not in found:
            findings.append(limit(name, f"no answer within {wait + MORE:g} seconds", BUSY))
        elif isinstance(found[name], Exception):
            what = f"could not be examined: {type(found[name]).__name__}: {found[name]}"
            findings.append(fault(name, what))
        else:
            findings += judge(contract, found[name])
    return findings


def tried():
    """What trial.py found, with torch imported; a process that ends early is a finding, too."""
    done = subprocess.run(["python", "-B", HERE + "/trial.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    findings = [Finding(*json.loads(line)) for line in done.stdout.decode().splitlines() if line.startswith("[")]
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        findings.append(fault("torch", f"the trial ended with {done.returncode}: {last[0]}"))
    return findings


def required(findings):
    """With --gpu require, a GPU that can't be used is a fault."""
    return [one._replace(level=FAULT) if one.subject == "gpu" and one.level == LIMIT else one for one in findings]


def as_text(contract, findings):
    """A head of two lines, a finding a line with what to do below it, and the count of each level."""
    torch = contract["torch"]
    lines = [
        "{}: Python {}, PyTorch {}, CUDA {}, cuDNN {}".format(
            contract["cell"],
            contract["python"]["series"],
            torch["version"],
            torch["cuda"] or "none",
            torch["cudnn"] or "none",
        ),
        contract["support"],
        "",
    ]
    for one in findings:
        lines.append(f"{one.level:<6} {one.subject:<12} {one.what}")
        if one.next:
            lines.append("{:<20}next: {}".format("", one.next))
    counts = [(sum(one.level == level for one in findings), level) for level in (OK, NOTE, LIMIT, FAULT)]
    return "\n".join(lines + ["", ", ".join(f"{count} {level}" for count, level in counts if count)])


def as_json(contract, findings):
    """The same for programs."""
    head = {key: contract[key] for key in ("cell", "torch", "support")}
    return json.dumps(dict(head, findings=[one._asdict() for one in findings]), indent=2)


def seconds(text):
    """A time to wait, from the command line."""
    found = float(text)
    if not 0 < found <= 3600:
        raise argparse.ArgumentTypeError("more than 0 seconds, and 3600 at most")
    return found


def main():
    """Examine, print, and tell by the exit code."""
    parser = argparse.ArgumentParser(
        prog="torchdev-doctor", description="Say what this container can and can't do, and why.", epilog=EPILOG
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument(
        "--full", action="store_true", help="import torch, compute, compile, and compare installed files, too"
    )
    parser.add_argument(
        "--gpu", choices=("auto", "require"), default="auto", help="require: a GPU that can't be used is a fault"
    )
    parser.add_argument(
        "--wait", metavar="SECONDS", type=seconds, default=WAIT,
        help="how long to wait for a compiler, a driver, a network (%(default)s): more on a busy machine",
    )  # fmt: skip
    options = parser.parse_args()
    try:
        with open(CONTRACT) as file:
            contract = json.load(file)
    except (OSError, ValueError) as error:
        print(
            f"torchdev-doctor: {CONTRACT}: {error}; this is no image of torchdev, or it was changed",
            file=sys.stderr,
        )
        return 2
    findings = examine(contract, read(contract, options.wait), options.wait) + (tried() if options.full else [])
    if options.gpu == "require":
        findings = required(findings)
    print(as_json(contract, findings) if options.json else as_text(contract, findings))
    return int(any(one.level == FAULT for one in findings))


if __name__ == "__main__":
    sys.exit(main())
