"""Converts an engine's refusal to an error with its remedy. Pure."""

from torchdev.util.commands import build_py
from torchdev.util.errors import EngineError, GpuError

DOCTOR = build_py("doctor")


def container_error(image: str, explanation: str) -> EngineError:
    """An engine's refusal to start a container, as an error with its remedy."""
    if "CDI device" in explanation or 'device driver "cdi"' in explanation:
        what = f"the engine can't give containers a GPU by CDI: {explanation}"
        return GpuError(what, next_step="nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml; restart docker")
    if "could not select device driver" in explanation:
        what = "the engine can't give containers a GPU: it has no NVIDIA Container Toolkit"
        step = "install nvidia-container-toolkit, run: nvidia-ctk runtime configure --runtime=docker, restart docker"
        return GpuError(what, next_step=step)
    if "requirement error" in explanation or "nvidia-container-cli" in explanation:
        step = "nvidia-smi; update the driver, or take an older CUDA"
        return GpuError(f"the NVIDIA driver refuses: {explanation}", next_step=step)
    if "No such image" in explanation:
        own = "docker images" if image.startswith("sha256:") else build_py("build", image.rpartition(":")[2])
        return EngineError(f"the engine has no image {image}", next_step=own)
    return EngineError(f"the engine could not start a container of {image}: {explanation}", next_step=DOCTOR)


def short(error: BaseException) -> str:
    """Why an engine or a registry did not answer, in a few words."""
    text = str(error)
    if "FileNotFoundError" in text or "No such file" in text:
        return "its socket does not exist"
    if "ConnectionRefused" in text or "Connection refused" in text:
        return "its socket refuses connections"
    if "PermissionError" in text or "Permission denied" in text:
        return "this user may not use its socket; join the group docker, or use sudo"
    return text
