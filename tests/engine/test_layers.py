"""Layers depend on their inputs alone, and nothing of the host is in them."""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from torchdev.docgen.project import Project
from torchdev.engine.client import Engine
from torchdev.image.context import context_of
from torchdev.image.plan import EPOCH, Plan
from torchdev.pipeline.report import storage

STEP = "mkdir -p /own/deep && date +%s > /own/deep/then && rm /own/deep/then && touch /own/deep/file /etc/own"
TAG = "torchdev-test:layers"


@pytest.fixture
def twice(engine: Engine, build: Callable[..., Path], base: str, project: Project, plan: Plan) -> Iterator[object]:
    """Build a step twice without cache, a second apart, and compare diffIDs."""

    def layers(step: str) -> list[tuple[str, ...]]:
        found = []
        for _ in range(2):
            mount = f"--mount=type=bind,source={context_of(plan).scripts},target=/scripts"
            build(f"FROM {base}\nRUN {mount} {step}\n", TAG, context=project.images)
            image = engine.image(TAG)
            assert image
            found.append(image.layers)
            time.sleep(1.1)
        return found

    yield layers
    if engine.image(TAG):
        engine.untag(TAG)


def test_sealed_step_gives_the_same_layer_twice(twice: Callable[[str], list[tuple[str, ...]]]) -> None:
    """Without cache and at another time."""
    first, second = twice(f"/scripts/sealed bash -c '{STEP}'")
    assert first == second


def test_unsealed_step_does_not(twice: Callable[[str], list[tuple[str, ...]]]) -> None:
    """The check above can fail: the same step without `sealed` differs."""
    first, second = twice(f"bash -c '{STEP}'")
    assert first[:-1] == second[:-1]
    assert first[-1] != second[-1]


def test_every_file_of_a_cell_has_the_fixed_time_or_its_bases(engine: Engine, plan: Plan) -> None:
    """Nothing above the base was left with the time of the build."""
    command = ["find", "/", "-xdev", "-newermt", f"@{EPOCH}", "-not", "-path", "/proc*", "-not", "-path", "/sys*"]
    status, output = engine.run(plan.tags[0], command, user="0", entrypoint="")
    assert status == 0
    mounted = {"/", "/etc", "/dev", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/etc/mtab", "/.dockerenv"}
    late = [path for path in output.splitlines() if path not in mounted and not path.startswith("/dev/")]
    assert late == []


def leading(one: list[Any], other: list[Any]) -> int:
    """How many items two lists have in common from their beginning."""
    return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))))


def inputs(plan: Plan) -> list[tuple[str, str, str]]:
    """What goes into each layer of a cell, beside the templates, which all cells have in common."""
    own = {"python": plan.cell.python, "user": plan.cell.id}
    return [(layer.name, layer.pins, own.get(layer.name, "")) for layer in plan.layers]


def test_cells_share_what_has_the_same_inputs(engine: Engine, project: Project, plan: Plan) -> None:
    """Of every two cells that are built: diffID by diffID up to the first layer whose inputs differ, and no further."""
    locked = project.by_lock(project.matrix.cells)[0]
    plans = [other for other in project.plans(locked) if engine.image(other.tags[0])]
    if not [other for other in plans if other.shared == plan.shared and other.cell.python != plan.cell.python]:
        pytest.skip(f"needs another Python on the CUDA of {plan.cell.id}: python build.py check")
    chains = {other: [name for name, _ in engine.layer_sizes(other.tags[0])] for other in plans}
    for one, other in itertools.combinations(plans, 2):
        expected = 1 + leading(inputs(one), inputs(other))
        assert leading(chains[one], chains[other]) == expected, f"{one.cell.id}, {other.cell.id}"
    found = storage([engine.layer_sizes(other.tags[0]) for other in plans])
    assert found.stored < found.together


def test_nothing_of_the_host_is_in_the_image(engine: Engine, plan: Plan) -> None:
    """Neither secrets nor settings: no variable, no history entry, no leftover mount."""
    text = json.dumps([engine.environment(plan.tags[0]), engine.history(plan.tags[0])])
    for word in ("index-url", "PIP_", "UV_", "SSL_CERT", "_PROXY=", "BEGIN CERTIFICATE"):
        assert word not in text
    leftovers = "ls -A /run/secrets /scripts /steps /wheels /tool /python /files /.uv-cache 2>/dev/null || true"
    status, output = engine.run(plan.tags[0], ["sh", "-c", leftovers], entrypoint="")
    assert (status, output.strip()) == (0, "")
