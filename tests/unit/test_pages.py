"""Pages that are generated: they say what the catalog and the locks say, and a drift is seen."""

import dataclasses

from tests.unit.conftest import ROOT
from torchdev import pages
from torchdev.lock import Lock
from torchdev.matrix import Cell, load
from torchdev.project import open_project


def test_readme_holds_the_grid() -> None:
    """What stands in README.md is what is made now; another grid would not be the same."""
    text = (ROOT / "README.md").read_text()
    matrix = load(ROOT / "matrix.yaml")
    assert pages.with_grid(text, matrix) == text
    drifted = text.replace("2.9-2.14", "2.9-2.13")
    assert drifted != text
    assert pages.with_grid(drifted, matrix) == text


def test_committed_pages_are_current() -> None:
    """docs/ and the schema are as `render` writes them."""
    for name, text in open_project(ROOT, ROOT / "matrix.yaml").pages().items():
        assert (ROOT / name).read_text() == text, name


def test_grid_page_has_ends_and_drivers() -> None:
    """First and last PyTorch of flavours and Pythons, drivers, and days of the last fix."""
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
