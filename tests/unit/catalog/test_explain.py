"""What can exist, what can't and why, and what is nearest."""

import dataclasses
import json

import pytest

from torchdev.catalog import explain, facts, releases, support
from torchdev.catalog import query as queries
from torchdev.util.errors import InputError

NO = [
    ("py39-cu130", {}, {"python", "cuda"},
     "cu130: Python 3.10 to 3.14 (PyTorch 2.9.0 to 2.14.1)", "py39-cu128-torch2.8.0"),
    ("", {"python": "3.8", "torch": "2.5"}, {"python", "torch"},
     "PyTorch 2.5: Python 3.9 to 3.13", "py38-cu121-torch2.4.1"),
    ("", {"python": "3.13", "torch": "2.4"}, {"python", "torch"},
     "PyTorch 2.4: Python 3.8 to 3.12", "py313-cu124-torch2.5.0"),
    ("py314-cu126", {"torch": "2.7"}, {"python", "torch"}, "PyTorch 2.7: Python 3.9 to 3.13", "py313-cu126-torch2.7.1"),
    ("", {"torch": "2.13", "torchaudio": "any"}, {"torch", "torchaudio"},
     "torchaudio ends with 2.11.0", "py312-cu130-torch2.13.0"),
    ("", {"torch": "2.8", "cudnn": "8"}, {"torch", "cudnn"}, "built with cuDNN 9.10.2.21", "py312-cu128-torch2.8.0"),
    ("", {"cudnn": "9.20", "gpu": "V100"}, {"cudnn", "gpu"}, "no longer from 9.11", "py312-cu128-torch2.10.0"),
    ("", {"driver": "535", "cuda": "cu130"}, {"driver", "cuda"}, "CUDA 13 needs driver 580", "py312-cu128-torch2.10.0"),
    ("", {"gpu": "V100", "cuda": "cu130"}, {"gpu", "cuda"}, "V100 is sm_70", "py312-cu128-torch2.10.0"),
    ("", {"gpu": "RTX 5090", "torch": "2.6"}, {"gpu", "torch"}, "is sm_120", "py312-cu128-torch2.8.0"),
    ("", {"gpu": "H100", "cuda": "cu102"}, {"gpu", "cuda"}, "H100 is sm_90", ""),
    ("", {"gpu": "V100", "driver": "590"}, {"gpu", "driver"}, "580 is the last branch", "py312-cu128-torch2.10.0"),
    ("", {"glibc": "2.17", "torch": "2.8"}, {"glibc", "torch"}, "needs glibc 2.28", "py312-cu124-torch2.6.0"),
    ("", {"variant": "devel", "cuda": "cu128"}, {"variant", "cuda"}, "no nvcc", "py312-cu130-torch2.14.1"),
    ("", {"arch": "arm64", "cuda": "cu118"}, {"arch", "cuda"}, "cu118: amd64", "py312-cu130-torch2.14.1-arm64"),
    ("", {"python": "3.13", "torch": "2.5.1", "torchvision": "any"}, {"python", "torch", "torchvision"},
     "torchvision 0.20.1 belongs to", "py313-cu124-torch2.5.1"),
    ("", {"cudnn": "9.99"}, {"cudnn"}, "PyPI has no cuDNN 9.99", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "constraints", "axes", "fact", "near"), NO, ids=[f"{n[0]} {n[1]}".strip() for n in NO]
)
def test_no_names_the_smallest_conflict_its_fact_and_what_is_near(
    cell: str, constraints: "dict[str, str]", axes: "set[str]", fact: str, near: str
) -> None:
    """The fact that truly forbids it comes with source and date; the nearest exist."""
    said = explain.answer(cell or None, constraints)
    assert not said.possible
    conflict = next(c for c in said.conflicts if set(c.axes) == axes)
    assert any(fact in one.text for one in conflict.facts), [one.text for one in conflict.facts]
    assert all(source.title and source.read for one in conflict.facts for source in one.sources)
    assert not near or near in [n.id for n in said.nearest]
    for n in said.nearest:
        kept = {axis: value for axis, value in said.query.items() if axis not in n.changed}
        assert queries.admits_all(kept, n.combination), "what is proposed is what was asked for, but for what is named"
        assert n.changed


YES = [
    ("py311-cu130", {}, "py311-cu130-torch2.14.1"),
    ("py39-cu118-torch2.7.1", {}, "py39-cu118-torch2.7.1"),
    ("", {"gpu": "V100", "driver": "535"}, "py312-cu128-torch2.10.0"),
    ("", {"cudnn": "9.24", "cuda": "13.0", "torch": "2.13"}, "py312-cu130-torch2.13.0-cudnn9.24.0.43"),
    ("", {"arch": "arm64", "cuda": "cu132"}, "py312-cu132-torch2.15.0-arm64"),
]


@pytest.mark.parametrize(("cell", "constraints", "best"), YES, ids=[f"{y[0]} {y[1]}".strip() for y in YES])
def test_yes_names_the_newest_first(cell: str, constraints: "dict[str, str]", best: str) -> None:
    """What was asked for in part is answered by ids in full."""
    said = explain.answer(cell or None, constraints)
    assert said.possible
    assert said.found[0].id == best


def test_possible_agrees_with_explain() -> None:
    """The quick answer, of which the matrix makes use, is that of the whole search."""
    for python in ("3.8", "3.11", "3.15"):
        for flavour in ("cpu", "cu118", "cu128", "cu132"):
            for torch in ("1.13.1", "2.7.1", "2.15.0"):
                query = {"python": python, "cuda": flavour, "torch": torch}
                assert explain.possible(query) == explain.explain(query).possible, query


@pytest.mark.parametrize(
    ("cell", "constraints", "what"),
    [
        ("cuda12", {}, "not a cell's id"),
        (None, {}, "nothing was asked"),
        (None, {"torch": "9.9"}, "the catalog has no PyTorch 9.9"),
        (None, {"gpu": "Voodoo2"}, 'nothing is known of a GPU "Voodoo2"'),
        (None, {"driver": "new"}, '--driver "new" is not a version'),
        (None, {"python": "three"}, "not a Python series"),
    ],
)
def test_what_can_not_be_judged_is_an_error(cell: "str | None", constraints: "dict[str, str]", what: str) -> None:
    """It is neither yes nor no."""
    with pytest.raises(InputError) as caught:
        explain.answer(cell, constraints)
    assert what in str(caught.value)
    assert caught.value.next_step


def test_json_has_all_that_the_text_says() -> None:
    """For programs: query, facts with sources, proposals with what they need."""
    said = explain.answer("py39-cu130", {})
    data = json.loads(explain.as_json(said))
    assert (data["possible"], data["query"]) == (False, {"python": "3.9", "cuda": "cu130"})
    assert data["conflicts"][0]["facts"][0]["sources"][0]["read"]
    assert data["nearest"][0]["driver"]
    assert data["nearest"][0]["id"] in explain.as_text(said)


def test_one_source_of_what_is_on_pypi() -> None:
    """Flavours of releases on PyPI, by architecture; an unknown release may have any but cpu."""
    assert releases.is_on_pypi("2.8.0", "cu128")
    assert not releases.is_on_pypi("2.8.0", "cu126")
    assert releases.is_on_pypi("2.8.0", "cpu", "arm64")
    assert releases.is_on_pypi("2.13.0", "cu130", "arm64")
    assert releases.is_on_pypi("99.0.0", "cu130")
    assert not releases.is_on_pypi("99.0.0", "cpu")


@pytest.mark.parametrize(
    ("torch", "companions"),
    [
        ("1.10.2", {"torchvision": "0.11.3", "torchaudio": "0.10.2"}),
        ("2.7.1", {"torchvision": "0.22.1", "torchaudio": "2.7.1"}),
        ("2.13.0", {"torchvision": "0.28.0"}),
        ("2.15.0", {"torchvision": "0.29.2"}),
    ],
)
def test_companions_belong_to_their_release(torch: str, companions: "dict[str, str]") -> None:
    """By what they require, and where they require nothing exact by data/facts.yaml."""
    assert releases.companions_of(torch) == companions


def test_every_release_on_pypi_is_whole() -> None:
    """The catalog agrees with itself: hashes, Pythons, architectures, and pins where the libraries are not inside."""
    for (torch, arch), build in releases._on_pypi().items():
        assert all(w.sha256 and w.size for w in build.wheels), torch
        assert build.pythons
        assert build.requires is not None
        assert bool(build.architectures) == (build.flavour != "cpu"), (torch, arch)
        if build.flavour != "cpu" and not build.inside:
            assert build.cudnn, torch


def test_what_is_not_known_of_a_flavour_is_no_yes() -> None:
    """A GPU that its CUDA does not compile for is refused for that; another since nothing is known."""
    known = releases.find("2.7.1", "cu118", "amd64", "3.12")
    assert known
    unknown = dataclasses.replace(known, build=dataclasses.replace(known.build, architectures=()))
    assert "CUDA 11.8 compiles for compute capability 3.5 to 9.0" in str(support.gpu_refusal("RTX 5090", None, unknown))
    assert "it is not known which GPUs" in str(support.gpu_refusal("A100", None, unknown))
    assert support.gpu_refusal("A100", None, known) is None


def test_cpu_goes_with_any_driver_and_no_gpu() -> None:
    """A cpu CUDA variant needs no driver; what is asked for without a CUDA variant is meant to use the GPU."""
    assert explain.answer("py311-cpu", {"driver": "535"}).possible
    assert not explain.answer("py311-cpu", {"gpu": "A100"}).possible
    assert all(near.combination.cuda for near in explain.answer(None, {"driver": "535"}).found)


@pytest.mark.parametrize(
    ("architectures", "capability", "served"),
    [
        (("sm_80",), "8.0", True), (("sm_80",), "8.6", True), (("sm_80",), "9.0", False), (("sm_86",), "8.0", False),
        (("compute_80",), "12.0", True), (("sm_90a",), "9.0", True), (("sm_100a",), "10.3", False),
        (("sm_120",), "12.1", True), ((), "8.0", False),
    ],
)  # fmt: skip
def test_which_gpus_are_served(architectures: "tuple[str, ...]", capability: str, served: bool) -> None:
    """By cubins of the same major capability, PTX of an older one; those with a letter serve their own alone."""
    assert facts.serves(architectures, capability) == served


@pytest.mark.parametrize(
    ("cell", "constraints", "said"),
    [
        ("py39-cu130", {"python": "3.12"}, "py39-cu130 is for Python 3.9, and --python asks for Python 3.12"),
        ("py311-cu130-torch2.13.0", {"torch": "2.1"}, "--torch asks for PyTorch 2.1"),
        ("py312-cpu", {"cuda": "13.0"}, "--cuda asks for cu130"),
        ("py311-cu130-devel", {"variant": "plain"}, "--variant asks for"),
        ("py311-cu130-arm64", {"arch": "amd64"}, "--arch asks for"),
        ("py311-cu130-cudnn9.24.0.43", {"cudnn": "9.2"}, "--cudnn asks for"),
    ],
)
def test_a_cell_and_an_option_that_disagree(cell: str, constraints: "dict[str, str]", said: str) -> None:
    """Neither is dropped."""
    with pytest.raises(InputError) as caught:
        explain.answer(cell, constraints)
    assert said in str(caught.value)


def test_a_cell_and_an_option_that_agree() -> None:
    """The fuller version of the two is asked for."""
    query = explain.answer("py311-cu130-torch2.13.0", {"torch": "2.13", "cuda": "13.0", "python": "3.11"}).query
    assert query == {"python": "3.11", "cuda": "cu130", "torch": "2.13.0"}
    assert explain.answer("py311-cu130-cudnn9", {"cudnn": "9.24"}).query["cudnn"] == "9.24"


@pytest.mark.parametrize(("torch", "bounds"), [
    ("1.10.2", ["numpy<2", "setuptools<70"]),
    ("1.13.1", ["numpy<2", "setuptools<70"]),
    ("2.0.1", ["numpy<2", "setuptools<70", "sympy<1.13"]),
    ("2.1.2", ["numpy<2", "setuptools<70", "sympy<1.13"]),
    ("2.2.2", ["numpy<2", "sympy<1.13"]),
    ("2.3.0", ["sympy<1.13"]),
    ("2.4.1", ["sympy<1.13"]),
    ("2.5.0", []),
    ("2.15.0", []),
])  # fmt: skip
def test_old_releases_are_kept_from_what_came_after_them(torch: str, bounds: "list[str]") -> None:
    """Each with its reason and its source; releases of today are bounded by nothing but their own wheels."""
    found = facts.bounds(torch)
    assert [bound.requirement for bound in found] == bounds
    assert all(torch in str(bound) and "read 20" in str(bound) for bound in found)


def test_every_flavour_has_a_driver_and_a_toolkit_and_every_fact_its_source() -> None:
    """No query can meet a gap in the facts."""
    for c in releases.all_combinations():
        if c.cuda:
            assert facts.driver(c.cuda), c.cuda
            assert facts.toolkit(c.cuda), c.cuda
    for name in facts.gpus():
        assert facts.gpu(name), name
    for python in {c.python for c in releases.all_combinations()}:
        assert facts.end_of_life(python), python
    data = facts._data()
    used = {e["source"] for s, entries in data.items() if s not in ("sources", "aliases") for e in entries.values()}
    assert used <= set(data["sources"])
