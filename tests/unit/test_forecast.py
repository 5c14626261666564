"""What building takes is told beforehand: what is shared counts once."""

import dataclasses
import hashlib
import json

import pytest

from torchdev.forecast import BASE, BESIDE_WHEELS, BYTECODE, as_json, as_text, forecast, total
from torchdev.lock import Package
from torchdev.matrix import Cell
from torchdev.plan import Plan

BESIDE = BASE + sum(BESIDE_WHEELS.values()) + sum(BYTECODE.values())
WHEELS = 9
"""Wheels of the small lock: each 10 bytes to fetch, 20 unpacked."""


def distinct(package: Package) -> Package:
    """A wheel with a hash of its own; the small lock has one for all."""
    return dataclasses.replace(package, sha256=hashlib.sha256(package.file.encode()).hexdigest())


@pytest.fixture
def first(plan: Plan) -> Plan:
    """The plan of the small lock."""
    layers = tuple(dataclasses.replace(x, packages=tuple(map(distinct, x.packages))) for x in plan.layers)
    return dataclasses.replace(plan, layers=layers)


@pytest.fixture
def second(first: Plan, cell: Cell) -> Plan:
    """The same on another Python."""
    python = dataclasses.replace(first.python, name="python:3.13-slim-bookworm")
    return dataclasses.replace(first, cell=dataclasses.replace(cell, python="3.13"), python=python)


def test_one_cell(first: Plan) -> None:
    """All wheels are fetched and unpacked; the rest has measured sizes."""
    found = total(forecast([first], built=(), local=()))
    assert (found.cells, found.fetch, found.stored) == (1, 10 * WHEELS, BESIDE + 20 * WHEELS)
    assert found.alone == found.missing == found.stored


def test_what_lies_below_python_is_stored_once(first: Plan, second: Plan) -> None:
    """Two Pythons: one base, one CUDA, one Debian; and no wheel is fetched twice."""
    layers = forecast([first, second], built=(), local=())
    shared = [layer.name for layer in layers if len(layer.cells) == 2]
    assert shared == ["base", "cuda", "cudnn", "nccl", "debian"]
    found = total(layers)
    assert found.fetch == 10 * WHEELS
    assert found.alone - found.stored == BASE + BESIDE_WHEELS["debian"] + 20 * 5


def test_what_is_there_costs_nothing(first: Plan, second: Plan) -> None:
    """Neither layers of a built image, nor wheels that lie in a folder here."""
    layers = forecast([first, second], built={first.cell.id}, local=())
    assert [layer.name for layer in layers if layer.there][:5] == ["base", "cuda", "cudnn", "nccl", "debian"]
    above = ("python", "torch", "packages", "user")
    assert [layer.name for layer in layers if not layer.there] == list(above)
    wheel = first.layers[0].packages[0].sha256 or ""
    assert total(forecast([first], built=(), local={wheel})).fetch == 10 * (WHEELS - 1)


def test_another_order_is_another_layer(first: Plan) -> None:
    """A layer is the same only on the same layers below."""
    other = dataclasses.replace(first, layers=(first.layers[1], first.layers[0], *first.layers[2:]))
    layers = forecast([first, other], built=(), local=())
    assert [layer.name for layer in layers if len(layer.cells) == 2] == ["base"]


def test_disk_too_small_is_told_with_figures(first: Plan) -> None:
    """And enough is told, too; JSON has the same."""
    layers = forecast([first], built=(), local=())
    assert "the engine's disk has 0.10 GB free: too small" in as_text(layers, 100_000_000)
    assert "free: enough" in as_text(layers, 10**12)
    said = json.loads(as_json(layers, None))
    assert said["free"] is None
    assert said["sum"]["stored"] == total(layers).stored
    assert [layer["name"] for layer in said["layers"]] == [layer.name for layer in layers]
