"""What can exist, what can't and why, and what is nearest."""

import pytest

from torchdev import catalog


@pytest.mark.parametrize(
    ("python", "flavour", "torch", "fact"),
    [
        ("3.9", "cu130", "2.13.0", "has wheels for Python 3.10 to 3.14"),
        ("3.8", "cu124", "2.5.1", "has wheels for Python 3.9 to 3.13"),
        ("3.13", "cu124", "2.4.1", "has wheels for Python 3.8 to 3.12"),
        ("3.14", "cu126", "2.7.1", "has wheels for Python 3.9 to 3.13"),
        ("3.9", "cu118", "2.8.0", "is built for cpu, cu126, cu128, cu129"),
    ],
)
def test_impossible_cells_are_told_why(python: str, flavour: str, torch: str, fact: str) -> None:
    """The fact that forbids it, and where it was read."""
    said = catalog.conflict(python, flavour, torch)
    assert fact in said
    assert "(" in said


@pytest.mark.parametrize(("python", "flavour", "torch"), [("3.9", "cu118", "2.7.1"), ("3.14", "cu130", "2.13.0")])
def test_possible_cells_are_let_be(python: str, flavour: str, torch: str) -> None:
    """No word against what exists, nor against a release of which nothing is known."""
    assert catalog.conflict(python, flavour, torch) == ""
    assert catalog.conflict(python, flavour, "99.0.0") == ""


def test_nearest_keep_two_of_the_three_and_exist() -> None:
    """Another PyTorch first, then another Python, then another CUDA."""
    near = catalog.nearest("3.9", "cu128", "2.9.1")
    assert near == [("3.9", "cu128", "2.8.0"), ("3.10", "cu128", "2.9.1")]
    assert not any(catalog.conflict(*cell) for cell in near)
    assert catalog.nearest("3.9", "cu118", "2.8.0")[0] == ("3.9", "cu118", "2.7.1")


def test_every_known_release_has_its_pypi_flavour() -> None:
    """The table agrees with itself: the flavour on PyPI is one of the flavours, and its cuDNN is known."""
    for version in catalog.known():
        found = catalog.release(version)
        assert found
        assert found.on_pypi in found.flavours
        assert found.on_pypi in found.cudnn
        assert set(found.cudnn) <= set(found.flavours)
