"""Text from outside: what each kind admits, and how a terminal may show it."""

import re
import time

import pytest
from pydantic_core import SchemaValidator, core_schema

from torchdev.util import texts
from torchdev.util.texts import NotOfKind

GOOD = [
    (texts.PROJECT, ["torch", "nvidia-cudnn-cu13", "a"]),
    (texts.VERSION, ["2.13.0", "2.13.0+cu126", "1!2.0rc1.post1.dev3", "9.20.0.48", "0.0.20241204120000", "2026.11.23"]),
    (texts.WHEEL, ["torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl", "a-1-1build-py2.py3-none-any.whl"]),
    (texts.FILE, ["torch-1.0.tar.gz", "a_b-1!2+cu1.zip"]),
    (texts.REQUIREMENT, ["numpy", "cuda-toolkit[nvvm,crt]==13.0.*; sys_platform == 'linux'", "a ~= 1.4.2, != 1.5"]),
    (texts.ADDRESS, ["https://a.b:8/c/d-1%2Bcu-py3-none-any.whl", "http://[::1]:3/x.whl?a=b&c=d#e"]),
    (texts.SHA256, ["0" * 64]),
    (texts.DIGEST, ["sha256:" + "a" * 64]),
    (texts.TAG, ["py311-cu130-torch2.13.0", "_x", "x" * 128]),
    (texts.REPOSITORY, [
        "torchdev", "ghcr.io/owner/torchdev", "localhost:5000/a/b__c", "a.b-c/d", "host:65535/x", "Upper.Case/x",
        "library/debian", "a---b",
    ]),
    (texts.REFERENCE, ["torchdev:latest", "ghcr.io/a/b@sha256:" + "0" * 64, "host:5000/x:y@sha256:" + "1" * 64]),
    (texts.OFFICIAL, ["debian:bookworm-slim", "python:3.11-slim-bookworm"]),
    (texts.BUILDER, ["default", "my_builder.2"]),
    (texts.DEBIAN_VERSION, ["3.11.2-6+deb12u8", "1:2.0~rc1-1"]),
    (texts.SUITE, ["bookworm", "bookworm-security"]),
    (texts.PLATFORM, ["linux/amd64", "linux/arm64/v8"]),
    (texts.SERIES, ["3.6", "3.14"]),
    (texts.FLAVOUR, ["cpu", "cu130"]),
    (texts.RELEASE, ["2.13.0", "0.10.0"]),
    (texts.CUDNN, ["9.20.0.48"]),
    (texts.VARIANT, ["plain", "devel"]),
    (texts.ARCH, ["amd64", "arm64"]),
    (texts.COMPANION, ["torchvision", "torchaudio"]),
    (texts.DATE, ["2026-11-23"]),
    (texts.GPU_ARCHITECTURE, ["sm_70", "sm_90a", "compute_120"]),
    (texts.HOST_PORT, ["mirror", "my_mirror.corp:8080", "10.0.0.1", "[::1]:80"]),
    (texts.INDEX_URL, ["https://u:p%40s$!@h.example:8443/a/b+c/simple/", "http://[::1]:3/", "https://h?x=1"]),
    (texts.PROXY, ["proxy:3128", "http://u:p!@proxy:3128/", "socks5h://10.0.0.1:1080"]),
    (texts.UNPROXIED, ["*", ".corp.example", "*.corp", "10.0.0.0/8", "::1", "fe80::/10", "localhost:8080", "[::1]"]),
]  # fmt: skip
SEEN = [
    "Python 3.8 had its last fix in October 2024",
    "überholt (CUDA 11): bitte nicht mehr",
    "古い",
    "⚠️ old 🙂",
    "<b>|`$x`\\",
]
UNSEEN = [
    "a\nb",
    "a\x1b[2J",
    "a\u202eb",
    "a\u200bb",
    "\ufeffa",
    "a\x85b",
    "a\u2028b",
    " a",
    "a ",
    "",
    "x" * 501,
    "\ud800",
]
HOSTILE = [
    "", " ", "x y", "x\n", "x\nRUN id", "x\r", "x\t", "$(id)", "`id`", "x;id", "x|id", "x&id", "x>y", "-x", "--x",
    "../x", "/x", "x'y", 'x"y', "x\\y", "x\x1b[2J", "x\u202ey", "x\x00", "x#y", "x*", "{x}", "{{x}}", "<x>", "x\u2028y",
    "ⅷ", "x" * 500, "x\\", "${x}", "x\x85", "x\x7f", "x\u200b", "\ud800",
    None, 1, 1.5, True, [], {}, ["torch"], b"torch",
]  # fmt: skip
NO_REQUIREMENT = [text for text in HOSTILE if text not in ("x y", "x;id", "x>y", "x'y", 'x"y', "x*")]
EDGES = [
    (texts.RELEASE, ["02.13.0", "2.13", "2.13.0.1", "2.13.0rc1", "٢.1.0"]),
    (texts.SERIES, ["3.010", "3.", "4.1", "3.1000"]),
    (texts.REPOSITORY, [
        "../t", "-x/t", "a..b/t", "host:99999999/t", "host:65536/t", "host:0/t", "T", "Owner/t", "a//b", "a/", "a___b",
        "a-/b.c/d", ".a/b", "a.b-/c", "a:tag", "a@sha256:" + "0" * 64, "f" * 64, "https://a.b/c", "a_/b", "x" * 201,
    ]),
    (texts.REFERENCE, ["a:", "a:-x", "a@sha256:0", "a:b:c", "f" * 64]),
    (texts.REQUIREMENT, [
        "-e x", "--pre", "numpy # x", "numpy===1\\", "a @ https://b.c/d.whl", "a===${TOKEN}", "a===\n--pre", "a\r",
    ]),
    (texts.OFFICIAL, ["debian", "debian:latest", "evil/python:3.11-slim-bookworm", "python:3.11", "debian:x-slim@y"]),
    (texts.VERSION, ["2.13.0+CPU", "v1", "1.0-1", "1.0.", "+cpu", "01.0"]),
    (texts.WHEEL, [
        "torch-2.13.0-cp311-cp311.whl", "x.whl", "torch-1-cp311-cp311.$(id)-linux_x86_64.whl", "-a-1-py3-none-any.whl",
        "torch-1-cp311-cp311-linux_x86_64.whl\n", "torch-1-cp311-cp311-linux_x86_64.tar.gz", "a/b-1-py3-none-any.whl",
    ]),
    (texts.DIGEST, ["sha256:" + "A" * 64, "sha512:" + "a" * 128, "a" * 64]),
    (texts.HOST_PORT, ["https://a", "a/", "a:0", "a:99999", "u:p@a", ".a"]),
    (texts.INDEX_URL, [
        "ftp://h/x", "https://", "https:///x", "h/simple", "https://h:99999/", "https://h/a b", "https://h/a'b",
        "https://h/$(id)", "https://u:'@h",
    ]),
    (texts.PROXY, ["ftp://h:1", "http://", "h:port", "http://h/path", "u:p@", "http://h:1:2"]),
    (texts.UNPROXIED, ["http://h", "a b", "a/b", "*x", "h:99999"]),
]  # fmt: skip
KINDS = [value for value in vars(texts).values() if isinstance(value, texts.Kind)]


@pytest.mark.parametrize(("kind", "bad"), EDGES, ids=lambda value: getattr(value, "words", ""))
def test_kinds_refuse_what_their_tools_refuse(kind: texts.Kind, bad: "list[str]") -> None:
    """What engines, pip, uv or a registry would not take, or would take for something else."""
    assert [text for text in bad if kind.matches(text)] == []


def test_sentences_are_what_can_be_seen() -> None:
    """In any script, with signs that pages escape; without characters that turn, hide or break a line."""
    assert [text for text in SEEN if not texts.SENTENCE.matches(text)] == []
    assert [text for text in UNSEEN if texts.SENTENCE.matches(text)] == []


def test_every_kind_is_tried_here() -> None:
    """A new one must be."""
    assert {kind.words for kind in KINDS} == {kind.words for kind, _ in GOOD} | {texts.SENTENCE.words}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.words)
def test_patterns_mean_the_same_in_other_engines(kind: texts.Kind) -> None:
    """Editors take them from the JSON schema as ECMA's; Rust's engine, which has no lookaround, stands for those."""
    other = SchemaValidator(core_schema.str_schema(pattern=f"^({kind.pattern})$", regex_engine="rust-regex"))
    samples = [
        *(text for _, good in GOOD for text in good),
        *HOSTILE,
        *SEEN,
        *UNSEEN,
        *(t for _, bad in EDGES for t in bad),
    ]
    short = [t for t in samples if isinstance(t, str) and len(t) <= kind.longest and "\ud800" not in t]
    mixed = [*short, *(f"{text}\n" for text in short), *(f"\n{text}" for text in short)]
    differ = [t for t in mixed if other.isinstance_python(t) != bool(re.fullmatch(kind.pattern, t))]
    assert differ == []


def test_patterns_take_no_long_time() -> None:
    """No text makes a pattern try without end."""
    began = time.perf_counter()
    for kind in KINDS:
        for part in ("a", "a-", "a.", "a_", "1.", "1+", "a/", "a,", "-", "0", "a1.-"):
            kind.matches((part * kind.longest)[: kind.longest - 1] + "!")
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize(("kind", "good"), GOOD, ids=lambda value: getattr(value, "words", ""))
def test_kinds_admit_what_they_are_for(kind: texts.Kind, good: "list[str]") -> None:
    """And give it back as it was."""
    assert [kind.of(text) for text in good] == good


@pytest.mark.parametrize("kind", [kind for kind, _ in GOOD], ids=lambda kind: kind.words)
def test_kinds_refuse_what_could_be_obeyed(kind: texts.Kind) -> None:
    """Nothing that a shell, a Dockerfile, an option parser, a path or a terminal would take for more than a text."""
    for text in HOSTILE if kind is not texts.REQUIREMENT else NO_REQUIREMENT:
        with pytest.raises(NotOfKind, match=r"is (not|longer)"):
            kind.of(text)


@pytest.mark.parametrize(("kind", "good"), GOOD, ids=lambda value: getattr(value, "words", ""))
def test_a_good_text_with_something_hostile_in_it_is_refused(kind: texts.Kind, good: "list[str]") -> None:
    """Before it, behind it, within it."""
    for text in good:
        if kind in (texts.REQUIREMENT, texts.ADDRESS, texts.INDEX_URL):
            continue  # one may hold spaces and quotes, the other /../; no command line sees them
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
