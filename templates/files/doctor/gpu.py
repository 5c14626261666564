"""The GPU: which driver there is, what it answers, and whether this image's PyTorch can use it."""

import glob
import json
import os
import re
import subprocess

from finding import fault, limit, ok

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = "/usr/local/bin/python3"
"""Seconds that the driver has to answer; a healthy one needs a tenth of one."""
GIVE = (
    "docker run --gpus all ..., or --device nvidia.com/gpu=all where the host has CDI; "
    "in Kubernetes: resources.limits nvidia.com/gpu"
)
OLDER = (
    "update the host's driver, or take an image for an older CUDA (in a checkout: python build.py explain --driver {})"
)

NO_DEVICE, SYSTEM_NOT_READY, DRIVER_MISMATCH, COMPAT_NOT_SUPPORTED, STUB = 100, 802, 803, 804, 34
"""CUDA's error codes (cuda.h)."""
ERRORS = {
    STUB: ("it is the stub that programs are linked with, not the driver's", "take its folder out of LD_LIBRARY_PATH"),
    NO_DEVICE: ("it sees no GPU", "see NVIDIA_VISIBLE_DEVICES and CUDA_VISIBLE_DEVICES, and nvidia-smi on the host"),
    SYSTEM_NOT_READY: ("the system is not ready", "with NVSwitch: systemctl start nvidia-fabricmanager, on the host"),
    DRIVER_MISMATCH: (
        "the library and the kernel's driver are of different versions: the driver was updated while in use",
        "reboot the host (or unload and load its nvidia modules), then start a new container",
    ),
    COMPAT_NOT_SUPPORTED: (
        "a library of the package cuda-compat is loaded, which serves data center GPUs alone, and this GPU is none",
        "take the folder of cuda-compat out of LD_LIBRARY_PATH, or update the host's driver",
    ),
}  # fmt: skip
"""What an error of cuInit means here, and what to do."""


def read(wait):
    """What the kernel, the environment and the driver's library say."""
    return {
        "nodes": sorted(glob.glob("/dev/nvidia[0-9]*") + glob.glob("/dev/dxg")),
        "kernel": kernel_driver(),
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "capabilities": os.environ.get("NVIDIA_DRIVER_CAPABILITIES"),
        "cuda": ask_driver(wait),
    }


def kernel_driver():
    """The version of the kernel's driver on the host; None if there is none, or it can't be seen."""
    try:
        with open("/proc/driver/nvidia/version") as file:
            found = re.search(r"\s(\d+\.\d+(\.\d+)?)\s", file.read())
    except OSError:
        return None
    return found.group(1) if found else None


def ask_driver(wait):
    """What cuda.py prints in `wait` seconds; `error` says why it loaded no library or, if `stuck`, did not answer."""
    command = [PYTHON, "-IBS", os.path.join(HERE, "cuda.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        try:
            text, why = child.communicate(timeout=wait)[0], None
        except subprocess.TimeoutExpired:
            child.kill()
            text, why = child.communicate()[0], f"does not answer within {wait:g} seconds"
    found = last_line(text)
    if why is None and (child.returncode or not found):
        why = f"ended its process ({child.returncode})"
    return dict(found, error=f"the driver's library {why}", stuck=True) if why else found


def last_line(text):
    """What the last line of JSON says; nothing if there is none."""
    try:
        return json.loads(text.decode().splitlines()[-1])
    except (ValueError, IndexError):
        return {}


def judge(contract, found):
    """Whether PyTorch can use a GPU here, and if not, why."""
    torch = contract["torch"]
    there = found["nodes"] or found["cuda"].get("devices")
    if torch["cuda"] is None:
        step = "take an image with CUDA" if there else ""
        return [limit("gpu", "this image computes on the CPU: its PyTorch has no CUDA", step)]
    if found["cuda"].get("init") is None:
        return [no_library(found)]
    if found["cuda"]["init"] != 0:
        return [refused(found)]
    return driver(torch, found["cuda"], found["kernel"]) + [
        device(torch, found["cuda"], one) for one in found["cuda"]["devices"]
    ]


def no_library(found):
    """Why there is no driver's library that answers."""
    if found["cuda"].get("stuck") and (found["nodes"] or found["kernel"] or found["cuda"].get("path")):
        return fault("gpu", found["cuda"]["error"], "nvidia-smi on the host; dmesg there")
    if found["nodes"]:
        what = "{} is here, but the driver's library libcuda.so.1 is not".format(found["nodes"][0])
        step = "the NVIDIA Container Toolkit brings it: " + GIVE
        if found["capabilities"] and not {"compute", "all"} & set(found["capabilities"].split(",")):
            step = "NVIDIA_DRIVER_CAPABILITIES is {}: it must include compute".format(found["capabilities"])
        return fault("gpu", what, step)
    if found["kernel"]:
        what = "the host has NVIDIA driver {}, but this container was given no GPU".format(found["kernel"])
        return limit("gpu", what, GIVE)
    return limit(
        "gpu", "this container was given no GPU, and no NVIDIA driver can be seen", "on a host that has one: " + GIVE
    )


def refused(found):
    """What the driver's library answered to cuInit."""
    code, path = found["cuda"]["init"], found["cuda"]["path"]
    if found["visible"] in ("", "-1") and code == NO_DEVICE:
        return limit(
            "gpu", "CUDA_VISIBLE_DEVICES={} hides every GPU".format(found["visible"]), "unset CUDA_VISIBLE_DEVICES"
        )
    why, step = ERRORS.get(code, ("see the error codes of CUDA's driver API", "nvidia-smi on the host; dmesg there"))
    versions = [text for text in (found["kernel"] and "kernel " + found["kernel"], path) if text]
    return fault("gpu", "CUDA error {}: {} ({})".format(code, why, ", ".join(versions)), step)


def driver(torch, cuda, kernel):
    """Whether the driver is new enough: it serves every CUDA of its own major version, and older ones."""
    version, wanted = cuda["version"], int(torch["cuda"].split(".")[0])
    name = cuda["driver"] or kernel or "of an unknown version"
    serves = f"{version // 1000}.{version % 1000 // 10}"
    if version // 1000 < wanted:
        what = "driver {} serves CUDA up to {}; this image has CUDA {}, which needs {}".format(
            name,
            serves,
            torch["cuda"],
            "driver {minimum_driver}".format(**torch) if torch["minimum_driver"] else "a newer one",
        )
        return [fault("driver", what, OLDER.format(name.split(".")[0] if name[0].isdigit() else "VERSION"))]
    return [ok("driver", f"driver {name} serves CUDA {serves}")]


def device(torch, cuda, one):
    """Whether PyTorch has code for a GPU."""
    name = "{} (sm_{}{}, {:.0f} GB)".format(one["name"], one["capability"][0], one["capability"][1], one["bytes"] / 1e9)
    if not torch["architectures"]:
        return ok("gpu", name + "; which GPUs this PyTorch is compiled for is not known, --full tries it")
    form = code_for(torch["architectures"], tuple(one["capability"]))
    if form == "":
        what = "{}: this PyTorch has no code for it, but for {}".format(name, " ".join(torch["architectures"]))
        capability = "{}.{}".format(*one["capability"])
        return fault("gpu", what, f"take an image that has (in a checkout: python build.py explain --gpu {capability})")
    major, minor = torch["cuda"].split(".")[:2]
    if form.startswith("compute_") and cuda["version"] < int(major) * 1000 + int(minor) * 10:
        what = "{}: PyTorch has for it only {}, which a driver for CUDA {} or newer can compile".format(
            name, form, torch["cuda"]
        )
        return fault("gpu", what, "update the host's driver")
    return ok("gpu", f"{name}: code for {form}")


def code_for(architectures, capability):
    """What of a build runs on a GPU: sm_80 on each 8.x from 8.0 on, compute_90 on all from 9.0 on, sm_90a on 9.0 alone.

    An empty text if nothing does.
    """
    best = ""
    for name in architectures:
        kind, _, number = name.partition("_")
        digits = number.rstrip("af")
        own = (int(digits[:-1]), int(digits[-1]))
        exact = number.endswith("a")
        binary = kind == "sm" and own[0] == capability[0] and (own == capability if exact else own <= capability)
        if binary or (kind == "compute" and own <= capability and not best):
            best = name
    return best
