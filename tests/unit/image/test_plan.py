"""Layers: what goes where, in an order that never depends on the matrix."""

import dataclasses

from tests.unit.conftest import make_package
from torchdev.image.contract import make_contract
from torchdev.image.plan import Plan, base_labels, layers
from torchdev.matrix.load import Cell
from torchdev.wheels.lock import Lock


def names(cell: Cell, lock: Lock) -> dict[str, list[str]]:
    """Layer name to the names of its packages."""
    return {layer.name: [package.name for package in layer.packages] for layer in layers(cell, lock)}


def test_wheels_are_put_by_what_they_depend_on(cell: Cell, lock: Lock) -> None:
    """CUDA, cuDNN and NCCL below Python; torch and the rest above."""
    assert names(cell, lock) == {
        "cuda": ["nvidia-cublas", "nvidia-cuda-runtime"],
        "cudnn": ["nvidia-cudnn-cu13"],
        "nccl": ["nvidia-nccl-cu13", "nvidia-nvshmem-cu13"],
        "debian": [],
        "python": [],
        "torch": ["torch", "triton"],
        "packages": ["cuda-bindings", "filelock"],
        "user": [],
    }


def test_every_package_is_in_one_layer(cell: Cell, lock: Lock) -> None:
    """None lost, none twice."""
    placed = [package.name for layer in layers(cell, lock) for package in layer.packages]
    assert sorted(placed) == sorted(package.name for package in lock.packages)


def test_wheels_of_a_python_are_fetched_by_their_tags(plan: Plan) -> None:
    """Pip runs on the tool Python, so it is told of the cell's; wheels of every Python need no telling."""
    options = {layer.name: layer.pip_options for layer in plan.layers}
    tags = "--python-version=3.11 --implementation=cp --abi=cp311 --abi=none --platform=manylinux_2_28_x86_64"
    assert options["cuda"] == options["cudnn"] == ()
    assert options["torch"] == options["packages"] == tuple(tags.split())


def test_wheels_of_one_python_need_no_abi(plan: Plan) -> None:
    """Such as py311-none-any, which other interpreters could load, too; the series is told all the same."""
    layer = dataclasses.replace(plan.layers[-2], packages=(make_package("a", "1.0", "py311-none-any"),))
    assert layer.pip_options == ("--python-version=3.11", "--implementation=cp", "--abi=none")


def test_what_images_lack_is_named_where_its_wheel_is_installed(cell: Cell, lock: Lock) -> None:
    """In the layer of torch, Triton's static libraries and symbol tables; nothing with slim: false."""
    named = {layer.name: layer.excluded for layer in layers(cell, lock) if any(layer.excluded.values())}
    left_out = ("triton/backends/nvidia/lib/*/*_static.a",)
    assert named == {"torch": {"left_out": left_out, "stripped": ("triton/_C/lib*.so",)}}
    kept = dataclasses.replace(cell, slim=False)
    assert not any(paths for layer in layers(kept, lock) for paths in layer.excluded.values())
    for how, paths in named["torch"].items():
        assert (make_contract(cell, lock)[how], make_contract(kept, lock)[how]) == (list(paths), [])


def test_without_cuda_there_are_no_empty_layers(cell: Cell, lock: Lock) -> None:
    """A cpu cell has no layer that installs nothing."""
    cpu = dataclasses.replace(lock, packages=tuple(p for p in lock.packages if "nvidia" not in p.name))
    assert list(names(cell, cpu)) == ["debian", "python", "torch", "packages", "user"]


def test_nvidia_wheel_of_one_python_is_not_below_python(cell: Cell, lock: Lock) -> None:
    """A shared layer holds only what every Python can use."""
    odd = dataclasses.replace(lock.packages[2], file="nvidia_cublas-13.1.1.3-cp311-cp311-manylinux_2_28_x86_64.whl")
    changed = dataclasses.replace(lock, packages=(odd, *lock.packages[3:]))
    assert "nvidia-cublas" in names(cell, changed)["packages"]


def test_devel_shares_all_that_lies_below_it(cell: Cell, lock: Lock) -> None:
    """What the devel variant adds is on top, so the plain cell's layers are a prefix of its own."""
    added = (make_package("nvidia-cuda-nvcc", "13.0.88"), make_package("ninja", "1.13.2"))
    devel = dataclasses.replace(lock, packages=(*lock.packages, *added))
    above = layers(dataclasses.replace(cell, variant="devel"), devel)
    assert [layer.name for layer in above][-2:] == ["devel", "user"]
    assert above[:-2] == layers(cell, lock)[:-1]


def test_cells_that_share_are_told_by_what_lies_below_python(plan: Plan) -> None:
    """Another torch changes nothing below Python; another cuDNN does."""

    def other(name: str) -> Plan:
        packages = tuple(dataclasses.replace(p, version="99") if p.name == name else p for p in plan.lock.packages)
        lock = dataclasses.replace(plan.lock, packages=packages)
        return dataclasses.replace(plan, lock=lock, layers=layers(plan.cell, lock))

    assert other("torch").shared == plan.shared
    assert other("nvidia-cudnn-cu13").shared != plan.shared


def test_tags_start_with_the_id(plan: Plan) -> None:
    """The full tag, then the short ones."""
    assert plan.tags == ("torchdev:py311-cu130-torch2.13.0", "torchdev:py311-cu130")


def test_bake_target_has_no_dots(plan: Plan) -> None:
    """Bake allows none in a target's name."""
    assert plan.target == "py311-cu130-torch2_13_0"


def test_labels_name_versions_bases_and_lock(plan: Plan) -> None:
    """What an inspecting program needs."""
    labels = plan.labels
    assert labels["io.torchdev.cudnn"] == "9.20.0.48"
    assert labels["io.torchdev.lock"] == plan.lock.digest
    assert labels["org.opencontainers.image.base.digest"] == f"sha256:{'1' * 64}"
    assert labels["io.torchdev.base.origin"] == "official"


def test_base_labels_can_replace_those_of_the_official_bases(plan: Plan) -> None:
    """Every label that names an official base is among those that a bootstrapped one sets."""
    labels = base_labels("bootstrapped", ("torchdev-bootstrap/debian:x", "sha256:a"), ("own/python:x", "sha256:b"))
    merged = "".join((plan.labels | labels).values())
    assert "docker.io" not in merged
    assert "1" * 64 not in merged
    assert "2" * 64 not in merged
