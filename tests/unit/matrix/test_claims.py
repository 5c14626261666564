"""Tags that say what is not so."""

from collections.abc import Callable

import pytest

from tests.unit.conftest import ROOT
from torchdev.matrix.claims import untrue
from torchdev.matrix.load import Cell, Matrix, load
from torchdev.util.errors import InputError

TEXT = """\
image: t
rows:
  - {python: ["3.11", "3.12"], cuda: cu130, torch: ["2.13.0", "2.11.0"]}
  - {python: "3.11", cuda: cpu, torch: "2.13.0"}
  - {python: "3.11", cuda: cu130, torch: "2.13.0", variant: devel}
  - {python: "3.11", cuda: cu130, torch: "2.13.0", cudnn: "9.24.0.43"}
  - {python: "3.12", cuda: cu130, torch: "2.13.0", arch: arm64}
"""
CUDA, CPU = "py311-cu130-torch2.13.0", "py311-cpu-torch2.13.0"
DEVEL, CUDNN, ARM = f"{CUDA}-devel", f"{CUDA}-cudnn9.24.0.43", "py312-cu130-torch2.13.0-arm64"

TRUE = [
    (CUDA, "latest stable prod team-a 2026-11-26 2026.11.26 v7 v1.2 nightly release-41 my.tag pyramid cute"),
    (CUDA, "py311 py3 py3.11 python3.11 python-3.11 cp311 py3.11-cuda13 PY311 py311-torch2.13 py311cu130 cuda13.0"),
    (CUDA, "cu130 cu13 cuda cuda-13 gpu torch2 torch213 torch2130 torch-2.13 pytorch2.13.0 2.13.0 3.11 v2.13 pt2.13"),
    (
        CUDA,
        "2.13.0-cuda13.0-cudnn9-runtime cudnn9.20 amd64 x86_64 x86-64 plain bookworm torchvision0.28 py311-cu130",
    ),
    (CUDA, "py311-cu130-torch2.13 python3.11.4"),
    (CUDA, "h100 rtx4090 b200 latest-a100"),
    (CPU, "cpu latest-cpu py311-cpu nocuda no-cuda non-gpu torch2.13-cpu without_cuda"),
    (DEVEL, "devel 2.13.0-cuda13.0-cudnn9-devel py311-cu130-devel nvcc"),
    (CUDNN, "cudnn9 cudnn9.24 cudnn-9.24.0.43 py311-cu130-cudnn9.24.0.43 py311-cu130-cudnn9.24"),
    (ARM, "arm arm64 aarch64 py312-arm64 py312-cu130-arm64"),
]
UNTRUE = [
    (CUDA, "py39 cp39 py3.9-cuda12 py312 python2 py27 python3.12 py31 py3110 py313t py311t py0311 3.9 team-3.12 PY39"),
    (CUDA, "cu118 cuda12 cuda11.8 cuda-12.8 cu1301 cu0130 12.8 py39cu118 py311cu118 py311.cu126 py311_cu126"),
    (CUDA, "torch2.7 torch27 torch1 pytorch-2.1 torch21 torch2.1 pt2.7 2.7.1 2.14.1-cuda13.0 v2.7 py311torch2.7"),
    (CUDA, "cpu latest-cpu nocuda no-gpu rocm rocm6.2 latest-xpu cudnn8 cudnn9.24 devel runtime-devel nvcc"),
    (CUDA, "arm64 arm latest-aarch64 s390x ubuntu ubuntu22.04 latest-alpine bullseye torchvision0.20 torchaudio2"),
    (CUDA, "py311-cpu py311-cu130-torch9.9.9 py312-cu130 py311-cu130-devel py311-cu130-torch2.13.0-arm64"),
    (CUDA, "v100 latest-k80 p100-team gtx1080"),
    (CPU, "h100 gpu cuda latest-gpu cuda13 cu130 cudnn cudnn9 py311-cu130 devel torch2.13-cuda"),
    (DEVEL, "plain runtime py311-cu130 py311-cu130-torch2.13.0 py311-cu130-torch2.13"),
    (CUDNN, "cudnn9.20 cudnn92 py311-cu130 py311-cu130-torch2.13.0 py311-cu130-cudnn9.20.0.48"),
    (ARM, "amd64 x64 py312-cu130 py312-cu130-torch2.13.0 x86-64"),
]


def pairs(table: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Cell and tag, one by one."""
    return [(cell, tag) for cell, tags in table for tag in tags.split()]


@pytest.fixture
def cells(matrix_of: Callable[[str], Matrix]) -> dict[str, Cell]:
    """Some cells, by id."""
    return {cell.id: cell for cell in matrix_of(TEXT).cells}


@pytest.mark.parametrize(("cell", "tag"), pairs(TRUE))
def test_true_or_saying_nothing(cells: dict[str, Cell], cell: str, tag: str) -> None:
    """In part, in another spelling, or without a claim."""
    assert untrue(tag, cells[cell]) == ""


@pytest.mark.parametrize(("cell", "tag"), pairs(UNTRUE))
def test_untrue(cells: dict[str, Cell], cell: str, tag: str) -> None:
    """Another version, accelerator, variant, architecture or system than the image has."""
    assert untrue(tag, cells[cell])


@pytest.mark.parametrize(
    ("tag", "what"), [("py311-cu130", "Python 311"), ("py311-cpu", "Python"), ("torch9", "PyTorch 9")]
)
def test_refused_where_it_stands(matrix_of: Callable[[str], Matrix], tag: str, what: str) -> None:
    """With what it says, what the image has, and the cell."""
    with pytest.raises(InputError, match=what) as caught:
        matrix_of(f"{TEXT}aliases:\n  newest: py312-cu130\n  {tag}: py312-cu130\n")
    assert caught.value.where == "matrix.yaml:10:3"
    assert "py312-cu130-torch2.13.0" in caught.value.next_step


def test_committed_aliases_hold() -> None:
    """Those that matrix.yaml has."""
    matrix = load(ROOT / "matrix.yaml")
    assert [tag for tag, cell in matrix.aliases.items() if untrue(tag, cell)] == []
