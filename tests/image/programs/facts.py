"""What torch, and the Python that runs it, say of themselves: JSON on standard output. Runs on Python 3.6, too."""

import csv
import glob
import json
import os
import platform
import re
import sys
import sysconfig

import elf
import torch

SITE = os.path.realpath(os.path.dirname(os.path.dirname(torch.__file__)))
PACKAGES = os.path.realpath(sysconfig.get_path("purelib"))
"""Where installers work, and see what is installed."""
LEGACY = {"manylinux1": 5, "manylinux2010": 12, "manylinux2014": 17}


def dynamic_strings(path):
    """The names that a library imports and exports, of which symbol versions are a part."""
    tables = [section for section in elf.sections(path) if section.kind == elf.STRINGS and section.loaded]
    return b"".join(elf.content(path, table) for table in tables)


def symbols():
    """Each library below site-packages, and whether it has a symbol table or debug information for debuggers."""
    found = {}
    for folder, _, names in os.walk(SITE):
        for path in (os.path.join(folder, name) for name in names if ".so" in name):
            if os.path.isfile(path) and not os.path.islink(path):
                found[os.path.relpath(path, SITE)] = any(section.of_debuggers for section in elf.sections(path))
    return found


def needed_glibc():
    """The minor version of glibc 2 that torch's libraries ask for, or that its wheel's tag names, if that is newer."""
    libraries = glob.glob(SITE + "/torch/lib/*.so*") + glob.glob(SITE + "/torch/_C*.so")
    found = [int(n) for path in libraries for n in re.findall(rb"\0GLIBC_2\.(\d+)", dynamic_strings(path))]
    for path in glob.glob(PACKAGES + "/torch-*.dist-info/WHEEL"):
        with open(path) as file:
            for tag in re.findall("manylinux[0-9_]*", file.read()):
                found.append(int(tag.split("_")[2]) if "_2_" in tag else LEGACY.get(tag.rstrip("_"), 0))
    return "2.{}".format(max(found))


def distributions():
    """[name, version] of every installed distribution, as its METADATA says, one that is there twice, too."""
    found = []
    for path in sorted(glob.glob(PACKAGES + "/*.dist-info/METADATA") + glob.glob(SITE + "/*.dist-info/METADATA")):
        with open(path, encoding="utf-8") as file:
            head = file.read().split("\n\n")[0]
        name = re.search("^Name: *(.+)$", head, re.MULTILINE).group(1)
        version = re.search("^Version: *(.+)$", head, re.MULTILINE).group(1)
        found.append([re.sub("[-_.]+", "-", name).lower(), version.strip()])
    return found


def recorded():
    """Paths below site-packages that RECORDs list: those that are there, and those that are not."""
    found = {"there": [], "absent": []}
    records = [(PACKAGES, path) for path in glob.glob(PACKAGES + "/*.dist-info/RECORD")]
    records += [(SITE, path) for path in glob.glob("/usr/local/share/torchdev/records/*.csv")]
    for site, record in records:
        with open(record, newline="", encoding="utf-8") as file:
            for row in csv.reader(file):
                if not row[0].startswith("..") and not row[0].endswith(".pyc"):
                    found["there" if os.path.exists(os.path.join(site, row[0])) else "absent"].append(row[0])
    return found


def nccl():
    """The version of the NCCL that torch is linked with; None if it has none."""
    try:
        return ".".join(str(part) for part in torch.cuda.nccl.version())
    except (AttributeError, RuntimeError):
        return None


flags = getattr(torch._C, "_cuda_getArchFlags", lambda: None)()
json.dump(
    {
        "python": platform.python_version(),
        "site_packages": SITE,
        "executable": sys.executable,
        "distributions": distributions(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "nccl": nccl(),
        "architectures": flags.split() if flags else [],
        "needs_glibc": needed_glibc(),
        "recorded": recorded(),
        "symbols": symbols(),
        "has_glibc": os.confstr("CS_GNU_LIBC_VERSION").split()[1],
    },
    sys.stdout,
)
