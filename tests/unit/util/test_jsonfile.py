"""Files in JSON that torchdev reads back: what people, merges or a full disk made of one is told with its line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from torchdev.catalog import bases, builds
from torchdev.util import jsonfile
from torchdev.util.errors import InputError

BASES = {"debian:bookworm-slim": {"digest": "sha256:" + "0" * 64, "read": "2026-11-23", "source": "docker.io"}}
Edit = Callable[[str], str]


@pytest.mark.parametrize(("edit", "words", "line"), [
    (lambda text: "", "the file is empty", 1),
    (lambda text: "[]", "expected an object", 1),
    (lambda text: text.replace('"read"', '"digest"'), 'the key "digest" is there twice', 4),
    (lambda text: text.replace('"2026-11-23"', "2026"), "expected a text, found 2026", 4),
    (lambda text: text.replace('"docker.io"', "null"), "expected a text", 5),
    (lambda text: text.replace("0" * 64, "0\\nRUN id"), "is not a digest", 3),
    (lambda text: text.replace("0" * 64, "0" * 63), "is not a digest", 3),
    (lambda text: text.replace('"docker.io"', '"docker.io", "sauce": 1'), "is not a key that is known", 5),
    (lambda text: text.replace("debian:bookworm-slim", "debian:$(id)"), "is not an official base image", 0),
    (lambda text: text.replace('  "debian', '<<<<<<< HEAD\n  "debian'), "conflict markers", 2),
    (lambda text: text.replace("docker.io", "\\ud800"), r'"\ud800" is not text', 5),
    (lambda text: text.replace('"docker.io"', "1" * 5000), "a number of 5,000 digits", 5),
    (lambda text: "\ufeff" + text, "byte order mark", 1),
    (lambda text: text.replace("docker.io", "docker.io\\u001b[31m"), r"\x1b[31m", 5),
])  # fmt: skip
def test_spoiled_digests_are_refused(tmp_path: Path, edit: Edit, words: str, line: int) -> None:
    """With the file's line, and the command that brings back the committed one."""
    path = tmp_path / "bases.json"
    path.write_text(edit(json.dumps(BASES, indent=2)))
    with pytest.raises(InputError) as caught:
        bases.read_digests(path)
    assert words in caught.value.what
    assert line in (0, int(caught.value.where.rpartition(":")[2]))
    assert "git" in caught.value.next_step
    assert "\x1b" not in str(caught.value)


def test_digests_that_are_written_are_read_back(tmp_path: Path) -> None:
    """New ones beside the others, which stay as they were."""
    path = tmp_path / "bases.json"
    path.write_text(json.dumps(BASES))
    found = {"python:3.11-slim-bookworm": "sha256:" + "1" * 64}
    bases.write_digests(path, path, found)
    assert bases.read_digests(path) == {"debian:bookworm-slim": "sha256:" + "0" * 64} | found
    assert json.loads(path.read_text())["debian:bookworm-slim"] == BASES["debian:bookworm-slim"]
    assert bases.read_digests(tmp_path / "none.json") == {}


@pytest.mark.parametrize(("old", "new", "words"), [
    ('"builds": [', '<<<<<<< HEAD\n"builds": [', "conflict markers"),
    ('"project": "torch"', '"project": "$(id)"', "is not the normalized name of a project"),
    ('"project": "torch"', '"project": "torch", "project": "torch"', "is there twice"),
    ('"flavour": "cu', '"flavour": "xx', "is not a CUDA variant"),
    ('"source": "', '"source": "x', "it has no source"),
    ('"origin": "pypi"', '"origin": "elsewhere"', "is not an origin"),
    ('.whl"', '.whl;id"', "is not the file name of a wheel"),
    ('"about": "', '"about": 1, "x": "', "expected a text"),
])  # fmt: skip
def test_a_spoiled_catalog_is_refused(tmp_path: Path, small_catalog: str, old: str, new: str, words: str) -> None:
    """Before anything is answered from it."""
    text = small_catalog
    assert old in text
    path = tmp_path / "catalog.json"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=r"catalog\.json:[0-9]+: not a catalog") as caught:
        builds.load(path)
    assert words in caught.value.what


@pytest.mark.parametrize("wheel", ["[]", "[1]", '["a.whl", "x", 1, 2]', '{"file": 1}', "null", '["{}", null, true]',
    '["{}", "zz", 1]', '["{}", null, -1]', '["{}", null, 1.5]', '["{}", [], 1]'])  # fmt: skip
def test_a_spoiled_wheel_of_the_catalog_is_refused(tmp_path: Path, small_catalog: str, wheel: str) -> None:
    """Whichever of its three parts is another."""
    text = small_catalog
    begin = text.index("   [", text.index('"wheels"'))
    line = text[begin : text.index("\n", begin)].rstrip(",")
    path = tmp_path / "catalog.json"
    path.write_text(text.replace(line, wheel.replace("{}", json.loads(line)[0]), 1), encoding="utf-8")
    with pytest.raises(InputError, match="not a catalog") as caught:
        builds.load(path)
    assert int(caught.value.where.rpartition(":")[2]) == text[:begin].count("\n") + 1


def test_every_value_has_its_line() -> None:
    """However the JSON is laid out, escapes and nested lists included."""
    text = '{\n "a\\n": [1,\n  [2, {"b":\n   "}]"}]],\n "c": {}\n}'
    lines = {
        ("a\n",): 2,
        ("a\n", 0): 2,
        ("a\n", 1): 3,
        ("a\n", 1, 1): 3,
        ("a\n", 1, 1, "b"): 4,
        ("c",): 5,
        ("c", "x"): 5,
    }
    assert {path: jsonfile.line_of(text, path) for path in lines} == lines
