"""Text from outside: what each kind admits, and how a terminal may show it."""

import pytest

from torchdev import texts
from torchdev.texts import NotOfKind

GOOD = [
    (texts.PROJECT, ["torch", "nvidia-cudnn-cu13", "a"]),
    (texts.VERSION, ["2.13.0", "2.13.0+cu126", "1!2.0rc1.post1.dev3", "9.20.0.48"]),
    (texts.WHEEL, ["torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl", "a-1-1build-py2.py3-none-any.whl"]),
    (texts.SHA256, ["0" * 64]),
    (texts.DIGEST, ["sha256:" + "a" * 64]),
    (texts.TAG, ["py311-cu130-torch2.13.0", "_x"]),
    (texts.REPOSITORY, ["torchdev", "ghcr.io/owner/torchdev", "localhost:5000/a/b__c", "a.b-c/d"]),
    (texts.PLATFORM, ["linux/amd64", "linux/arm64/v8"]),
    (texts.SERIES, ["3.6", "3.14"]),
]
HOSTILE = [
    "", " ", "x y", "x\n", "x\nRUN id", "x\r", "x\t", "$(id)", "`id`", "x;id", "x|id", "x&id", "x>y", "-x", "--x",
    "../x", "/x", "x'y", 'x"y', "x\\y", "x\x1b[2J", "x\u202ey", "x\x00", "x#y", "x*", "{x}", "{{x}}", "<x>", "x\u2028y",
    "ⅷ", "x" * 300, None, 1, 1.5, True, [], {}, ["torch"], b"torch",
]  # fmt: skip


@pytest.mark.parametrize(("kind", "good"), GOOD, ids=lambda value: getattr(value, "words", ""))
def test_kinds_admit_what_they_are_for(kind: texts.Kind, good: "list[str]") -> None:
    """And give it back as it was."""
    assert [kind.of(text) for text in good] == good


@pytest.mark.parametrize("kind", [kind for kind, _ in GOOD], ids=lambda kind: kind.words)
def test_kinds_refuse_what_could_be_obeyed(kind: texts.Kind) -> None:
    """Nothing that a shell, a Dockerfile, an option parser, a path or a terminal would take for more than a text."""
    for text in HOSTILE:
        with pytest.raises(NotOfKind, match="is not"):
            kind.of(text)


@pytest.mark.parametrize(("kind", "good"), GOOD, ids=lambda value: getattr(value, "words", ""))
def test_a_good_text_with_something_hostile_in_it_is_refused(kind: texts.Kind, good: "list[str]") -> None:
    """Before it, behind it, within it."""
    for text in good:
        for bad in ("\n", " ", "$(id)", ";", "\x1b", "/../", "'"):
            assert not any(kind.matches(mixed) for mixed in (bad + text, text + bad, text[:1] + bad + text[1:]))


def test_shown_texts_are_one_line_that_no_terminal_obeys() -> None:
    """Control characters, the turned direction of writing, and line breaks are escaped; length has its bound."""
    assert texts.shown("a\x1b[31m\nb\u202e") == "a\\x1b[31m\\nb\\u202e"
    assert texts.shown("\ud800") == "\\ud800"
    assert len(texts.shown("x" * 1000)) == texts.LONGEST_SHOWN
    assert texts.quoted("a\tb") == '"a\\tb"'
    assert texts.quoted(["\x1b"]) == "['\\x1b']"


def test_printable_texts_keep_their_lines() -> None:
    """And nothing else that is not printable."""
    assert texts.printable("a\n\tb\x07\rc é…") == "a\n\tb\\x07\\rc é…"
