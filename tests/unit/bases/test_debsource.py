"""What a Python was compiled from is told where it is not what Debian names; nothing else than versions passes."""

import pytest

from torchdev.bases.debsource import NOTICE_LABEL, SOURCE_LABEL, Source, had, of_image, parse
from torchdev.util.errors import BuildError

OLD, NEW = "3.11.2-6+deb12u8", "3.11.2-6+deb12u9"


def test_what_is_as_it_should_be_needs_no_notice() -> None:
    """The version alone is a label."""
    source = parse(f"taken {NEW}\nnamed {NEW}\nunread \n")
    assert (source, source.notice) == (Source(NEW, NEW), "")
    assert source.labels == {SOURCE_LABEL: NEW}


def test_an_older_one_is_told_with_both() -> None:
    """In the labels of the substitute, and in those of each image."""
    source = parse(f"taken {OLD}\nnamed {NEW}\nunread bookworm-security sid\n")
    assert f"Debian names {NEW}, which the mirror does not have; {OLD} was compiled instead" in source.notice
    assert "bookworm-security, sid could not be read, and may name a newer version" in source.notice
    assert source.labels == {SOURCE_LABEL: OLD, NOTICE_LABEL: source.notice}
    assert of_image({**source.labels, "other": "x"}) == {
        "io.torchdev.base.python.source": OLD,
        "io.torchdev.base.python.source.notice": source.notice,
    }
    assert had(source.labels) == OLD


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"taken {OLD}",
        f"taken {OLD}\nnamed \nunread ",
        f"taken $(id)\nnamed {OLD}\nunread ",
        f"taken {OLD} x\nnamed {OLD}\nunread ",
        f"taken {OLD}\nnamed {OLD}\nunread a;b",
        f"taken -{OLD}\nnamed {OLD}\nunread ",
    ],
)
def test_what_is_no_version_is_refused(text: str) -> None:
    """It would stand in labels."""
    with pytest.raises(BuildError):
        parse(text)


@pytest.mark.parametrize("label", ["", "x", "$(id)", "--force-yes", "3.11 u8", "1" * 300])
def test_a_label_that_is_no_version_is_none(label: str) -> None:
    """Whoever made that substitute."""
    assert had({SOURCE_LABEL: label}) == had({}) == ""
