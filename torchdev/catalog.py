"""Facts about PyTorch releases, with their sources: Pythons, flavours, companions, cuDNN; and what they exclude."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DATA = Path(__file__).parent / "data" / "catalog.json"


@dataclass(frozen=True)
class Release:
    """One PyTorch release: its Pythons and flavours, oldest first, and the cuDNN a flavour pins, where it is known."""

    version: str
    pythons: tuple[str, ...]
    flavours: tuple[str, ...]
    companions: dict[str, str]
    on_pypi: str
    cudnn: dict[str, str]


@cache
def _releases() -> dict[str, Release]:
    entries = json.loads(DATA.read_text(encoding="utf-8"))["releases"]
    return {
        version: Release(
            version,
            tuple(entry["pythons"]),
            tuple(entry["flavours"]),
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


def conflict(python: str, flavour: str, torch: str) -> str:
    """Why a combination can't exist, with the source of the fact; empty if it can, or if the release is not known."""
    found = release(torch)
    if found is None:
        return ""
    if flavour not in found.flavours:
        return (
            f"PyTorch {torch} is built for {', '.join(found.flavours)}, not {flavour} (RELEASE.md of pytorch/pytorch)"
        )
    if python not in found.pythons:
        reach = f"{found.pythons[0]} to {found.pythons[-1]}"
        return f"PyTorch {torch} has wheels for Python {reach}, not {python} (its wheels on PyPI)"
    return ""


def nearest(python: str, flavour: str, torch: str) -> "list[tuple[str, str, str]]":
    """Combinations that exist and keep two of the three, nearest first: (Python, flavour, PyTorch)."""
    releases = list(_releases().values())
    names = [found.version for found in releases]
    place = names.index(torch) if torch in names else len(names)
    by_distance = sorted(releases, key=lambda found: abs(names.index(found.version) - place))
    other = [(python, flavour, found.version) for found in by_distance if not conflict(python, flavour, found.version)]
    own = release(torch)
    pythons = sorted(own.pythons, key=lambda p: abs(_minor(p) - _minor(python))) if own else []
    flavours = [f for f in reversed(own.flavours) if f != "cpu"] if own else []
    found = [
        *other[:1],
        *[(p, flavour, torch) for p in pythons if not conflict(p, flavour, torch)][:1],
        *[(python, f, torch) for f in flavours if not conflict(python, f, torch)][:1],
    ]
    return list(dict.fromkeys(found))


def _minor(python: str) -> int:
    return int(python.split(".")[1])


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
