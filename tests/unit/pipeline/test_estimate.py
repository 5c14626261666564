"""What building takes is told beforehand: what is shared counts once."""

import dataclasses

from torchdev.image import slimming
from torchdev.image.plan import Plan
from torchdev.pipeline.estimate import (
    BASE,
    BESIDE_WHEELS,
    BYTECODE,
    below,
    chain,
    estimate_layers,
    layer_bytes,
    needed,
    total,
)

BESIDE = BASE + sum(BESIDE_WHEELS.values()) + sum(BYTECODE.values())
WHEELS = 9
"""Wheels of the small lock: each 10 bytes to fetch, 20 unpacked."""


def test_one_cell(first: Plan) -> None:
    """All wheels are fetched and unpacked; the rest has measured sizes."""
    found = total(estimate_layers([first], local=()))
    assert (found.cells, found.fetch, found.stored) == (1, 10 * WHEELS, BESIDE + 20 * WHEELS)
    assert found.alone == found.missing == found.stored


def test_what_images_lack_is_not_stored(first: Plan) -> None:
    """By the sizes of the removal list."""
    big = dataclasses.replace(first.layers[0].packages[0], name="nvidia-cuda-nvrtc", installed=200_000_000)
    layer = dataclasses.replace(first.layers[0], packages=(big,))
    assert layer_bytes(layer) == 200_000_000
    for version, taken in slimming.rules_of(["nvidia-cuda-nvrtc"])[0].bytes.items():
        slim = dataclasses.replace(layer, slim=True, packages=(dataclasses.replace(big, version=version),))
        assert layer_bytes(slim) == 200_000_000 - taken


def test_of_other_versions_the_one_before_tells() -> None:
    """And of those before the first, the first."""
    rule = slimming.Rule(
        how="stripped", projects="a", paths=("a.so",), bytes={"1.0": 10, "1.10": 30, "1.9": 20}, why=""
    )
    assert [rule.taken(version) for version in ("0.1", "1.0", "1.9.1", "1.10", "2.0")] == [10, 10, 20, 30, 30]


def test_what_lies_below_python_is_stored_once(first: Plan, second: Plan) -> None:
    """Two Pythons: one base, one CUDA, one Debian; and no wheel is fetched twice."""
    layers = estimate_layers([first, second], local=())
    shared = [layer.name for layer in layers if len(layer.cells) == 2]
    assert shared == ["base", "cuda", "cudnn", "nccl", "debian"]
    found = total(layers)
    assert found.fetch == 10 * WHEELS
    assert found.alone - found.stored == BASE + BESIDE_WHEELS["debian"] + 20 * 5


def test_what_is_there_costs_nothing(first: Plan, second: Plan) -> None:
    """Neither layers of a built image, nor wheels that lie in a folder here."""
    layers = estimate_layers([first, second], local=(), present=chain(first))
    assert [layer.name for layer in layers if layer.there][:5] == ["base", "cuda", "cudnn", "nccl", "debian"]
    above = ("python", "torch", "packages", "user")
    assert [layer.name for layer in layers if not layer.there] == list(above)
    wheel = first.layers[0].packages[0].sha256 or ""
    assert total(estimate_layers([first], local={wheel})).fetch == 10 * (WHEELS - 1)


def test_another_order_is_another_layer(first: Plan) -> None:
    """A layer is the same only on the same layers below."""
    other = dataclasses.replace(first, layers=(first.layers[1], first.layers[0], *first.layers[2:]))
    layers = estimate_layers([first, other], local=())
    assert [layer.name for layer in layers if len(layer.cells) == 2] == ["base"]


def test_layers_that_any_image_has_are_there(first: Plan, second: Plan) -> None:
    """By their names, whatever image has them: those below Python serve a cell that was never built."""
    layers = estimate_layers([second], (), present=chain(first))
    assert [layer.name for layer in layers if layer.there] == ["base", "cuda", "cudnn", "nccl", "debian"]
    assert needed([second], chain(second)) == 0
    assert needed([second], chain(first)) == needed([second], ()) - BASE - 3 * BESIDE_WHEELS["debian"] - (20 + 10) * 5


def test_needed_counts_layers_and_wheel_files_once(first: Plan, second: Plan) -> None:
    """A wheel is stored as a file while its layer is made of it; what serves every CUDA is made once a Python."""
    found = total(estimate_layers([first, second], ()))
    made = 2 * BESIDE_WHEELS["debian"] + 2 * (BESIDE_WHEELS["python"] + BYTECODE["packages"] + 20 * 2)
    assert needed([first, second], ()) == found.stored + 10 * WHEELS + made
    assert needed([below(first)], ()) == BASE + 3 * BESIDE_WHEELS["debian"] + 30 * 5
