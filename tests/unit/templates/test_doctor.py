"""What torchdev-doctor decides, apart from what it reads: tests/engine/test_doctor.py stages that."""

import argparse
import importlib
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

TORCH: dict[str, Any] = {
    "cuda": "13.0",
    "architectures": ["sm_75", "sm_80", "sm_90a", "sm_120"],
    "minimum_driver": "580",
}
NOTHING: dict[str, Any] = {
    "nodes": [], "kernel": None, "visible": None, "capabilities": None, "cuda": {"error": "no library"},
}  # fmt: skip
STUCK = {"error": "the driver's library does not answer within 2 seconds", "stuck": True}
"""Also where there is no driver, and a busy machine took that long to find that out."""


@pytest.fixture
def gpu(of_doctor: "Callable[[str], ModuleType]") -> ModuleType:
    """The doctor's module on GPUs."""
    return of_doctor("gpu")


@pytest.mark.parametrize(
    ("architectures", "capability", "code"),
    [
        (["sm_80"], (8, 0), "sm_80"),
        (["sm_80"], (8, 9), "sm_80"),
        (["sm_80", "sm_86"], (8, 9), "sm_86"),
        (["sm_80", "sm_86"], (9, 0), ""),
        (["sm_86"], (8, 0), ""),
        (["sm_80", "compute_90"], (12, 0), "compute_90"),
        (["sm_80", "compute_90"], (8, 6), "sm_80"),
        (["compute_90"], (8, 9), ""),
        (["sm_90a"], (9, 0), "sm_90a"),
        (["sm_90a"], (10, 0), ""),
        (["sm_75", "sm_120"], (12, 1), "sm_120"),
    ],
)
def test_code_for_a_gpu(gpu: ModuleType, architectures: list[str], capability: tuple[int, int], code: str) -> None:
    """CUDA's rules: binaries within a major version, from the minor on; PTX for all that is newer; sm_90a alone."""
    assert gpu.code_for(architectures, capability) == code


@pytest.mark.parametrize(
    ("changed", "level", "said"),
    [
        ({}, "can't", "no NVIDIA driver can be seen"),
        ({"kernel": "580.65.06"}, "can't", "the host has NVIDIA driver 580.65.06, but this container was given no GPU"),
        ({"cuda": STUCK}, "can't", "no NVIDIA driver can be seen"),
        ({"cuda": STUCK, "nodes": ["/dev/nvidia0"]}, "fault", "does not answer"),
        ({"cuda": STUCK, "kernel": "580.65.06"}, "fault", "does not answer"),
        ({"cuda": {**STUCK, "path": "/lib/libcuda.so.1"}}, "fault", "does not answer"),
        ({"nodes": ["/dev/nvidia0"]}, "fault", "libcuda.so.1 is not"),
        ({"nodes": ["/dev/nvidia0"], "capabilities": "video"}, "fault", "must include compute"),
        ({"cuda": {"init": 803, "path": "/lib/libcuda.so.1"}, "kernel": "570.1"}, "fault", "CUDA error 803"),
        ({"cuda": {"init": 804, "path": "/lib/libcuda.so.1"}}, "fault", "CUDA error 804"),
        ({"cuda": {"init": 100, "path": ""}, "visible": ""}, "can't", "hides every GPU"),
        ({"cuda": {"init": 100, "path": ""}, "visible": "0"}, "fault", "CUDA error 100"),
    ],
)
def test_why_there_is_no_gpu(gpu: ModuleType, changed: dict[str, Any], level: str, said: str) -> None:
    """One finding, with what to do."""
    (finding,) = gpu.judge({"torch": TORCH}, NOTHING | changed)
    assert (finding.level, finding.subject) == (level, "gpu")
    assert said in f"{finding.what}; {finding.next}"
    assert finding.next


@pytest.mark.parametrize(
    ("version", "capability", "levels"),
    [
        (13000, [9, 0], ["ok", "ok"]),
        (13020, [7, 5], ["ok", "ok"]),
        (12080, [9, 0], ["fault", "ok"]),
        (13000, [6, 1], ["ok", "fault"]),
        (14000, [12, 0], ["ok", "ok"]),
    ],
)
def test_driver_and_gpu_against_the_image(
    gpu: ModuleType, version: int, capability: list[int], levels: list[str]
) -> None:
    """A driver serves its own major version of CUDA and older ones; a GPU needs code for it."""
    device = {"name": "GPU", "capability": capability, "bytes": 8e10}
    cuda = {"init": 0, "version": version, "driver": "580.1", "devices": [device]}
    found = gpu.judge({"torch": TORCH}, NOTHING | {"nodes": ["/dev/nvidia0"], "cuda": cuda})
    assert [finding.level for finding in found] == levels


def test_an_image_without_cuda_needs_none(gpu: ModuleType) -> None:
    """It computes on the CPU, GPU or not, and says so."""
    (finding,) = gpu.judge({"torch": TORCH | {"cuda": None}}, NOTHING | {"nodes": ["/dev/nvidia0"]})
    assert (finding.level, finding.next) == ("can't", "take an image with CUDA")


@pytest.mark.parametrize(
    ("why", "level", "said"),
    [
        (None, "ok", "what they make loads"),
        ("g++ did not end within 2 seconds", "can't", "was not tried"),
        ("gcc is missing", "fault", "torch.compile and C++ extensions will fail"),
    ],
)
def test_a_busy_machine_is_no_broken_compiler(gpu: ModuleType, why: "str | None", level: str, said: str) -> None:
    """A compiler that had no time is not one that fails, and there is nothing to install."""
    found = importlib.import_module("container").compiling({"compiler": why, "temporary": "/tmp"})
    assert (found.level, "apt-get" in found.next) == (level, level == "fault")
    assert ("--wait" in found.next) == (level == "can't")
    assert said in found.what


def test_what_never_answers_is_given_up_at_once(
    of_doctor: "Callable[[str], ModuleType]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """All subjects have the same time, not one after another; each is told, with what to do on a busy machine."""
    main = of_doctor("__main__")
    silent = threading.Event()
    for name in ("gpu", "container", "network"):
        monkeypatch.setattr(getattr(main, name), "read", lambda wait: silent.wait(30))
    monkeypatch.setattr(main.guard, "read", lambda contract, wait: silent.wait(30))
    for module, name in ((main.packages, "read"), (main.guard, "read_files")):
        monkeypatch.setattr(module, name, lambda contract: silent.wait(30))
    began = time.monotonic()
    found = main.read({}, 0.3)
    took = time.monotonic() - began
    silent.set()
    assert found == {}
    assert took < 6 * 0.5
    findings = main.examine({}, found, 0.3)
    assert [one.level for one in findings] == ["can't"] * 6
    assert {(one.what, "torchdev-doctor --wait" in one.next) for one in findings} == {
        ("no answer within 0.5 seconds", True)
    }


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "3601", "soon"])
def test_a_time_that_is_none_is_refused(of_doctor: "Callable[[str], ModuleType]", text: str) -> None:
    """Neither for ever, nor not at all."""
    with pytest.raises((ValueError, argparse.ArgumentTypeError)):
        of_doctor("__main__").seconds(text)
