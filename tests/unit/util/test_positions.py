"""Matrix files that nobody would write: refused at once, with the position, whatever they hold."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from torchdev.util.errors import InputError
from torchdev.util.positions import DEEPEST, MOST_BYTES, MOST_NODES, read

GOOD = b'image: t\nrows:\n  - {python: "3.11", cuda: cpu, torch: "2.13.0"}\n'


def refusal(tmp_path: Path, data: bytes) -> InputError:
    """What a file with these bytes is told."""
    path = tmp_path / "m.yaml"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read(path, "m.yaml")
    return caught.value


def bomb(levels: int, width: int = 9) -> bytes:
    """Lists of lists by anchors: `width` to the power of `levels` values."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines).encode()


WRONG = [
    ("bomb of lists", bomb(9), "m.yaml:6:", f"more than {MOST_NODES:,} values"),
    ("bomb of mappings", b"a0: &a0 {x: y}\n" + b"".join(
        b"a%d: &a%d {%s}\n" % (n, n, b", ".join(b"k%d: *a%d" % (k, n - 1) for k in range(9))) for n in range(1, 9)
    ), "m.yaml:6:", "more than"),
    ("anchors that nest", b"a0: &a0 [x]\n" + b"".join(b"a%d: &a%d [*a%d]\n" % (n, n, n - 1) for n in range(1, 90)),
     f"m.yaml:{DEEPEST - 1}:", "nested more than"),
    ("brackets", b"[" * 30_000, f"m.yaml:1:{DEEPEST + 1}", "nested more than"),
    ("braces", b"{a: " * 30_000, "m.yaml:1:", "nested more than"),
    ("dashes", b"- " * 30_000, "m.yaml:1:", "nested more than"),
    ("question marks", b"? " * 30_000, "m.yaml:1:", "nested more than"),
    ("many values", b"rows: [" + b"a," * (MOST_NODES + 1) + b"]", "m.yaml:1:", "more than"),
    ("itself", b"a: &a [*a]\n", "m.yaml:1:8", "refers to itself"),
    ("itself, further down", b"a: &a {b: [c, {d: *a}]}\n", "m.yaml:1:19", "refers to itself"),
    ("an alias of nothing", b"a: [*b]\n", "m.yaml:1:5", "undefined alias"),
    ("control character", GOOD + b"# \x07\n", "m.yaml:4:3", "U+0007"),
    ("NUL", GOOD + b"\0", "m.yaml:4:1", "U+0000"),
    ("escape", b"image: t\r\n# \x1b[31m", "m.yaml:2:3", "U+001B"),
    ("DEL", b"image: \xc3\xa4\x7f", "m.yaml:1:9", "U+007F"),
    ("C1", "image: \u009b".encode(), "m.yaml:1:8", "U+009B"),
    ("byte order mark inside", "image: \ufeffa".encode(), "m.yaml:1:8", "U+FEFF"),
    ("surrogate", b"image: \xed\xa0\x80", "m.yaml:1:8", "0xed is not UTF-8"),
    ("Latin-1", GOOD + b"# \xe4\n", "m.yaml:4:3", "0xe4 is not UTF-8"),
    ("cut in a character", GOOD + b"# \xc3", "m.yaml:4:3", "0xc3 is not UTF-8"),
    ("behind umlauts", "# äöü ".encode() + b"\xff", "m.yaml:1:7", "0xff is not UTF-8"),
    ("UTF-16", GOOD.decode().encode("utf-16"), "m.yaml:1:1", "UTF-16"),
    ("UTF-16 without its mark", GOOD.decode().encode("utf-16-le"), "m.yaml:1:2", "U+0000"),
    ("a tag", b"image: !!python/object:os.system {}\n", "m.yaml:1:8", "is not supported"),
    ("a set", b"rows: !!set {a, b}\n", "m.yaml:1:7", "is not supported"),
    ("two documents", b"a: b\n---\nc: d\n", "m.yaml:2:1", "another document"),
    ("a long line", b"a: " + b"x" * 1_000_000 + b": y\n", "m.yaml:1:", "not valid YAML"),
    ("a conflict", GOOD.replace(b"rows", b"<<<<<<< HEAD\n=======\nx: y\n>>>>>>> other\nrows"),
     "m.yaml:2:1", "conflict markers"),
    ("a conflict in a list", GOOD.replace(b"  - {", b"<<<<<<< HEAD\n  - a\n=======\n  - {"),
     "m.yaml:3:1", "conflict markers"),
    ("a conflict at the start", b"\xef\xbb\xbf<<<<<<< HEAD\n" + GOOD, "m.yaml:1:1", "conflict markers"),
    ("the end of a conflict", GOOD.replace(b"\n", b"\r\n") + b">>>>>>> other\n", "m.yaml:4:1", "conflict markers"),
    ("its base", GOOD + b"||||||| 1234567\n", "m.yaml:4:1", "conflict markers"),
    ("nothing but a mark", b"\xef\xbb\xbf", "m.yaml:1:1", "empty"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "position", "what"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_refused_with_the_place(tmp_path: Path, data: bytes, position: str, what: str) -> None:
    """And in words that a terminal can show."""
    error = refusal(tmp_path, data)
    assert error.where.startswith(position)
    assert what in error.what
    assert len(str(error)) < 500
    assert str(error).replace("\n", "").isprintable()


def test_a_conflict_has_a_next_step_and_a_text_with_its_signs_is_none(tmp_path: Path) -> None:
    """Signs within a text that is valid YAML are what somebody has written."""
    assert "take one side" in refusal(tmp_path, b"<<<<<<< HEAD\n" + GOOD).next_step
    (tmp_path / "m.yaml").write_bytes(GOOD + b'  # <<<<<<< HEAD\nx: "a\n======= b"\n')
    assert read(tmp_path / "m.yaml", "m.yaml").data["x"] == "a ======= b"


@pytest.mark.parametrize("data", [GOOD, b"\xef\xbb\xbf" + GOOD, GOOD.replace(b"\n", b"\r\n")])
def test_editors_of_other_systems_are_no_mistake(tmp_path: Path, data: bytes) -> None:
    """A byte order mark at the start, and CRLF."""
    (tmp_path / "m.yaml").write_bytes(data)
    document = read(tmp_path / "m.yaml", "m.yaml")
    assert document.data["rows"][0]["torch"] == "2.13.0"
    assert str(document.position(("image",))) == "m.yaml:1:8"


def test_aliases_may_repeat_what_is_not_too_much(tmp_path: Path) -> None:
    """Anchors are a good way not to repeat oneself."""
    (tmp_path / "m.yaml").write_bytes(bomb(4))
    assert read(tmp_path / "m.yaml", "m.yaml").data["a3"][8][8][8] == ["x"]


def test_large_file_is_not_read_whole(tmp_path: Path) -> None:
    """A gigabyte, in a process that may take 300 MB; its parent's memory, which ru_maxrss keeps, does not count."""
    path = tmp_path / "m.yaml"
    with path.open("wb") as stream:
        stream.truncate(1_000_000_000)
    code = (
        "import sys; from pathlib import Path\nfrom torchdev.util.positions import read\n"
        "try: read(Path(sys.argv[1]), 'm.yaml')\n"
        "except Exception as error: print(error)\n"
        "status = Path('/proc/self/status').read_text()\n"
        "print(int(status.partition('VmHWM:')[2].split()[0]) // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    said, megabytes = done.stdout.strip().rsplit("\n", 1)
    assert f"larger than {MOST_BYTES:,} bytes" in said
    assert int(megabytes) < 300


@pytest.mark.parametrize(
    "kind", ["folder", "pipe", "socket", "device", "link to a device", "link to itself", "missing"]
)
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A pipe that nobody writes to would be read for ever, and so would a device without an end."""
    path = tmp_path / "m.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        monkeypatch.chdir(tmp_path)
        socket.socket(socket.AF_UNIX).bind("m.yaml")
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "link to itself":
        path.symlink_to(path)
    with pytest.raises(InputError, match=r"can't be read|no such file") as caught:
        read(path, "m.yaml")
    assert caught.value.where == str(path)
    assert caught.value.next_step
