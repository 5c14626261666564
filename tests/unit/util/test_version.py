"""The version of torchdev: one place has it, and CHANGELOG.md tells what it makes stale."""

import re
from pathlib import Path

import pytest

from tests.unit.conftest import ROOT
from torchdev.util import version as versions
from torchdev.util.errors import InputError

SECTIONS = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1.2.3", (1, 2, 3)),
        ("10.0.0", (10, 0, 0)),
        *((text, ()) for text in ("", "1.2", "1.2.3.4", "01.2.3", "v1.2.3", "1.2.3rc1", "1.2.3\n", "latest")),
    ],
)
def test_versions_are_semantic(text: str, found: "tuple[int, ...]") -> None:
    """Three numbers without leading zeros; nothing else is one."""
    assert versions.numbers(text) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "FileNotFoundError"),
        ("<<<<<<< ours\n", "TOMLDecodeError"),
        ("[project]\n", "KeyError"),
        ("project = 1\n", "TypeError"),
        ('[project]\nversion = "1.0"\n', "not MAJOR.MINOR.PATCH: '1.0'"),
    ],
)
def test_a_version_that_can_not_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: "str | None", why: str
) -> None:
    """The message names the file and what to do."""
    monkeypatch.setattr(versions, "FILE", tmp_path / "pyproject.toml")
    if text is not None:
        versions.FILE.write_text(text)
    with pytest.raises(InputError, match=why) as error:
        versions.version()
    assert error.value.where == "pyproject.toml"
    assert error.value.next_step


def test_every_section_of_the_changes_says_what_is_stale() -> None:
    """A reader knows before an update what has to be built again, and the command that lists it."""
    assert SECTIONS
    for section in SECTIONS:
        stale = next((line for line in section.split("\n- ") if line.startswith("**Stale cells:**")), "")
        assert "python build.py plan" in stale, section.splitlines()[0]


def test_released_sections_have_versions_in_their_order() -> None:
    """The newest release is the version of pyproject.toml, or an older one while the next is prepared."""
    names = [section.split()[0] for section in SECTIONS]
    released = [versions.numbers(name) for name in names if name != "Unreleased"]
    assert all(released), names
    assert released == sorted(released, reverse=True)
    assert not released or released[0] <= versions.numbers(versions.version())
