"""Names and versions of wheels: what a kind of text admits, packaging's own parsers take, and for the same."""

from hypothesis import example, given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from torchdev.util import texts


@given(st.from_regex(texts.VERSION.pattern, fullmatch=True, alphabet=st.characters(codec="ascii")))
@example("1!2.0rc1.post2.dev3+cu126.x")
def test_every_version_is_one_to_packaging(text: str) -> None:
    """What the pattern admits is a version, whatever it looks like."""
    Version(text)


@given(st.text() | st.from_regex(r"[0-9a-z.!+_-]+"))
@example("2.13.0\n")
@example("٢.13.0")
@example("v1.0")
@example("1.0-1")
def test_what_packaging_normalizes_is_a_version_and_nothing_else(text: str) -> None:
    """A text is a version if packaging reads it as one that is written as packaging writes it."""
    try:
        normal = str(Version(text)) == text
    except ValueError:
        normal = False
    assert not normal or texts.VERSION.matches(text) or len(text) > texts.VERSION.longest


@given(st.text() | st.from_regex(r"[A-Za-z0-9._-]+"))
@example("torch\n")
@example("Torch")
@example("a--b")
def test_a_project_is_normalized(text: str) -> None:
    """A text is a project's name exactly if it is its own normalized form."""
    assert not texts.PROJECT.matches(text) or canonicalize_name(text, validate=True) == text


@given(st.from_regex(texts.WHEEL.pattern, fullmatch=True, alphabet=st.characters(codec="ascii")))
def test_a_wheels_name_has_no_word_for_a_shell(text: str) -> None:
    """Whatever the pattern admits holds nothing that a shell, a URL or a Dockerfile would read as more than a name."""
    assert not set(text) & set(" \t\n\r;&|<>$`\"'\\(){}[]*?#~%/=,:")


@given(st.from_regex(r"[a-z_]{1,5}[0-9a-z_.+!-]{3,40}\.whl", fullmatch=True))
@example("torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl")
@example("torch-2.13.0-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl")
def test_packagings_wheels_are_wheels(text: str) -> None:
    """What packaging takes for the name of a wheel, written in lower case, is one."""
    try:
        parse_wheel_filename(text)
    except ValueError:
        return
    assert texts.WHEEL.matches(text)
