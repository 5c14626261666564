"""The step that takes symbol tables from libraries replaces none that would be loaded otherwise."""

import _ctypes
import base64
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.image.programs import elf

LIBRARY = Path(getattr(_ctypes, "__file__", ""))
"""Some extension module of the machine; some Pythons have all of them built in."""
pytestmark = pytest.mark.skipif(not LIBRARY.is_file(), reason="this Python has its extension modules built in")
APPENDS = 'data + b"of no section"'
ALTERS = "data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]"


@pytest.fixture
def program(load_step: Callable[[str], Any], tmp_path: Path) -> Any:
    """The program as a module, at work on a folder with a library and a RECORD."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.so").write_bytes(LIBRARY.read_bytes())
    (tmp_path / "a-1.dist-info").mkdir()
    (tmp_path / "a-1.dist-info" / "RECORD").write_text("lib/a.so,sha256=old,9\nlib/b.py,sha256=abc,1\n")
    return load_step("scripts/strip-symbols")


def code() -> int:
    """Where in the library its code begins."""
    return next(section.start for section in elf.sections(str(LIBRARY)) if section.name == ".text")


def stripping(folder: Path, monkeypatch: pytest.MonkeyPatch, makes: str) -> None:
    """Put a `strip` first on PATH that makes something else of a file; `at` is where its code begins."""
    fake = folder / "bin" / "strip"
    fake.parent.mkdir()
    fake.write_text(
        f"#!{sys.executable}\nimport sys\nat = {code()}\ndata = open(sys.argv[4], 'rb').read()\n"
        f"open(sys.argv[3], 'wb').write({makes})\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent), prepend=":")


def test_library_is_replaced_and_recorded(program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps its mode; RECORD has its new hash and size, and says of other files what it said."""
    stripping(tmp_path, monkeypatch, APPENDS)
    library = tmp_path / "lib" / "a.so"
    library.chmod(0o640)
    program.main(["lib/*.so\n", "gone/*.so\n"])
    data = LIBRARY.read_bytes() + b"of no section"
    assert (library.read_bytes(), library.stat().st_mode & 0o777) == (data, 0o640)
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    expected = f"lib/a.so,sha256={digest},{len(data)}\nlib/b.py,sha256=abc,1\n"
    assert (tmp_path / "a-1.dist-info" / "RECORD").read_text() == expected


def test_what_would_be_loaded_otherwise_is_refused(
    program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One byte of code is enough; the library stays."""
    stripping(tmp_path, monkeypatch, ALTERS)
    with pytest.raises(SystemExit, match="would not be loaded as before"):
        program.main(["lib/*.so\n"])
    assert (tmp_path / "lib" / "a.so").read_bytes() == LIBRARY.read_bytes()


def test_another_segment_is_noticed(program: Any) -> None:
    """The right to write to a segment, say; where it lies in the file is of no account."""
    data = bytearray(LIBRARY.read_bytes())
    assert program.same(bytes(data), bytes(data))
    data[int.from_bytes(data[32:40], "little") + 4] ^= 2  # the flags of the first program header
    assert not program.same(LIBRARY.read_bytes(), bytes(data))


def test_what_a_loader_goes_by_has_a_digest(tmp_path: Path) -> None:
    """Checks hold stripped libraries against their wheels' by it: other bytes behind are equal, other code is not."""
    data, at = LIBRARY.read_bytes(), code()
    copies = {"longer": data + b"of no section", "other": data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]}
    for name, content in copies.items():
        (tmp_path / name).write_bytes(content)
    assert elf.loaded(str(tmp_path / "longer")) == elf.loaded(str(LIBRARY)) != elf.loaded(str(tmp_path / "other"))
