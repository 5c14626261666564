"""Facts about PyTorch releases, each with its source: companions, flavours, the cuDNN that each is built with."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DATA = Path(__file__).parent / "data" / "catalog.json"


@dataclass(frozen=True)
class Release:
    """One PyTorch release; `cudnn` is the version that the wheel of a flavour pins, where it is known."""

    companions: dict[str, str]
    on_pypi: str
    cudnn: dict[str, str]


@cache
def _releases() -> dict[str, Release]:
    entries = json.loads(DATA.read_text(encoding="utf-8"))["releases"]
    return {
        version: Release(
            {name: entry[name] for name in ("torchvision", "torchaudio") if name in entry},
            entry["pypi"],
            entry["cudnn"],
        )
        for version, entry in entries.items()
    }


def release(torch: str) -> "Release | None":
    """What is known of a release; None if nothing is."""
    return _releases().get(torch)


def known() -> "list[str]":
    """The releases of which something is known, oldest first."""
    return list(_releases())


def is_on_pypi(torch: str, flavour: str) -> bool:
    """Whether PyPI's wheel of a release has this flavour; of an unknown release, whether it may have."""
    found = release(torch)
    return found.on_pypi == flavour if found else flavour != "cpu"


def cudnn_refusal(torch: str, flavour: str, wanted: "str | None") -> str:
    """Why a cuDNN can't take the place of the one that PyTorch was built with; empty if it can, or if none is known.

    A cuDNN serves programs built with the same major version and the same or an older minor one.
    Source: NVIDIA's cuDNN documentation, "API compatibility".
    """
    found = release(torch)
    pinned = found.cudnn.get(flavour) if found else None
    return cudnn_conflict(f"torch {torch} ({flavour})", pinned, wanted) if pinned and wanted else ""


def cudnn_conflict(what: str, pinned: str, wanted: str) -> str:
    """Why `wanted` can't serve what was built with `pinned`; empty if it can."""
    if wanted == pinned:
        return f"{what} pins cuDNN {pinned} already: leave it out"
    have, need = (tuple(int(part) for part in version.split(".")) for version in (wanted, pinned))
    if have[0] != need[0]:
        return f"{what} is built with cuDNN {pinned}, and cuDNN {wanted} has another major version"
    if have < need[: len(have)]:
        return f"{what} is built with cuDNN {pinned}, and cuDNN {wanted} is older"
    return ""
