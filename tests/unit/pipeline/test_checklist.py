"""The list of checks, read off tests/image."""

from concurrent.futures import ThreadPoolExecutor

from tests.unit.conftest import ROOT
from torchdev.pipeline.checklist import read_checks


def test_checks_are_read_in_several_threads() -> None:
    """As cells that are checked at once do."""
    folder = ROOT / "tests" / "image"
    alone = read_checks(folder)
    with ThreadPoolExecutor(8) as pool:
        assert all(found == alone for found in pool.map(lambda _: read_checks(folder), range(16)))
