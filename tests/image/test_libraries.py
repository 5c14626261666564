"""The libraries: every extension module loads, there is one CUDA and one cuDNN, and errors in them have names."""

import re
from typing import Any

import pytest
from testinfra.host import Host

from tests.image.conftest import result
from torchdev.catalog.versions import order
from torchdev.image.plan import Plan

LIBRARIES = (
    "libcublas", "libcudart", "libcudnn", "libcufft", "libcurand", "libcusolver", "libcusparse", "libnccl",
    "libnvjitlink", "libnvrtc", "libnvshmem",
)  # fmt: skip
"""Of CUPTI, Triton's wheel has copies of its own, which its profiler opens by path."""
STACKS_FROM = order("2.8")
"""The first PyTorch whose C++ stacks were looked at."""


@pytest.fixture(scope="module")
def modules(host: Host, forks: str) -> dict[str, Any]:
    """What importing every extension module, and asking every libcudnn, has told."""
    return result(host, "modules.py", forks)


def test_every_extension_module_of_python_imports(modules: dict[str, Any]) -> None:
    """All extension modules import, including those that a Python lacks if it was compiled without a library."""
    assert len(modules["modules"]) > 30
    assert {name: why for name, why in modules["modules"].items() if why} == {}


@pytest.mark.cuda
def test_all_of_cudnn_is_of_one_version(modules: dict[str, Any], contract: dict[str, Any]) -> None:
    """Each libcudnn that exports cudnnGetVersion returns the same version (libcudnn_ext exports none)."""
    found = modules["cudnn"]
    assert len({answer for answer in found.values() if answer is not None}) == 1, found
    silent = [path for path, answer in found.items() if answer is None]
    assert all("libcudnn_ext" in path for path in silent)
    if any(name.startswith("nvidia-cudnn-") for name in contract["packages"]):
        assert len({path.rpartition("/")[0] for path in found}) == 1


def test_one_cuda_is_loadable(host: Host, plan: Plan) -> None:
    """No CUDA library is on the loader's default paths, and none exists twice under one name."""
    assert not [
        line for line in host.check_output("ldconfig -p").splitlines() if any(name in line for name in LIBRARIES)
    ]
    pattern = " -o ".join(f"-name '{name}*.so*'" for name in LIBRARIES)
    found = host.check_output(f"find / -xdev -type f \\( {pattern} \\) 2> /dev/null || true").split()
    names = [path.rpartition("/")[2] for path in found]
    assert sorted(names) == sorted(set(names))
    assert bool(names) == (plan.cell.cuda is not None)


def test_errors_name_the_functions_that_raised_them(host: Host, plan: Plan) -> None:
    """C++ stack traces name the right functions, which needs symbol tables for those that a library does not export."""
    if order(plan.cell.torch) < STACKS_FROM:
        pytest.skip("stacks of PyTorch before 2.8 were not looked at")
    failed = host.run("TORCH_SHOW_CPP_STACKTRACES=1 python -c 'import torch; torch.ones(2) @ torch.ones(3)'")
    frames = [line for line in failed.stderr.splitlines() if re.match(r"#\d+ at::", line)]
    assert frames, failed.stderr
    assert "at::native::dot_check(" in frames[0]


@pytest.mark.cuda
def test_no_driver_library_is_shipped(untouched: Host) -> None:
    """The driver's libraries come from the host, by the NVIDIA toolkit; stubs that are for linking lie in stubs."""
    names = " -o ".join(f"-name '{name}.so*'" for name in ("libcuda", "libnvidia-ml", "libnvidia-ptxjitcompiler"))
    assert untouched.check_output(f"find / -xdev \\( {names} \\) -not -path '*/stubs/*' -print") == ""
