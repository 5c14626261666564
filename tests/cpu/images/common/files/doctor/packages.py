"""What has changed since the image was built: packages, and what is found before them."""

import glob
import os
import re
import subprocess

from finding import fault, limit, note, ok
from guard import BUILT, OTHER, PACKAGES, text_of

LIBRARIES = ("libcudnn", "libcublas", "libcudart", "libnccl")
BESIDE = ("pip", "uv")
"""Packages of every image that are not among the cell's."""
SHADOWED = ("torch", "torchvision", "torchaudio", "triton", "numpy")
AGAIN = "for the image's own again, start a new container; " + OTHER
PROJECT = (
    "to use the image's: uv venv --system-site-packages, then uv pip install -r pyproject.toml, and uv run --no-sync"
)


def read(contract):
    """What is installed, and what Python, the loader, pip and uv would find before it."""
    site = contract["python"]["site_packages"]
    above = folders_above()
    return {
        "installed": installed(),
        "environments": {path: torch_of(path) for path in environments(above)},
        "project": next((path for path in above if wants_torch(path)), None),
        "shadows": [path for path in shadows(contract, above[:1]) if not path.startswith((site, PACKAGES))],
        "libraries": libraries(os.environ.get("LD_LIBRARY_PATH", "")),
        "preload": os.environ.get("LD_PRELOAD", ""),
        "python": first_python(),
        "debian": int(os.stat("/var/lib/dpkg/status").st_mtime) != BUILT,
    }


def installed():
    """Name to the versions of each distribution, by the names of their folders."""
    found = {}
    for path in sorted(glob.glob(PACKAGES + "/*.dist-info")):
        name, _, version = os.path.basename(path)[: -len(".dist-info")].rpartition("-")
        found.setdefault(re.sub("[-_.]+", "-", name).lower(), []).append(version)
    return found


def folders_above():
    """The current folder and those above it; none if it is there no longer."""
    try:
        folder = os.getcwd()
    except OSError:
        return []
    found = [folder]
    while found[-1] != "/":
        found.append(os.path.dirname(found[-1]))
    return found


def environments(above):
    """The environment that is activated, the one that uv is told of, and the one that uv would find."""
    named = [os.environ.get("VIRTUAL_ENV"), os.environ.get("UV_PROJECT_ENVIRONMENT")]
    near = [path + "/.venv" for path in above if os.path.isdir(path + "/.venv")][:1]
    return sorted({os.path.abspath(path) for path in named + near if path and os.path.isdir(path)})


def torch_of(environment):
    """[version, CUDA] of the torch that an environment has of its own; None if it has none."""
    for path in glob.glob(environment + "/lib/python*/site-packages/torch/version.py"):
        text = text_of(path)
        version = re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE)
        cuda = re.search(r"^cuda[^=]*= '([^']+)'", text, re.MULTILINE)
        return [version.group(1) if version else "?", cuda.group(1) if cuda else None]
    return None


def wants_torch(folder):
    """Whether a folder has a project that asks for torch."""
    return bool(re.search(r"""["']torch(vision|audio)?\b""", text_of(folder + "/pyproject.toml")))


def shadows(contract, current):
    """Modules that Python finds before the image's own: in the current folder, PYTHONPATH and the user's folder."""
    user = "{}/.local/lib/python{}/site-packages".format(os.environ.get("HOME", ""), contract["python"]["series"])
    found = []
    for folder in current + [path for path in os.environ.get("PYTHONPATH", "").split(":") if path] + [user]:
        for name in SHADOWED:
            found += [
                path
                for path in (folder + "/" + name + ".py", folder + "/" + name + "/__init__.py")
                if os.path.exists(path)
            ]
    return sorted(set(found))


def libraries(search_path):
    """CUDA libraries in the folders of LD_LIBRARY_PATH, and those that the loader's cache knows."""
    found = [
        path
        for folder in search_path.split(":")
        if folder
        for name in LIBRARIES
        for path in glob.glob(folder + "/" + name + "*.so*")
    ]
    try:
        listing = subprocess.run(
            ["/sbin/ldconfig", "-p"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ).stdout.decode()
    except OSError:
        listing = ""
    found += [line.split()[-1] for line in listing.splitlines() if line.strip().startswith(LIBRARIES)]
    return sorted(set(found))


def first_python():
    """The python that PATH names."""
    for folder in os.environ.get("PATH", "").split(":"):
        path = os.path.join(folder, "python")
        if os.access(path, os.X_OK):
            return path
    return None


def judge(contract, found):
    """What no longer is as the tag says, and what is used in its place."""
    findings = guarded(contract, found["installed"]) + others(contract, found)
    findings += [environment(contract, path, torch) for path, torch in found["environments"].items()]
    if found["project"] and not found["environments"]:
        what = "the project in {} asks for torch: uv sync and uv run install one of its own into .venv, unguarded"
        findings.append(note("project", what.format(found["project"]), PROJECT))
    findings += [
        fault(
            "torch",
            f"Python finds {path} before the image's own",
            "remove or rename it, or PYTHONPATH, or: python -s",
        )
        for path in found["shadows"]
    ]
    if found["libraries"]:
        what = "a second copy can be loaded: {}".format(" ".join(found["libraries"]))
        findings.append(fault("libraries", what, "take it out of LD_LIBRARY_PATH or remove it: PyTorch brings its own"))
    if found["preload"]:
        findings.append(note("libraries", "LD_PRELOAD is {}".format(found["preload"])))
    if not found["environments"] and found["python"] != "/usr/local/bin/python":
        findings.append(
            fault(
                "python",
                "python is {}, not the image's own".format(found["python"]),
                "put /usr/local/bin first in PATH",
            )
        )
    return findings


def is_guarded(name):
    """Whether the tag stands for this package."""
    return name in ("torch", "torchvision", "torchaudio", "triton") or name.startswith("nvidia-")


def guarded(contract, installed):
    """PyTorch and CUDA: each once, in the locked version."""
    wrong = []
    for name, version in contract["packages"].items():
        found = installed.get(name, [])
        if is_guarded(name) and found != [version]:
            wrong.append("{} is {}, not {}".format(name, " and ".join(found) or "gone", version))
    if wrong:
        return [fault("packages", "no longer what the tag says: {}".format("; ".join(wrong)), AGAIN)]
    return [ok("packages", "torch {} and what belongs to it are the locked ones".format(contract["packages"]["torch"]))]


def others(contract, found):
    """What else was installed, replaced or removed."""
    installed, locked = found["installed"], contract["packages"]
    changed = [
        "{} {} (was {})".format(name, " and ".join(installed.get(name, ["removed"])), version)
        for name, version in locked.items()
        if not is_guarded(name) and installed.get(name) != [version]
    ]
    added = [name for name in installed if name not in locked and name not in BESIDE]
    findings = []
    if changed:
        findings.append(note("packages", "changed since the image was built: {}".format("; ".join(changed))))
    if added:
        shown = ", ".join(sorted(added)[:8]) + (" ..." if len(added) > 8 else "")
        findings.append(note("packages", f"added since the image was built: {len(added)} ({shown})"))
    if found["debian"]:
        findings.append(note("debian", "Debian packages were installed, updated or removed since the image was built"))
    return findings


def environment(contract, path, torch):
    """An environment that stands before the image's own packages, and its torch."""
    if torch is None:
        return note("environment", f"{path} has no torch of its own")
    version, cuda = torch
    text = "{} has a torch of its own: {}, CUDA {}".format(path, version, cuda or "none")
    if contract["torch"]["cuda"] and cuda is None:
        return limit("environment", text + "; it computes on the CPU alone", PROJECT)
    return note("environment", text, PROJECT)
