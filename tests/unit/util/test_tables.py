"""Tables for terminals and for pages."""

import pytest

from torchdev.util import tables

ROWS = [("NAME", "SIZE", "NOTE"), ("a", "10 GB", ""), ("communication", "9 MB", "there")]


def test_columns_stand_below_each_other() -> None:
    """As wide as the widest text; numbers end below each other; no line ends with spaces."""
    assert tables.text(ROWS, right=(1,)) == (
        "NAME            SIZE  NOTE\n"  #
        "a              10 GB\n"
        "communication   9 MB  there"
    )
    assert tables.text([]) == ""


def test_markdown_is_compact_or_reads_well_as_it_is() -> None:
    """The first row is the head."""
    assert tables.markdown([("a", "b"), ("1", "22 33")]) == "| a | b |\n| --- | --- |\n| 1 | 22 33 |"
    assert tables.markdown([("a", "b"), ("1", "22 33")], wide=True) == (
        "| a   | b     |\n"  #
        "| --- | ----- |\n"
        "| 1   | 22 33 |"
    )


def test_a_row_that_lacks_a_text_is_a_fault() -> None:
    """It is not shown as if it were whole."""
    with pytest.raises(ValueError, match="shorter"):
        tables.text([("a", "b"), ("c",)])
