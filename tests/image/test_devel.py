"""The devel variant compiles CUDA code into extensions that use the one CUDA there is."""

import json

import pytest
from testinfra.host import Host

from tests.image.conftest import Gpu
from torchdev.plan import Plan

pytestmark = pytest.mark.devel

EXTENSION = """
import json, pathlib, sys, torch
from torch.utils.cpp_extension import load_inline
source = '''
__global__ void twice_kernel(float* values, long count) {
    long i = blockIdx.x * (long)blockDim.x + threadIdx.x;
    if (i < count) values[i] *= 2;
}
torch::Tensor twice(torch::Tensor x) {
    auto y = x.clone();
    twice_kernel<<<(y.numel() + 255) / 256, 256>>>(y.data_ptr<float>(), y.numel());
    return y;
}
'''
module = load_inline("twice", "torch::Tensor twice(torch::Tensor x);", source, functions=["twice"])
result = {"code": b"sm_80" in pathlib.Path(module.__file__).read_bytes()}
maps = {line.split()[-1] for line in open("/proc/self/maps") if "libcudart" in line}
result["runtimes"] = sorted(maps)
if torch.cuda.is_available():
    x = torch.arange(1000.0, device="cuda")
    result["equal"] = bool(torch.equal(module.twice(x), x * 2))
print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def extension(host: Host) -> dict[str, object]:
    """What a program tells that compiles, loads and, on a GPU, runs a torch extension with a CUDA kernel."""
    host.check_output(f"cat > /tmp/extension.py <<'END'\n{EXTENSION}\nEND")
    # The GPU is not asked for its architecture, so that the code is the same with and without one.
    done = host.run("cd /tmp && TORCH_CUDA_ARCH_LIST=8.0+PTX python extension.py")
    assert done.rc == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_nvcc_is_of_the_cells_cuda(host: Host, plan: Plan) -> None:
    """Found by exec and in a login shell, and of the version that the tag names."""
    for shell in ("sh -c", "bash -lc"):
        assert f"release {plan.cell.cuda}," in host.check_output(f"{shell} 'nvcc --version'")


def test_extension_with_cuda_code_is_compiled_and_loaded(extension: dict[str, object]) -> None:
    """It holds code for the architecture that was asked for."""
    assert extension["code"] is True


def test_extension_uses_the_cuda_that_torch_uses(extension: dict[str, object]) -> None:
    """One CUDA runtime is loaded, that of the wheel."""
    runtimes = extension["runtimes"]
    assert isinstance(runtimes, list)
    assert len(runtimes) == 1
    assert runtimes[0].startswith("/usr/local/lib/python/site-packages/nvidia/")


def test_extension_runs_on_the_gpu(extension: dict[str, object], gpu: Gpu) -> None:
    """The kernel doubles a thousand numbers."""
    gpu.need()
    assert extension["equal"] is True
