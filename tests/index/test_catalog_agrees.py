"""The catalog against the wheels on PyPI themselves, of which each test reads some anew, by its own means."""

import os
import random
import re
from email.parser import HeaderParser

import pytest
from packaging.requirements import Requirement
from pypi_simple import PYPI_SIMPLE_ENDPOINT, DistributionPackage, PyPISimple
from remotezip import RemoteZip

from torchdev.catalog import releases
from torchdev.wheels.host import Host

PAIRS = 30
SEED = os.environ.get("TORCHDEV_SEED", str(random.randrange(1_000_000)))
"""Given to repeat a draw; it is part of each test's name."""
PYTHONS = ("3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15")
DRAWN = random.Random(SEED).sample([(t, p) for t in releases.known() for p in PYTHONS], PAIRS)


@pytest.fixture(scope="session")
def wheels(host: Host) -> "dict[tuple[str, str], DistributionPackage]":
    """(PyTorch, Python) to the x86_64 wheel that PyPI lists."""
    with PyPISimple(host.index or PYPI_SIMPLE_ENDPOINT) as client:
        page = client.get_project_page("torch")
    found = {}
    for package in page.packages:
        match = re.fullmatch(r"torch-([0-9.]+)(-\d+)?-cp3(\d+)-cp3\d+m?-\w*linux\w*_x86_64\.whl", package.filename)
        if match and not package.is_yanked:
            found[match[1], f"3.{match[3]}"] = package
    return found


@pytest.mark.parametrize(("torch", "python"), DRAWN, ids=[f"{SEED}-torch{t}-py{p}" for t, p in DRAWN])
def test_catalog_says_what_the_wheel_says(
    wheels: "dict[tuple[str, str], DistributionPackage]", torch: str, python: str
) -> None:
    """Whether there is a wheel, and if so its CUDA, cuDNN and NCCL."""
    ours = [
        c for c in releases.all_combinations()
        if (c.torch, c.python, c.arch, c.build.origin) == (torch, python, "amd64", "pypi")
    ]  # fmt: skip
    assert bool(ours) == ((torch, python) in wheels)
    if ours:
        cuda, cudnn, nccl = read(wheels[torch, python])
        # A cuDNN inside the wheel, as before 1.13, is named by no METADATA; the catalog has it from elsewhere.
        pinned = [(c.cuda, None if c.build.inside else c.build.cudnn, c.build.nccl) for c in ours]
        assert pinned == [(cuda, cudnn, nccl)]


def read(package: DistributionPackage) -> "tuple[str | None, str | None, str | None]":
    """CUDA by torch/version.py, cuDNN and NCCL by METADATA, as the wheel has them."""
    with RemoteZip(package.url) as archive:
        info = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(info).decode())
        version = archive.read("torch/version.py").decode()
    cuda = re.search(r"^cuda\b[^=]*= '([0-9.]+)'", version, re.MULTILINE)
    pins = {}
    for requirement in map(Requirement, metadata.get_all("Requires-Dist") or []):
        for name in ("cudnn", "nccl"):
            if requirement.name.startswith(f"nvidia-{name}-"):
                pins[name] = str(requirement.specifier).removeprefix("==")
    return cuda[1] if cuda else None, pins.get("cudnn"), pins.get("nccl")
