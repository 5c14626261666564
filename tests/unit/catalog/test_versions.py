"""Versions and wheel names, as packaging reads them."""

import random

import pytest

from torchdev.catalog import versions, wheel_name
from torchdev.catalog.builds import Wheel

SORTED = ["2.0.0.dev1", "2.0.0", "2.9.0", "2.9.1a1", "2.9.1rc1", "2.9.1rc2", "2.9.1", "2.9.1.post1", "2.10.0", "3.0.0"]
TRIED = ("3.7", "3.9", "3.10", "3.11", "3.13", "3.13t")
PYTHONS = ["3.6", "3.9", "3.13", "3.13t", "3.14", "3.14t"]


def test_versions_are_in_packagings_order() -> None:
    """A candidate comes before its release and after the release before it; ten after nine."""
    mixed = random.Random(17).sample(SORTED, len(SORTED))
    assert sorted(mixed, key=versions.order) == SORTED
    assert sorted(random.Random(17).sample(PYTHONS, len(PYTHONS)), key=versions.python_order) == PYTHONS
    assert versions.span(mixed) == "2.0.0.dev1 to 3.0.0"
    assert versions.span(["2.9.1", "2.9.1"]) == "2.9.1"


@pytest.mark.parametrize(
    ("version", "wanted", "is_one"),
    [
        ("2.9.1", "2.9", True), ("2.9.1", "2", True), ("2.9.1", "2.9.1", True), ("2.9.1rc1", "2.9", True),
        ("2.9.1rc1", "2.9.1", False), ("2.9.1", "2.9.1rc1", False), ("2.19.1", "2.1", False),
        ("2.9.1", "2.9.1.0", True),
        ("9.20.0.48", "9.2", False), ("9.20.0.48", "9.20.0", True), ("9.20", "9.20.0.48", False),
    ],
)  # fmt: skip
def test_a_part_stands_for_all_that_begin_with_it(version: str, wanted: str, is_one: bool) -> None:
    """By numbers, not by letters; a whole version is itself alone."""
    assert versions.begins(version, wanted) == is_one


@pytest.mark.parametrize(
    ("driver", "minimum", "is_older"),
    [("535", "525.60.13", False), ("525", "525.60.13", False), ("525.59", "525.60.13", True), ("470", "525.60", True)],
)
def test_a_part_is_not_older_than_its_branch(driver: str, minimum: str, is_older: bool) -> None:
    """Driver 525 is the newest of 525."""
    assert versions.older(driver, minimum) == is_older


def test_parts_of_a_version() -> None:
    """Its first two numbers; its release without the local version that names a CUDA variant."""
    minors = [versions.minor(version) for version in ("2.9.1", "2.10.0rc1", "13.0", "13")]
    assert minors == ["2.9", "2.10", "13.0", "13"]
    assert versions.same_release("2.13.0+cu126", "2.13.0")
    assert not versions.same_release("2.13.0rc1", "2.13.0")


@pytest.mark.parametrize(
    ("tags", "python", "serves", "glibc"),
    [
        ("cp313-cp313-manylinux_2_28_x86_64", "3.13", {"3.13"}, 28),
        ("cp313-cp313t-manylinux_2_28_x86_64", "3.13t", {"3.13t"}, 28),
        ("cp37-cp37m-manylinux1_x86_64", "3.7", {"3.7"}, 5),
        ("cp310-abi3-manylinux_2_27_x86_64.manylinux_2_28_x86_64", "3.10", {"3.10", "3.11", "3.13"}, 27),
        ("py3-none-manylinux2014_x86_64", "3.0", set(TRIED), 17),
        ("py2.py3-none-manylinux2010_x86_64", "3.0", set(TRIED), 12),
        ("cp311-cp311-linux_x86_64", "3.11", {"3.11"}, None),
    ],
)
def test_a_wheel_serves_what_its_tags_say(tags: str, python: str, serves: "set[str]", glibc: "int | None") -> None:
    """Of several Pythons, the oldest is named; of several glibcs, any will do."""
    wheel = Wheel(f"torch-2.13.0-{tags}.whl")
    assert wheel.python == python
    assert wheel.arch == "amd64"
    assert {one for one in TRIED if wheel.serves(one)} == serves
    assert wheel_name.glibc(wheel.file) == glibc
    assert not wheel.serves("2.7")
