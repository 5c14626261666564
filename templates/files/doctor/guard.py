"""Whether PyTorch and CUDA are kept: what is in force when Python, pip and uv run, and what was changed.

Nothing here trusts a setting: Python, pip and uv are asked, and files are looked at.
"""

import csv
import fnmatch
import glob
import json
import os
import re
import subprocess

from finding import BUSY, fault, limit, note, ok

BUILT = 1577836800
"""The time of every file that the build wrote (2020-01-01 UTC)."""
FOLDER = "/usr/local/lib/python"
PACKAGES = FOLDER + "/packages"
"""Where installers work, and see all that is installed."""
RECORDS = "/usr/local/share/torchdev/records"
BOUNDS = "/usr/local/share/torchdev/constraints.txt"
SWITCH = "torchdev-unguard"
ANOTHER = "torch==0"
"""A requirement that can't be met. uv repeats it, and beside it, if it is guarded, the version that must stay."""
PROBE = """
import importlib.util, json, os
torch = importlib.util.find_spec("torch")
try:
    import pip
except ImportError:
    pip = None
bounds = os.environ.get("PIP_CONSTRAINT", "").split()
print(json.dumps({"torch": torch and torch.origin, "pip": pip and bounds}))
"""
OTHER = (
    "for another PyTorch, an environment of your own: "
    "python -m venv --system-site-packages ~/env && . ~/env/bin/activate"
)
AGAIN = "start a new container; if it is so in its image, too, build that anew from one of torchdev; or " + OTHER
NEEDED = re.compile(r"^([a-z0-9-]+)((?:[<>=!~]=?|===)[^#]+)$")
BOUND = re.compile(r"([<>=!~]=?)\s*([0-9]+(?:\.[0-9]+)*)(\.\*)?")


def read(contract, wait):
    """What Python, pip and uv would do, each within `wait` seconds, and which packages are out of PyTorch's bounds."""
    lines = text_of(BOUNDS).splitlines()
    return {
        "python": probed(wait),
        "uv": asked_uv(wait),
        "wait": wait,
        "bounds": [line for line in lines if line and not line.startswith("#")],
        "removable": [os.path.basename(path)[:-4] for path in records() if os.path.exists(info_of(path) + "/RECORD")],
        "unguarded": SWITCH in text_of(PACKAGES + "/zzz-torchdev.pth"),
        "needed": needed(lines),
    }


def text_of(path):
    """The text of a file; empty where it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def records():
    """The RECORD of each distribution that is kept."""
    return sorted(glob.glob(RECORDS + "/*.csv"))


def info_of(record):
    """The .dist-info that shows a kept distribution to installers."""
    return "{}/{}.dist-info".format(PACKAGES, os.path.basename(record)[: -len(".csv")])


def environment():
    """Variables without those of environments, and of folders that users add, of which packages.py tells."""
    own = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME")
    return {key: value for key, value in os.environ.items() if key not in own}


def output_of(command, wait):
    """What a command in the root folder writes; empty where it can't be run or does not end in time."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=environment(), cwd="/", timeout=wait,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace")


def probed(wait):
    """Where the image's own Python finds torch, and which bounds its pip has; empty if it does not answer."""
    said = output_of(["/usr/local/bin/python3", "-s", "-c", PROBE], wait).splitlines()
    lines = [line for line in said if line.startswith("{")]
    return json.loads(lines[-1]) if lines else {}


def asked_uv(wait):
    """What uv says when the image's own Python shall have another torch."""
    offline = ["--offline", "--no-index", "--no-cache", "--dry-run"]
    return output_of(["uv", "pip", "install", "--system"] + offline + [ANOTHER], wait)


def needed(lines):
    """[name, bounds, version] of what torch needs and what is there; the version is empty where it was removed."""
    there = {}
    for path in glob.glob(PACKAGES + "/*.dist-info"):
        name, _, version = os.path.basename(path)[: -len(".dist-info")].partition("-")
        there[re.sub("[-_.]+", "-", name).lower()] = version
    matches = [NEEDED.match(line) for line in lines if "===" not in line]
    return [[match.group(1), match.group(2), there.get(match.group(1), "")] for match in matches if match]


def read_files(contract):
    """How many files of PyTorch and CUDA there are, and which are gone or were written since the build."""
    changed, count, site = [], 0, contract["python"]["site_packages"]
    for record in records():
        with open(record, newline="", encoding="utf-8") as file:
            names = [row[0] for row in csv.reader(file)]
        for name in names:
            if name.endswith((".pyc", "/RECORD")):
                continue
            path = os.path.normpath(os.path.join(site, name))
            count += 1
            try:
                same = int(os.stat(path).st_mtime) == BUILT
            except OSError:
                same = any(fnmatch.fnmatchcase(name, pattern) for pattern in contract["left_out"])
            if not same:
                changed.append(path)
    return {"count": count, "changed": changed}


def judge(contract, found):
    """Whether all is kept, or how it is not."""
    findings = missing(found["needed"])
    if found["unguarded"]:
        return findings + [note("guard", "taken away by {}: pip and uv may replace PyTorch".format(SWITCH))]
    off = loose(contract, found)
    if off:
        return findings + [fault("guard", "; ".join(off), AGAIN)]
    if not (found["python"] and found["uv"]):
        silent = " and ".join(name for name in ("python", "uv") if not found[name])
        return findings + [limit("guard", "{} did not answer within {:g} seconds".format(silent, found["wait"]), BUSY)]
    return findings + [ok("guard", "pip and uv keep PyTorch as it is", OTHER)]


def loose(contract, found):
    """What would replace PyTorch, in the words of a finding."""
    version, python = contract["packages"]["torch"], found["python"]
    off = []
    if python:
        pinned = "torch==={}".format(version) in found["bounds"]
        if python["pip"] is not None and not (pinned and BOUNDS in python["pip"]):
            off.append("pip would replace PyTorch")
        if not (python["torch"] or "").startswith(contract["python"]["site_packages"] + "/"):
            off.append("Python would import torch from {}".format(python["torch"] or "nowhere"))
    if ANOTHER in found["uv"] and version not in found["uv"]:
        off.append("uv would replace PyTorch")
    if found["removable"]:
        off.append("installers may remove {}".format(", ".join(found["removable"])))
    return off


def judge_files(contract, found):
    """Whether the files of PyTorch and CUDA are those of the build."""
    if found["changed"]:
        shown = " ".join(found["changed"][:3]) + (" ..." if len(found["changed"]) > 3 else "")
        what = "{} of {} files of PyTorch and CUDA were changed or removed since the image was built: {}"
        return [fault("files", what.format(len(found["changed"]), found["count"], shown), AGAIN)]
    return [ok("files", "{} files of PyTorch and CUDA are as the build wrote them".format(found["count"]))]


def missing(needed):
    """What PyTorch needs and has not, or has in a version that it does not take."""
    findings = []
    for name, bounds, version in needed:
        step = 'pip install "{}{}"'.format(name, bounds)
        if not version:
            what = "{} was removed; PyTorch goes on with a copy that the image has kept"
            findings.append(note("needed", what.format(name), step))
        elif not within(version, bounds):
            what = "PyTorch needs {}{}, and {} is installed"
            findings.append(fault("needed", what.format(name, bounds, version), step))
    return findings


def numbers(version):
    """The release of a version, as numbers, without zeros at its end."""
    found = [int(part) for part in re.match(r"[0-9.]*", version).group().split(".") if part]
    while found and found[-1] == 0:
        found.pop()
    return found


def within(version, bounds):
    """Whether a version's release lies within bounds such as >=1.2,!=1.5 (what is not understood, allows it)."""
    own = numbers(version)
    for sign, bound, star in BOUND.findall(bounds):
        other = numbers(bound)
        if star or sign == "~=":
            least = other if star else other[:-1] if len(bound.split(".")) == len(other) else other
            alike = own[: len(least)] == least
        else:
            alike = own == other
        holds = {
            ">=": own >= other, "<=": own <= other, ">": own > other, "<": own < other,
            "==": alike, "!=": not alike, "~=": alike and own >= other,
        }  # fmt: skip
        if not holds.get(sign, True):
            return False
    return True
