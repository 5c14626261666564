"""What the catalog has before anybody wrote down its facts: everything works, and says what is not known yet."""

import copy
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.unit.conftest import ROOT
from torchdev.catalog import builds as catalog
from torchdev.catalog import explain, facts, grid, releases, support
from torchdev.catalog import query as queries
from torchdev.docgen import pages
from torchdev.docgen.project import open_project
from torchdev.image.contract import make_contract

SECTIONS = ("flavours", "cudnn", "architectures", "drivers", "toolkits", "driver_branches", "gpus", "cudnn_gpu",
            "python_eol", "companions")  # fmt: skip
QUERIES = [
    {"driver": "580"}, {"driver": "300"}, {"torch": "2.15"}, {"cuda": "cu140", "driver": "580"}, {"cuda": "cu140"},
    {"cuda": "cu140", "python": "3.16"}, {"python": "3.16"}, {"torch": "3.0"}, {"glibc": "2.28"}, {"cudnn": "9.20"},
    {"torch": "3.0", "torchvision": "any"}, {"variant": "devel", "cuda": "cu140"}, {"torch": "2.15", "arch": "arm64"},
]  # fmt: skip


def _forget() -> None:
    """Have what was computed from facts and catalog computed again; the catalog's file stays as it was read."""
    for module in (facts, releases, support, queries, explain):
        for name in dir(module):
            value = getattr(module, name)
            if hasattr(value, "cache_clear") and value is not catalog.load:
                value.cache_clear()


@pytest.fixture
def forgetful() -> Iterator[None]:
    """Nothing computed from changed data is left."""
    yield
    _forget()


def _tomorrow() -> catalog.Catalog:
    """The catalog with a CUDA, a Python, a PyTorch and a GPU that are new."""
    known = catalog.load()
    builds = [b for b in known.of("torch") if (b.version, b.arch) == ("2.15.0", "amd64")]
    wheels = tuple(replace(wheel, file=wheel.file.replace("cp314-cp314", "cp316-cp316")) for wheel in builds[0].wheels)
    new = [
        replace(builds[0], flavour="cu140", origin="pytorch"),
        replace(builds[0], wheels=wheels, version="3.0.0", flavour="cu140", architectures=("sm_130", "compute_130")),
        replace(builds[0], version="3.1.0", cudnn=None, architectures=(), requires=None),
    ]
    return replace(known, builds=(*known.builds, *new))


def _everything() -> None:
    """Every question and page that facts stand in."""
    assert grid.as_text()
    assert json.loads(grid.as_json())
    assert pages._flavours()
    assert pages._pythons()
    for query in QUERIES:
        try:
            said = explain.explain(queries.checked(query))
        except explain.InputError:
            continue
        assert explain.as_text(said)
        assert json.loads(explain.as_json(said))
    for gpu in facts.gpus()[:3]:
        assert explain.as_text(explain.explain({"gpu": gpu, "driver": "580"}))


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_of_facts_may_be_empty(section: str, monkeypatch: pytest.MonkeyPatch, forgetful: None) -> None:
    """Each by itself, for every CUDA, Python, GPU and release at once."""
    data = {**copy.deepcopy(facts._data()), section: {}}
    data |= {"aliases": {}} if section == "gpus" else {}
    _forget()
    monkeypatch.setattr(facts, "_data", lambda: data)
    _everything()
    if section == "companions":
        return  # locks are for those that it names
    project = open_project(ROOT, ROOT / "matrix.yaml")
    for plan in project.plans(project.matrix.select(["latest", "py312-cpu"])):
        assert plan.labels
        contract = make_contract(plan.cell, plan.lock)
        assert contract["labels"]["io.torchdev.driver"] == plan.labels["io.torchdev.driver"]
        if section == "drivers" and plan.cell.cuda:
            assert plan.labels["io.torchdev.driver"] == facts.NOT_KNOWN
            assert contract["support"].endswith("driver not known yet")


def test_the_catalog_may_be_ahead(monkeypatch: pytest.MonkeyPatch, forgetful: None) -> None:
    """A refresh on the day of a new CUDA, Python, GPU and PyTorch."""
    new = _tomorrow()
    _forget()
    for module in (catalog, releases, support):
        monkeypatch.setattr(module, "load", lambda: new)
    _everything()
    text = grid.as_text()
    assert "cu140" in text
    assert facts.NOT_KNOWN in text
    assert "driver not known yet" in explain.as_text(explain.explain({"cuda": "cu140", "torch": "2.15.0"}))
    refused = explain.explain({"cuda": "cu140", "driver": "580"})
    assert not refused.possible
    assert "the driver that CUDA 14.0 needs is not known yet" in explain.as_text(refused)
    shown = explain.explain({"cuda": "cu140", "gpu": "H100"})
    assert explain.as_text(shown)
    assert f"| 3.16 | 3.0.0 | 3.0.0 | {facts.NOT_KNOWN} |" in pages._pythons()
