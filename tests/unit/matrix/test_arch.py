"""Architectures: ids, tags, locks, platforms, and engines that can't build for them."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from torchdev.catalog import builds, explain, ids
from torchdev.cli.list import shards
from torchdev.matrix.load import Cell, Matrix
from torchdev.pipeline.session import platform_refusal
from torchdev.util.errors import Exit, InputError
from torchdev.util.jsonfile import Malformed
from torchdev.wheels import lockfile, wheel
from torchdev.wheels.lock import Lock, inputs_digest, to_text

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
    """A name that a user gives is the one that its query makes."""
    constraints = ids.query(text)
    assert constraints
    rest = (constraints.get("cudnn"), constraints.get("variant", ids.PLAIN), constraints.get("arch", ids.AMD64))
    torch = constraints.get("torch")
    pair = (constraints["python"], constraints["cuda"])
    assert (ids.cell_id(*pair, torch, *rest) if torch else ids.short_tag(*pair, *rest)) == text
    assert ids.query(text + "x") is None


STRANGE = ["riscv64", "ppc64le", "AMD64", "x86_64", "", "amd64 ", "arm64\n", "\x1b[31m", "🙂"]
"""Architectures that the catalog does not know, and other spellings of those that it does."""


@pytest.mark.parametrize("arch", STRANGE)
def test_a_matrix_with_an_unknown_architecture_is_refused(matrix_of: MatrixOf, arch: str) -> None:
    """At the value, alone or among others."""
    for value in (json.dumps(arch, ensure_ascii=False), json.dumps(["amd64", arch], ensure_ascii=False)):
        with pytest.raises(InputError, match="is not a processor architecture: amd64 or arm64") as caught:
            matrix_of(BOTH.replace("[amd64, arm64]", value))
        assert caught.value.where.startswith("matrix.yaml:4:")


@pytest.mark.parametrize("arch", [arch for arch in STRANGE if arch.strip() not in ("amd64", "arm64")])
def test_a_query_for_an_unknown_architecture_is_refused(arch: str) -> None:
    """With the two that there are; blanks around a word of a query count for nothing."""
    with pytest.raises(InputError, match="is not amd64 or arm64"):
        explain.answer(None, {"arch": arch})


@pytest.mark.parametrize("arch", STRANGE)
def test_a_lock_for_an_unknown_platform_is_refused(tmp_path: Path, lock: Lock, cell: Cell, arch: str) -> None:
    """With its line, whether it could be a platform or not."""
    path = tmp_path / "lock.json"
    path.write_text(to_text(dataclasses.replace(lock, platform=f"linux/{arch}")))
    with pytest.raises(InputError) as caught:
        lockfile.read_lock(path, cell)
    assert caught.value.where == f"{path}:4"


@pytest.mark.parametrize("arch", STRANGE)
def test_a_catalog_with_an_unknown_architecture_is_refused(small_catalog: str, arch: str) -> None:
    """As on the day that PyTorch publishes wheels for another machine, and somebody edits the file."""
    text = small_catalog.replace('"amd64"', json.dumps(arch), 1)
    with pytest.raises(Malformed, match="architecture"):
        builds.from_text(text)


@pytest.mark.parametrize("arch", STRANGE)
def test_nothing_is_made_of_an_unknown_architecture(arch: str) -> None:
    """Where one comes that far, it is told, and no traceback."""
    with pytest.raises(InputError, match="is no architecture"):
        wheel.machine_of(arch)


@pytest.mark.parametrize("arch", ["riscv64", "armv7l", "s390x"])
def test_an_engine_of_another_machine_is_told(arch: str) -> None:
    """It can build for none of the cells; the next command says where they can be built."""
    for platform in ("linux/amd64", "linux/arm64"):
        refusal = platform_refusal("cell", platform, (f"linux/{arch}",), bootstrapped=True)
        assert refusal
        assert refusal.what == f"the engine builds for linux/{arch}, not for {platform}"
