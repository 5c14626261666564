"""The axes of explain: each is one object, and one that is new needs no more than that."""

import subprocess
import sys

import pytest

from tests.unit.catalog.test_explain import NO
from tests.unit.conftest import ROOT
from torchdev.catalog import explain
from torchdev.catalog.axes import AXES, VERSION, Asked, Axis, Query
from torchdev.catalog.query import checked
from torchdev.catalog.releases import Combination
from torchdev.catalog.support import begins
from torchdev.cli import arguments
from torchdev.util.errors import InputError


class Nccl(Axis):
    """The NCCL that PyTorch was built with: an axis that torchdev does not have."""

    name, example, words = "nccl", "2.27", "NCCL {}"
    other, weight = "another NCCL", 0.5

    def admits(self, c: Combination, value: str, query: Query) -> bool:
        """The version, or one that it stands for."""
        return bool(c.build.nccl) and begins(c.build.nccl or "", value)


@pytest.fixture
def nccl(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more axis."""
    monkeypatch.setitem(AXES, "nccl", Nccl())


def test_a_new_axis_is_an_option(nccl: None) -> None:
    """With its help; its value is checked by its pattern."""
    top, _ = arguments.parser(ROOT / "matrix.yaml")
    assert top.parse_args(["explain", "--nccl", "2.27"]).nccl == "2.27"
    with pytest.raises(InputError, match='--nccl "new" is not a version such as'):
        checked({"nccl": "new"})


def test_a_new_axis_is_asked_and_answered(nccl: None) -> None:
    """Yes with what has it; no with a reason; what is nearest says what it gives up."""
    said = explain.answer("py312-cu128", {"nccl": "2"})
    assert said.possible
    assert explain.as_text(said).startswith("yes: Python 3.12, cu128, NCCL 2\n")
    refused = explain.answer("py312-cu128", {"nccl": "1.3"})
    assert [conflict.axes for conflict in refused.conflicts] == [("nccl",)]
    assert [fact.text for fact in refused.conflicts[0].facts] == ["the catalog: no NCCL 1.3"]
    assert refused.nearest[0].changed == ("nccl",)
    assert "; another NCCL" in explain.as_text(refused)


def test_the_lightest_axis_gives_way_first(nccl: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its weight: the same query, answered by another axis as soon as that costs less."""
    newest = {"cuda": "cu130", "nccl": explain.answer("py312-cu128-torch2.8.0", {}).found[0].combination.build.nccl}
    query = {axis: value for axis, value in newest.items() if value}
    assert explain.explain(query).nearest[0].changed == ("nccl",)
    monkeypatch.setattr(Nccl, "weight", 100.0)
    assert explain.explain(query).nearest[0].changed == ("cuda",)


def test_every_axis_is_described_and_refused_somewhere() -> None:
    """A kind, an example that is of it, a weight; and a query above that it makes impossible."""
    refused = {axis for _, _, axes, _, _ in NO for axis in axes}
    assert set(AXES) == refused
    for name, axis in AXES.items():
        assert axis.name == name
        assert axis.weight > 0
        assert axis.other
        for example in axis.help.removeprefix("such as ").split(" or ") if not axis.bare else ["any", "2.11.0"]:
            assert axis.spelled(example) == example
            assert axis.text(example)


def test_reasons_have_the_sources_of_the_combinations() -> None:
    """Each once, in their order; what an axis has no more to say of is told as not there."""
    found = explain.answer("py312-cpu", {"torch": "2.8"}).found[0].combination
    asked = Asked("535", {"cuda": "cpu"}, (found, found))
    [fact] = AXES["driver"].reasons(asked)
    assert (fact.text, fact.sources) == ("cpu: no driver 535", found.sources)


def test_values_agree_if_one_is_a_part_of_the_other() -> None:
    """Versions by their numbers; all else only if it is the same."""
    assert AXES["cudnn"].agree("9.20", "9.20.0.48")
    assert AXES["torch"].agree("2.13.0", "2.13")
    assert not AXES["cudnn"].agree("9.2", "9.20.0.48")
    assert not AXES["python"].agree("3.1", "3.11")
    assert AXES["variant"].agree("devel", "devel")
    assert AXES["driver"].kind is VERSION


def test_options_are_known_before_the_environment_is() -> None:
    """The axes load on the standard library alone."""
    program = "import sys; sys.path.insert(0, '.'); from torchdev.catalog.axes import AXES; print(*AXES)"
    command = [sys.executable, "-S", "-I", "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(AXES)


TOLD = """\
no: V100, driver 590

  V100 and driver 590 can't be:
    driver 580 is the last branch that serves V100 [1]

  nearest that exist:
"""


def test_what_is_told_is_held_word_by_word() -> None:
    """The answer's form: the query, a conflict with its facts, what is nearest, the sources by number."""
    said = explain.as_text(explain.answer(None, {"gpu": "V100", "driver": "590"}))
    assert said.startswith(TOLD)
    near, sources = said.removeprefix(TOLD).split("\n\n")
    assert [line.rpartition("; ")[2] for line in near.splitlines()] == ["another driver", "another GPU"]
    assert sources.startswith("  [1] ")
    assert ", read 20" in sources
