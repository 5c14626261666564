"""Architectures: ids, tags, locks, platforms, and engines that can't build for them."""

import dataclasses
from collections.abc import Callable

import pytest

from torchdev.catalog import ids
from torchdev.cli.list import shards
from torchdev.matrix.load import Cell, Matrix
from torchdev.pipeline.session import platform_refusal
from torchdev.util.errors import Exit, InputError
from torchdev.wheels import wheel
from torchdev.wheels.lock import inputs_digest

MatrixOf = Callable[[str], Matrix]
BOTH = """\
image: t
companions: []
rows:
  - {python: "3.12", cuda: cu130, torch: "2.13.0", arch: [amd64, arm64]}
"""


def test_an_architecture_is_a_cell_of_its_own(matrix_of: MatrixOf) -> None:
    """Ids and tags of amd64 stay as they were; arm64 has a suffix, its own tag and its own platform."""
    amd64, arm64 = matrix_of(BOTH).cells
    assert (amd64.id, amd64.platform) == ("py312-cu130-torch2.13.0", "linux/amd64")
    assert (arm64.id, arm64.platform) == ("py312-cu130-torch2.13.0-arm64", "linux/arm64")
    assert arm64.short == "py312-cu130-arm64"
    assert list(shards([amd64, arm64])) == ["cu130", "cu130-arm64"]


def test_what_arm64_does_not_have_is_refused(matrix_of: MatrixOf) -> None:
    """CUDA 12.8 of PyTorch 2.8 is for amd64 alone on PyPI; cu118 never was for arm64."""
    with pytest.raises(InputError) as caught:
        matrix_of(BOTH.replace("cu130", "cu118").replace("2.13.0", "2.7.1").replace("3.12", "3.11"))
    assert "cu118: amd64" in str(caught.value)
    assert caught.value.where == "matrix.yaml:4:57"


def test_another_architecture_makes_a_lock_stale(cell: Cell) -> None:
    """The digest of a resolution's inputs has the platform in it."""
    assert inputs_digest(cell) != inputs_digest(dataclasses.replace(cell, arch="arm64"))


FILES = [
    "torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl",
    "torch-2.13.0-cp312-cp312-manylinux_2_28_aarch64.whl",
    "torch-2.13.0-cp312-cp312-linux_aarch64.whl",
    "torch-2.13.0-cp312-cp312-manylinux2014_aarch64.whl",
]


def test_wheels_are_chosen_for_the_architecture() -> None:
    """The newest glibc that the base has wins; nothing of another processor is taken."""
    assert wheel.best(FILES, "3.12") == FILES[0]
    assert wheel.best(FILES, "3.12", "arm64") == FILES[1]
    assert wheel.best(FILES[2:], "3.12", "arm64") == FILES[3]
    assert wheel.best(FILES[:1], "3.12", "arm64") is None
    assert wheel.best(["six-1-py3-none-any.whl"], "3.12", "arm64") == "six-1-py3-none-any.whl"


def test_engine_that_can_not_build_for_a_platform_is_told_what_to_do() -> None:
    """Its own platforms, and both ways out; with bases made here only its own platform goes."""
    refusal = platform_refusal("cell", "linux/arm64", ("linux/amd64", "linux/386"), bootstrapped=False)
    assert refusal
    assert refusal.code is Exit.ENGINE
    assert "linux/amd64, linux/386" in refusal.what
    assert "binfmt" in refusal.next_step
    assert platform_refusal("cell", "linux/arm64", ("linux/amd64", "linux/arm64"), bootstrapped=False) is None
    emulated = platform_refusal("cell", "linux/arm64", ("linux/amd64", "linux/arm64"), bootstrapped=True)
    assert emulated
    assert "only for the engine's own platform" in emulated.what
    assert platform_refusal("cell", "linux/amd64", ("linux/amd64",), bootstrapped=True) is None


@pytest.mark.parametrize(
    "text",
    ["py39-cu118", "py311-cu130-torch2.13.0", "py311-cu130-torch2.13.0-cudnn9.24.0.43-devel-arm64", "py312-cpu-arm64"],
)
def test_ids_are_read_as_they_are_made(text: str) -> None:
    """A name that a user gives is the one that its wishes make."""
    wishes = ids.wishes(text)
    assert wishes
    rest = (wishes.get("cudnn"), wishes.get("variant", ids.PLAIN), wishes.get("arch", ids.AMD64))
    torch = wishes.get("torch")
    pair = (wishes["python"], wishes["cuda"])
    assert (ids.cell_id(*pair, torch, *rest) if torch else ids.short_tag(*pair, *rest)) == text
    assert ids.wishes(text + "x") is None
