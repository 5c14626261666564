"""What explain proposes can be locked."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.unit.catalog.test_explain import NO
from torchdev.catalog import explain
from torchdev.catalog.builds import PYPI
from torchdev.catalog.releases import Combination
from torchdev.matrix.load import ALWAYS, Cell
from torchdev.util.errors import BuildError
from torchdev.util.positions import Position
from torchdev.wheels.host import Host
from torchdev.wheels.pylock import Resolved
from torchdev.wheels.resolve import _wanted
from torchdev.wheels.uv import compile_cell
from torchdev.wheels.wheel import best

NEAR = {near.id: near for cell, constraints, *_ in NO[:8] for near in explain.answer(cell or None, constraints).nearest}
PROPOSED = {name: near.combination for name, near in NEAR.items() if near.combination.build.origin == PYPI}
AT_ONCE = 6
"""uv waits for the index most of the time."""


def cell_of(c: Combination) -> Cell:
    """The cell that a matrix would have of a combination."""
    companions = [f"{name}=={version}" for name, version in c.companions]
    requirements = (f"torch=={c.torch}", *companions, *ALWAYS, "numpy", "scipy", "pillow")
    return Cell(
        python=c.python, flavour=c.flavour, torch=c.torch, requirements=requirements, position=Position("test", 1, 1)
    )


@pytest.fixture(scope="session")
def resolved(host: Host) -> "dict[str, list[Resolved] | BuildError]":
    """What uv finds for each proposal, or why it finds nothing."""

    def resolve(cell: Cell) -> "list[Resolved] | BuildError":
        try:
            return compile_cell(cell, host, _wanted(cell))
        except BuildError as error:
            return error

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(PROPOSED, pool.map(resolve, map(cell_of, PROPOSED.values())), strict=True))


@pytest.mark.parametrize("name", sorted(PROPOSED))
def test_what_is_proposed_can_be_locked(resolved: "dict[str, list[Resolved] | BuildError]", name: str) -> None:
    """Uv finds versions that fit, and of each a wheel for the cell with a hash."""
    found = resolved[name]
    assert not isinstance(found, BuildError), str(found)
    for release in found:
        link = release.links[str(best(release.links, PROPOSED[name].python))]
        assert link.sha256, release.name
