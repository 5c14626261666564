"""What a cell's own packages would do to its PyTorch is refused by the lock, with who wants what."""

import dataclasses
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from torchdev.matrix.load import Cell
from torchdev.util.errors import BuildError, InputError
from torchdev.wheels import neighbours, remote
from torchdev.wheels.host import Host
from torchdev.wheels.neighbours import check, is_from_before, names, shared
from torchdev.wheels.pylock import Link, Resolved
from torchdev.wheels.uv import Wanted

OWN = ("torch==2.14.1", "setuptools")


def release(name: str, version: str, year: int = 0) -> Resolved:
    """A release with one wheel, uploaded in a year, or no one knows when."""
    uploaded = datetime(year, 1, 1, tzinfo=UTC) if year else None
    file = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    return Resolved(name, version, (Link(file=file, location=file, sha256="0" * 64, size=1, uploaded=uploaded),))


@pytest.mark.parametrize(
    ("chosen", "newest", "torch", "refused"),
    [
        (("0.2.5", 2023), "0.33.0", 2026, True),
        (("0.8.3", 2027), "0.33.0", 2026, False),
        (("0.33.0", 2023), "0.33.0", 2026, False),
        (("1.10", 2023), "1.9", 2026, False),
        (("0.2.5", 0), "0.33.0", 2026, True),
        (("0.2.5", 2023), "0.33.0", 0, True),
    ],
)
def test_a_release_is_from_before_pytorch(chosen: tuple[str, int], newest: str, torch: int, refused: bool) -> None:
    """An older one that was made since may have been made for it; the newest is what one would get anyway."""
    found = is_from_before(release("vllm", *chosen), release("vllm", newest), release("torch", "2.14.1", torch))
    assert found == refused


@pytest.fixture
def ask(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Check a cell that asks for a package: what uv answers, with torch and without, and whether the newest fits."""

    def run(found: list[Resolved], newest: list[Resolved], *, fits: bool = False, files: Any = None) -> None:
        requirements = (*OWN, found[-1].name if found[-1].name != "nvidia-nccl-cu12" else "xgboost")

        def answer(_: Cell, __: Host, wanted: Wanted) -> list[Resolved]:
            if wanted.requirements == OWN:
                return [one for one in found if one.name in ("torch", "setuptools", "nvidia-nccl-cu13", "triton")]
            if wanted.requirements == requirements[len(OWN) :]:
                return newest
            if not fits:
                raise BuildError("uv finds no set of versions that fits\nBecause vllm==0.33.0 depends on torch==2.13.0")
            return found

        monkeypatch.setattr(neighbours, "compile_cell", answer)
        monkeypatch.setattr(
            remote, "read_wheel", lambda _, location, __: (files or {}).get(location.partition("-")[0], {})
        )
        check(cell, Host(), Wanted(requirements), found)

    return run


def test_an_old_release_is_refused_with_who_wants_what(ask: Callable[..., None]) -> None:
    """In uv's words, with the row and what to do."""
    torch = release("torch", "2.14.1", 2026)
    with pytest.raises(InputError, match=r"(?s)vllm==0.33.0 wants another.*vllm 0.2.5.*depends on torch==2.13.0"):
        ask([torch, release("vllm", "0.2.5", 2023)], [release("vllm", "0.33.0", 2026)])
    ask([torch, release("vllm", "0.2.5", 2023)], [release("vllm", "0.33.0", 2026)], fits=True)
    ask([torch, release("numpy", "2.4.6", 2026)], [release("numpy", "2.4.6", 2026)])


def test_a_package_that_would_overwrite_pytorchs_files_is_refused(ask: Callable[..., None]) -> None:
    """By name, with the file; what both have alike, or in other folders, does no harm."""
    kept = [release("torch", "2.14.1", 2026), release("nvidia-nccl-cu13", "2.30.7", 2026)]
    found = [*kept, release("xgboost", "3.2.0", 2026), release("nvidia-nccl-cu12", "2.32.3", 2026)]
    newest = [release("xgboost", "3.2.0", 2026)]
    files = {"nvidia_nccl_cu13": {"nvidia/nccl/lib/libnccl.so.2": 1, "nvidia/__init__.py": 0}}
    for mine, refused in (
        ({"nvidia/nccl/lib/libnccl.so.2": 2, "nvidia/__init__.py": 0}, True),
        ({"nvidia/nccl/lib/libnccl.so.2": 1}, False),
        ({"nvidia/other/lib/libother.so": 2}, False),
    ):
        wheels_of = files | {"nvidia_nccl_cu12": mine, "xgboost": {"xgboost/core.py": 3}}
        if refused:
            with pytest.raises(
                InputError, match=r"nvidia-nccl-cu12 2.32.3 would overwrite nvidia/nccl/lib/libnccl.so.2"
            ):
                ask(found, newest, files=wheels_of)
        else:
            ask(found, newest, files=wheels_of)


def test_files_of_a_wheel_leave_out_its_metadata(tmp_path: Path) -> None:
    """By path and checksum, so that the same file in two wheels is no conflict."""
    for name, text in (("a", "1"), ("b", "2")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("nvidia/__init__.py", "")
            archive.writestr("nvidia/x.py", text)
            archive.writestr(f"{name}-1.dist-info/METADATA", text)
            archive.writestr(f"{name}-1.data/scripts/x", text)
    one, other = (names(zipfile.ZipFile(tmp_path / name)) for name in ("a", "b"))
    assert one.keys() == {"nvidia/__init__.py", "nvidia/x.py"}
    assert shared(one, other) == ["nvidia/x.py"]
    assert shared(one, one) == []


def test_a_cell_that_asks_for_nothing_more_asks_uv_nothing_more(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most locks cost what they did."""
    monkeypatch.setattr(neighbours, "compile_cell", lambda *_: pytest.fail("uv was asked"))
    check(dataclasses.replace(cell), Host(), Wanted(OWN), [release("torch", "2.14.1", 2026)])
