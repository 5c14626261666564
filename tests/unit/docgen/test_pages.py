"""Pages that are generated: they say what the catalog and the locks say, and a drift is seen."""

import dataclasses
import re
from collections.abc import Callable

import pytest

from bench import table
from bench.results import Results, from_json
from tests.unit.conftest import ROOT
from torchdev.docgen import pages
from torchdev.docgen.project import open_project
from torchdev.matrix.load import Cell
from torchdev.wheels.lock import Lock


@pytest.mark.parametrize(
    ("page", "filled", "drift"),
    [("README.md", table.summary_in_page, ("135.4 s", "13.5 s")), ("docs/bench.md", table.in_page, ("0.417", "0.317"))],
)
def test_figures_are_those_of_the_bench(
    page: str, filled: "Callable[[str, Results], str]", drift: "tuple[str, str]"
) -> None:
    """What stands in a page is what bench/results.json says; another figure would not be the same."""
    results = from_json((ROOT / pages.RESULTS).read_text(), pages.RESULTS)
    text = (ROOT / page).read_text()
    assert filled(text, results) == text
    drifted = text.replace(*drift)
    assert drifted != text
    assert filled(drifted, results) == text


def test_readme_is_short() -> None:
    """Someone decides in two minutes: at most 1,000 words."""
    assert len((ROOT / "README.md").read_text().split()) <= 1000


def test_links_lead_somewhere() -> None:
    """Every relative link of README.md and docs/ names a file of the checkout, and each page is in the index."""
    written = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")]
    for page in written:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert ":" in target or (page.parent / target).exists(), f"{page.name}: {target}"
    index = (ROOT / "docs" / "README.md").read_text()
    for path in (ROOT / "docs").glob("*.md"):
        assert path.name == "README.md" or f"]({path.name})" in index, path.name


def test_committed_pages_are_current() -> None:
    """docs/ and the schema are as `render` writes them."""
    for name, text in open_project(ROOT, ROOT / "matrix.yaml").pages().items():
        assert (ROOT / name).read_text() == text, name


def test_grid_page_has_ends_and_drivers() -> None:
    """First and last PyTorch of CUDA variants and Pythons, drivers, and days of the last fix."""
    page = pages.grid_page()
    assert "| cu118 | 2.0.0 | 2.7.1 | 450.80.02 |" in page
    assert "| 3.9 | 1.10.0 | 2.8.0 | 2025-10-31 |" in page
    assert "- wheels on PyPI, read 2" in page


def test_what_is_unlocked_is_told(cell: Cell, lock: Lock) -> None:
    """Cells without lock, and wheels without hash; a whole lock is not spoken of."""
    first, *rest = lock.packages
    incomplete = dataclasses.replace(lock, packages=(dataclasses.replace(first, sha256=None), *rest))
    assert "Every cell has a whole lock" in pages.unlocked_page({cell: lock})
    assert f"hashes of {first.name} {first.version}" in pages.unlocked_page({cell: incomplete})
    assert f"| {cell.id} | no lock" in pages.unlocked_page({cell: None})
