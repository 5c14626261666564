"""The devel variant compiles CUDA code into extensions that use the one CUDA there is."""

import json
import subprocess
import sys

import pytest
from testinfra.host import Host

from tests.image.conftest import Gpu
from torchdev.image.plan import Plan

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


PROGRAM = """
#include <cstdio>
__global__ void twice(float* values) { values[threadIdx.x] *= 2; }
int main() { twice<<<1, 1>>>(nullptr); return cudaDeviceSynchronize() == cudaSuccess; }
"""
DRIVER = """
#include <cuda.h>
extern "C" int devices() { int count; return cuDeviceGetCount(&count); }
"""
NVCC = ["nvcc", "$(realpath $(command -v nvcc))", "/usr/local/lib/python/site-packages/nvidia/cu*/bin/nvcc"]
"""The ways to name nvcc: by PATH, by the file that it truly is, and where its wheel has it."""
CMAKE = """
cmake_minimum_required(VERSION 3.24)
project(check LANGUAGES CXX)
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
add_executable(check program.cu)
target_link_libraries(check CUDA::cudart CUDA::cublas CUDA::nvrtc CUDA::cuda_driver)
file(WRITE ${CMAKE_BINARY_DIR}/found "${CUDAToolkit_VERSION} ${CUDAToolkit_LIBRARY_DIR}")
"""
MESON = """
project('check', 'cpp', 'cuda')
executable('check', 'program.cu', dependencies: dependency('cuda', modules: ['cublas', 'cuda'], static: false))
"""
SETUP = """
from setuptools import setup
from torch.utils.cpp_extension import CUDA_HOME, BuildExtension, CUDAExtension
assert CUDA_HOME == "/usr/local/cuda", CUDA_HOME
own = CUDAExtension("own", ["own.cpp", "kernel.cu"], libraries=["cuda", "cublas"])
setup(name="own", ext_modules=[own], cmdclass={"build_ext": BuildExtension})
"""
OWN = {
    "kernel.cu": "__global__ void k() {} void launch() { k<<<1, 1>>>(); }",
    "own.cpp": "#include <Python.h>\n#include <cuda.h>\nvoid launch();\n"
    'static PyModuleDef own = {PyModuleDef_HEAD_INIT, "own"};\n'
    "PyMODINIT_FUNC PyInit_own() { launch(); cuInit(0); return PyModule_Create(&own); }",
}


def put(host: Host, folder: str, **files: str) -> None:
    """Write files, by names in which _ stands for a dot, into a folder of the container."""
    host.check_output(f"mkdir -p {folder}")
    for name, text in files.items():
        host.check_output(f"cat > {folder}/{name.replace('_', '.')} <<'END'\n{text}\nEND")


@pytest.fixture(scope="module")
def build_systems(container: str, plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of the container with CMake and Meson, as this machine's pip finds them; or a skip."""
    folder = tmp_path_factory.mktemp("build") / "systems"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), "--only-binary=:all:"]
    command += ["--python-version", plan.cell.python, "--platform", "manylinux2014_x86_64", "cmake<4", "meson"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no CMake and Meson here: {done.stderr.strip().splitlines()[-1]}")
    subprocess.run(["docker", "cp", str(folder), f"{container}:/opt/systems"], check=True, capture_output=True)
    return "/opt/systems"


@pytest.fixture(scope="module")
def extension(host: Host) -> dict[str, object]:
    """What a program tells that compiles, loads and, on a GPU, runs a torch extension with a CUDA kernel."""
    host.check_output(f"cat > /tmp/extension.py <<'END'\n{EXTENSION}\nEND")
    # The GPU is not asked for its architecture, so that the code is the same with and without one.
    done = host.run("cd /tmp && TORCH_CUDA_ARCH_LIST=8.0+PTX python extension.py")
    assert done.rc == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_nvcc_is_of_the_cells_cuda(host: Host, plan: Plan) -> None:
    """Shells with and without login find nvcc, of the CUDA version of the tag."""
    for shell in ("sh -c", "bash -lc"):
        assert f"release {plan.cell.cuda}," in host.check_output(f"{shell} 'nvcc --version'")


@pytest.mark.parametrize("nvcc", NVCC)
@pytest.mark.parametrize("options", ["", "-cudart shared", "-rdc=true", "-lcublas -lcudnn -lnccl -lcuda"])
def test_nvcc_makes_a_program(host: Host, nvcc: str, options: str) -> None:
    """Programs compile with static and shared runtime, separate device code, other libraries, by any name of nvcc."""
    put(host, "/tmp/program", program_cu=PROGRAM)
    host.check_output(f"cd /tmp/program && {nvcc} -arch=sm_90 {options} program.cu -o made && test -x made")


def test_programs_link_with_the_driver(host: Host) -> None:
    """Programs link with the driver's stub; when they run they look for the host's library, and never load the stub."""
    put(host, "/tmp/driver", driver_cpp=DRIVER)
    for place in ("", "-L/usr/local/cuda/lib64/stubs"):
        build = f"g++ -shared -fPIC -I/usr/local/cuda/include driver.cpp {place} -Wl,--no-undefined -lcuda -o driver.so"
        host.check_output(f"cd /tmp/driver && {build}")
    assert "Shared library: [libcuda.so.1]" in host.check_output("readelf -d /tmp/driver/driver.so")
    ask = 'import ctypes; print(ctypes.CDLL("/usr/local/cuda/lib64/stubs/libcuda.so").cuInit(0))'
    assert host.check_output(f"python -c '{ask}'") == "34"
    assert "stubs" not in host.check_output("/sbin/ldconfig -p")


def test_cmake_finds_cuda(host: Host, build_systems: str, plan: Plan) -> None:
    """CMake's enable_language and find_package find CUDA, and a program with their libraries links."""
    put(host, "/tmp/cmake", CMakeLists_txt=CMAKE, program_cu=PROGRAM)
    cmake = f"{build_systems}/cmake/data/bin/cmake"
    host.check_output(
        f"cd /tmp/cmake && {cmake} -G Ninja -B made -DCMAKE_CUDA_ARCHITECTURES=90 && {cmake} --build made"
    )
    version, libraries = host.check_output("cat /tmp/cmake/made/found").split()
    assert version.startswith(f"{plan.cell.cuda}.")
    assert libraries in ("/usr/local/cuda/lib64", "/usr/local/cuda/lib")


def test_meson_finds_cuda(host: Host, build_systems: str) -> None:
    """Meson finds the language CUDA and the dependency."""
    put(host, "/tmp/meson", meson_build=MESON, program_cu=PROGRAM)
    meson = f"PYTHONPATH={build_systems} python -m mesonbuild.mesonmain"
    host.check_output(f"cd /tmp/meson && {meson} setup made && {meson} compile -C made")


def test_setuptools_makes_an_extension(host: Host) -> None:
    """Setuptools compiles an extension of two sources, with libraries of CUDA and of the driver."""
    put(host, "/tmp/own", setup_py=SETUP, **{name.replace(".", "_"): text for name, text in OWN.items()})
    host.check_output("cd /tmp/own && TORCH_CUDA_ARCH_LIST=9.0 python setup.py build_ext --inplace && ls own.*.so")


def test_extension_with_cuda_code_is_compiled_and_loaded(extension: dict[str, object]) -> None:
    """The extension contains code for the requested architecture."""
    assert extension["code"] is True


def test_extension_uses_the_cuda_that_torch_uses(extension: dict[str, object]) -> None:
    """Only the wheel's CUDA runtime is loaded."""
    runtimes = extension["runtimes"]
    assert isinstance(runtimes, list)
    assert len(runtimes) == 1
    assert runtimes[0].startswith("/usr/local/lib/python/site-packages/nvidia/")


def test_extension_runs_on_the_gpu(extension: dict[str, object], gpu: Gpu) -> None:
    """The kernel doubles a thousand numbers."""
    gpu.need()
    assert extension["equal"] is True
