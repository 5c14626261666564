"""What engines are asked for, to the letter, and what the toolkit would make of an image's variables."""

from typing import Any

import pytest

from torchdev.engine.gpus import ToolkitView, by_cdi, by_toolkit, request, toolkit_view

LISTED = [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}, {"Source": "cdi", "ID": "nvidia.com/gpu=all"}]


def test_requests_are_what_the_docker_command_sends() -> None:
    """The bodies of --gpus all and of --device nvidia.com/gpu=all, in the words of the Engine API."""
    empty: dict[str, Any] = {"Driver": "", "Count": 0, "DeviceIDs": [], "Capabilities": [], "Options": {}}
    assert dict(by_toolkit()) == {**empty, "Count": -1, "Capabilities": [["gpu"]]}
    assert dict(by_cdi()) == {**empty, "Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all"]}


@pytest.mark.parametrize(
    ("info", "way"),
    [
        ({}, "NVIDIA Container Toolkit"),
        ({"Runtimes": {"runc": {}}, "DiscoveredDevices": None}, "NVIDIA Container Toolkit"),
        ({"Runtimes": {"runc": {}, "nvidia": {}}}, "NVIDIA Container Toolkit"),
        ({"Runtimes": {"runc": {}}, "DiscoveredDevices": LISTED}, "CDI"),
        ({"Runtimes": {"nvidia": {}}, "DiscoveredDevices": LISTED}, "NVIDIA Container Toolkit"),
        ({"DiscoveredDevices": [{"Source": "cdi", "ID": "vendor.com/net=0"}]}, "NVIDIA Container Toolkit"),
    ],
)
def test_way_is_chosen_by_what_the_engine_has(info: dict[str, Any], way: str) -> None:
    """CDI only where the engine lists GPUs and has no runtime of NVIDIA's."""
    assert request(info) == ([by_cdi() if way == "CDI" else by_toolkit()], way)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"PATH": "/bin"}, ToolkitView()),
        ({"NVIDIA_VISIBLE_DEVICES": "all"}, ToolkitView(visible="all")),
        ({"NVIDIA_VISIBLE_DEVICES": "void"}, ToolkitView()),
        ({"NVIDIA_DRIVER_CAPABILITIES": "video,compute"}, ToolkitView(capabilities=("compute", "video"))),
        ({"CUDA_VERSION": "13.0.1"}, ToolkitView(visible="all", requirements=("cuda>=13.0",), legacy=True)),
        ({"NVIDIA_REQUIRE_CUDA": "cuda>=12"}, ToolkitView(requirements=("cuda>=12",))),
        ({"CUDA_VERSION": "12.8", "NVIDIA_REQUIRE_CUDA": "cuda>=12"}, ToolkitView(requirements=("cuda>=12",))),
        ({"NVIDIA_REQUIRE_CUDA": "cuda>=12", "NVIDIA_DISABLE_REQUIRE": "1"}, ToolkitView()),
    ],
)
def test_variables_as_the_toolkit_reads_them(environment: dict[str, str], expected: ToolkitView) -> None:
    """Which GPUs come unasked, which part of the driver, what the driver must be."""
    assert toolkit_view(environment) == expected
