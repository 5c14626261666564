"""How containers get GPUs: the request to the engine, and the variables that the NVIDIA Container Toolkit reads.

Only decides; torchdev/engine/client.py talks to the engine.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from docker.types import DeviceRequest

CDI_KIND = "nvidia.com/gpu"
"""The kind under which `nvidia-ctk cdi generate` lists NVIDIA's GPUs."""
DEFAULT_CAPABILITIES = ("compute", "utility")
"""The driver capabilities of a container if NVIDIA_DRIVER_CAPABILITIES is not set (NVIDIA Container Toolkit)."""


def by_toolkit() -> DeviceRequest:
    """Every GPU by the toolkit's hook, as `docker run --gpus all` asks for it."""
    return DeviceRequest(count=-1, capabilities=[["gpu"]])


def by_cdi() -> DeviceRequest:
    """Every GPU by its CDI name, as `docker run --device nvidia.com/gpu=all` asks for it."""
    return DeviceRequest(driver="cdi", device_ids=[f"{CDI_KIND}=all"])


def request(info: "Mapping[str, Any]") -> "tuple[list[DeviceRequest], str]":
    """The request for GPUs that suits an engine's description of itself, and its name: toolkit or CDI.

    CDI if the engine lists NVIDIA's GPUs among its devices (Docker 28.2 and newer do) and has no runtime `nvidia`; else
    the toolkit. Engines do not tell whether they have its hook: one without it refuses with a message.
    """
    devices = [str(device.get("ID", "")) for device in info.get("DiscoveredDevices") or []]
    if "nvidia" not in (info.get("Runtimes") or {}) and any(name.startswith(f"{CDI_KIND}=") for name in devices):
        return [by_cdi()], "CDI"
    return [by_toolkit()], "NVIDIA Container Toolkit"


def docker_options(info: "Mapping[str, Any]") -> tuple[str, ...]:
    """The options of docker run that are equal to `request`."""
    return ("--device", f"{CDI_KIND}=all") if request(info)[1] == "CDI" else ("--gpus", "all")


@dataclass(frozen=True)
class ToolkitView:
    """What the toolkit derives from an image's variables when a container starts.

    `visible` names the GPUs that a container gets by default; `requirements` is what the driver must be; `legacy`
    images get all GPUs by default, and a requirement derived from CUDA_VERSION.
    """

    visible: str = ""
    capabilities: tuple[str, ...] = DEFAULT_CAPABILITIES
    requirements: tuple[str, ...] = ()
    legacy: bool = False


def toolkit_view(environment: "Mapping[str, str]") -> ToolkitView:
    """Read an image's variables as the NVIDIA Container Toolkit does (its manual: "Specialized Configurations")."""
    requirements = {name: value for name, value in environment.items() if name.startswith("NVIDIA_REQUIRE_")}
    legacy = bool(environment.get("CUDA_VERSION")) and "NVIDIA_REQUIRE_CUDA" not in environment
    visible = environment.get("NVIDIA_VISIBLE_DEVICES", "all" if legacy else "")
    named = environment.get("NVIDIA_DRIVER_CAPABILITIES", "")
    if legacy:
        requirements["NVIDIA_REQUIRE_CUDA"] = f"cuda>={'.'.join(environment['CUDA_VERSION'].split('.')[:2])}"
    if environment.get("NVIDIA_DISABLE_REQUIRE", "").lower() in ("1", "true"):
        requirements = {}
    return ToolkitView(
        "" if visible in ("void", "none") else visible,
        tuple(sorted(named.split(","))) if named else DEFAULT_CAPABILITIES,
        tuple(sorted(requirements.values())),
        legacy,
    )
