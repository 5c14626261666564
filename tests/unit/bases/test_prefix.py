"""Local prefixes: what is taken of an installed Python, what is changed in it, and what is refused."""

import tarfile
import threading
from pathlib import Path, PurePosixPath
from typing import cast

import pytest

from tests.unit.conftest import ROOT
from torchdev.bases import bootstrap, prefix
from torchdev.catalog.bases import BOOKWORM, BULLSEYE, Base, bases_of
from torchdev.engine.client import Engine
from torchdev.image.paths import Paths
from torchdev.util.errors import EngineError, Exit, InputError
from torchdev.wheels.host import Host

X86, ARM = 62, 183
KEPT = (
    "bin/python3.8", "bin/python3.8-config", "bin/2to3-3.8", "bin/idle3.8", "bin/pydoc3.8", "bin/pyvenv-3.8",
    "include/python3.8/Python.h", "lib/libpython3.8.so.1.0", "lib/libpython3.so", "lib/pkgconfig/python-3.8-embed.pc",
    "lib/pkgconfig/python3.pc", "lib/python3.8/os.py", "lib/python3.8/ensurepip/_bundled/pip-23.0.1-py3-none-any.whl",
    "lib/python3.8/_sysconfigdata__linux_x86_64-linux-gnu.py", "lib/python3.8/lib-dynload/_ssl.so",
    "lib/python3.8/unittest/case.py", "share/man/man1/python3.8.1",
)  # fmt: skip
LEFT = (
    "bin/pip3", "bin/ipython", "bin/python3.9", "bin/python3.8-gdb.py", "bin/python3.80", "lib/libpython3.8.a",
    "lib/libpython3.9.so.1.0", "lib/libssl.so.3", "lib/pkgconfig/openssl.pc", "lib/python3.8/site-packages/numpy/c.py",
    "lib/python3.8/test/test_ssl.py", "lib/python3.8/ctypes/test/test_x.py", "lib/python3.8/idlelib/idle_test/x.py",
    "lib/python3.8/EXTERNALLY-MANAGED", "lib/python3.8/sitecustomize.py",
    "lib/python3.8/__pycache__/os.cpython-38.pyc", "lib/python3.8/old.pyc", "lib/python3.9/os.py",
    "lib/python3.8/config-3.8-x86_64-linux-gnu/libpython3.8.a", "include/numpy/x.h", "share/man/man1/git.1",
)  # fmt: skip


def elf(machine: int = X86, text: bytes = b"/lib64/ld-linux-x86-64.so.2") -> bytes:
    """The beginning of a program, as far as it is looked at."""
    return b"\x7fELF\x02\x01".ljust(18, b"\0") + machine.to_bytes(2, "little") + b"\0" + text + b"\0"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An installed Python 3.8 that was compiled for another place, and much that is not part of it."""
    folder = tmp_path / "python"
    for name in (*KEPT, *LEFT):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\n")
    (folder / "bin/python3.8").write_bytes(elf())
    data = " 'LDFLAGS': '-L/opt/old/lib',\n 'prefix': '/opt/old',\n"
    (folder / "lib/python3.8/_sysconfigdata__linux_x86_64-linux-gnu.py").write_text(data)
    (folder / "bin/pydoc3.8").write_text(f"#!{folder}/bin/python3.8\n")
    (folder / "bin/pydoc3.8").chmod(0o755)
    (folder / "lib/libpython3.8.so").symlink_to("libpython3.8.so.1.0")
    return folder


def test_options_name_series_and_folder() -> None:
    """As many as are wanted, one for each series."""
    assert prefix.parse(["3.8=/a", "3.10=/b=c"]) == {"3.8": Path("/a"), "3.10": Path("/b=c")}
    for wrong in (["3.8"], ["/a"], ["3.8="], ["38=/a"], ["3.8.18=/a"], ["=/a"], ["3.8=/a", "3.8=/b"]):
        with pytest.raises(InputError) as caught:
            prefix.parse(wrong)
        assert caught.value.code is Exit.INPUT
        assert caught.value.next_step


def test_interpreter_library_and_headers_are_taken(root: Path) -> None:
    """And no test, no bytecode, no static library, no other package, no other Python."""
    found = prefix.files(prefix.read_prefix("3.8", root))
    assert {str(path) for path in found} == {*KEPT, "lib/libpython3.8.so"}
    assert not any(prefix.wanted(PurePosixPath(name), "3.8") for name in LEFT if "site-packages" not in name)


def test_archive_is_moved_and_depends_on_content_alone(root: Path, tmp_path: Path) -> None:
    """Both names of the prefix become /usr/local; a moved prefix gives the same digest, a changed file another."""
    first = prefix.pack(prefix.read_prefix("3.8", root), tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as archive:
        texts = {entry.name: file.read().decode() for entry in archive if (file := archive.extractfile(entry))}
        link, mode = archive.getmember("lib/libpython3.8.so"), archive.getmember("bin/pydoc3.8").mode
        assert {(entry.mtime, entry.uid) for entry in archive} == {(bootstrap.EPOCH, 0)}
    assert texts["bin/pydoc3.8"] == "#!/usr/local/bin/python3.8\n"
    data = texts["lib/python3.8/_sysconfigdata__linux_x86_64-linux-gnu.py"]
    assert data == " 'LDFLAGS': '-L/usr/local/lib',\n 'prefix': '/usr/local',\n"
    assert (link.issym(), link.linkname, mode) == (True, "libpython3.8.so.1.0", 0o755)
    moved = root.rename(tmp_path / "elsewhere")
    (moved / "bin/pydoc3.8").write_text(f"#!{moved}/bin/python3.8\n")
    assert prefix.pack(prefix.read_prefix("3.8", moved), tmp_path / "b.tar") == first
    (moved / "bin/ipython").write_text("changed")
    assert prefix.pack(prefix.read_prefix("3.8", moved), tmp_path / "c.tar") == first
    (moved / "lib/python3.8/os.py").write_text("changed")
    assert prefix.pack(prefix.read_prefix("3.8", moved), tmp_path / "d.tar") != first


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#!/opt/py/bin/python3.8", "#!/usr/local/bin/python3.8"),
        ("-L/opt/py/lib -Wl,-rpath,/opt/py/lib -I/opt/py/include", None),
        ("prefix=/opt/py\nexec_prefix='/opt/py'", "prefix=/usr/local\nexec_prefix='/usr/local'"),
        ("/opt/py3/lib /opt/py-3 /opt/py.d /srv/opt/py", "/opt/py3/lib /opt/py-3 /opt/py.d /srv/opt/py"),
        ("${DESTDIR}/opt/py", "${DESTDIR}/opt/py"),
    ],
)
def test_only_the_prefix_itself_is_changed(text: str, expected: "str | None") -> None:
    """Not another path that has it inside, or begins like it."""
    wanted = text.replace("/opt/py", "/usr/local") if expected is None else expected
    assert prefix.relocated(text.encode(), ["/opt/py"]).decode() == wanted


def test_programs_are_not_edited() -> None:
    """A linker stores "/versions/3.8.18" and "3.8.18" as one string: a shortened path would lose the version."""
    program = elf(text=b"/home/me/versions/3.8.18")
    assert prefix.relocated(program, ["/home/me/versions/3.8.18"]) == program


def break_(root: Path, how: str) -> None:
    """Damage a prefix."""
    program = root / "bin/python3.8"
    if how == "script":
        program.write_text("#!/bin/sh\nexec pyenv exec python3.8\n")
    elif how == "arm":
        program.write_bytes(elf(ARM))
    elif how == "musl":
        program.write_bytes(elf(text=b"/lib/ld-musl-x86_64.so.1"))
    elif how == "venv":
        (root / "pyvenv.cfg").touch()
    elif how == "headers":
        (root / "include/python3.8/Python.h").unlink()
    elif how == "ensurepip":
        (root / "lib/python3.8/ensurepip/_bundled/pip-23.0.1-py3-none-any.whl").unlink()
    elif how == "library":
        (root / "lib/python3.8/os.py").unlink()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("script", "is not a program"),
        ("arm", "is for ARM 64, not for linux/amd64"),
        ("musl", "is for musl"),
        ("venv", "virtual environment"),
        ("headers", "Python.h is in it"),
        ("ensurepip", "pip-*.whl is in it"),
        ("library", "no lib/python3.8/os.py"),
    ],
)
def test_unfit_prefix_is_refused(root: Path, how: str, said: str) -> None:
    """By name, as invalid input, with what to do; the whole one is accepted."""
    assert prefix.read_prefix("3.8", root).compiled_for == "/opt/old"
    break_(root, how)
    with pytest.raises(InputError, match="next:") as caught:
        prefix.read_prefix("3.8", root)
    assert said in caught.value.what


def test_wrong_folder_is_refused(root: Path) -> None:
    """None, a file, another series, an empty one, the system's own."""
    for series, folder, said in (
        ("3.8", root / "nowhere", "no such folder"),
        ("3.8", root / "bin/python3.8", "a file, and not the folder"),
        ("3.7", root, "this is Python 3.8, 3.9, 3.80, not 3.7"),
        ("3.8", root / "share", "no bin/python3.8"),
        ("3.11", Path("/usr"), "the system's own"),
    ):
        with pytest.raises(InputError) as caught:
            prefix.read_prefix(series, folder)
        assert said in caught.value.what


def test_recipe_follows_files_suite_and_content() -> None:
    """Another prefix or Debian makes another substitute; what is compiled from source does not depend on prefixes."""
    paths = Paths(ROOT, ROOT / "matrix.yaml")
    found = [
        bootstrap.recipe(BOOKWORM, paths, bootstrap.SOURCE_FILES),
        bootstrap.recipe(BULLSEYE, paths, bootstrap.SOURCE_FILES),
        bootstrap.recipe(BOOKWORM, paths, bootstrap.PREFIX_FILES, "a"),
        bootstrap.recipe(BOOKWORM, paths, bootstrap.PREFIX_FILES, "b"),
    ]
    assert len(set(found)) == 4
    assert bootstrap.recipe(BOOKWORM, paths, bootstrap.PREFIX_FILES, "a") == found[2]


@pytest.mark.parametrize("series", [("3.8",), ("3.6", "3.8")])
def test_debian_that_fails_takes_its_own_pythons_along(
    monkeypatch: pytest.MonkeyPatch, series: tuple[str, ...]
) -> None:
    """What stands on another Debian is made all the same; if there is no other, the run ends."""
    wanted = [base for python in series for base in bases_of(python, {})]
    done: list[str] = []

    def make(engine: object, base: Base, host: Host, labels: dict[str, str]) -> None:
        if base.suite == BOOKWORM:
            raise EngineError("no mirror")

    monkeypatch.setattr(bootstrap, "_wanted", lambda *arguments: True)
    monkeypatch.setattr(bootstrap, "_debian", make)
    monkeypatch.setattr(bootstrap, "_of_source", lambda engine, host, base, paths, say: done.append(base.name))
    arguments = (cast("Engine", None), Host(), wanted, Paths(ROOT, ROOT / "matrix.yaml"), lambda text: None)
    if len(series) == 1:
        with pytest.raises(EngineError, match="no mirror"):
            bootstrap.bootstrap(*arguments)
        return
    failed = bootstrap.bootstrap(*arguments)
    assert {base.suite for base in failed} == {BOOKWORM}
    assert done == ["python:3.6-slim-bullseye", "python:3.11-slim-bullseye"]


def test_two_debians_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each before its own Pythons, which do not wait for the other Debian."""
    wanted = [base for python in ("3.6", "3.8") for base in bases_of(python, {})]
    both = threading.Barrier(2, timeout=30)
    done: list[str] = []

    def make(engine: object, base: Base, host: Host, labels: dict[str, str]) -> None:
        both.wait()  # broken, if the second begins only after the first
        if base.suite == BOOKWORM:
            slow.wait(30)
        done.append(base.name)

    def compile_(engine: object, host: Host, base: Base, paths: Paths, say: object) -> None:
        done.append(base.name)
        if base.name == "python:3.11-slim-bullseye":
            slow.set()

    slow = threading.Event()
    monkeypatch.setattr(bootstrap, "_wanted", lambda *arguments: True)
    monkeypatch.setattr(bootstrap, "_debian", make)
    monkeypatch.setattr(bootstrap, "_of_source", compile_)
    engine = cast("Engine", None)
    assert not bootstrap.bootstrap(engine, Host(), wanted, Paths(ROOT, ROOT / "matrix.yaml"), lambda text: None)
    of_bullseye, of_bookworm = ([base.name for base in bases_of(python, {})] for python in ("3.6", "3.8"))
    assert done == [*of_bullseye, *of_bookworm]


def test_debian_follows_from_python() -> None:
    """Of 3.6 there are official images on bullseye alone; the tool Python must run on the same Debian."""
    assert [base.name for base in bases_of("3.6", {})] == [
        "debian:bullseye-slim", "python:3.6-slim-bullseye", "python:3.11-slim-bullseye",
    ]  # fmt: skip
    assert [base.name for base in bases_of("3.8", {})] == [
        "debian:bookworm-slim", "python:3.8-slim-bookworm", "python:3.11-slim-bookworm",
    ]  # fmt: skip
    assert [base.suite for base in bases_of("3.6", {})] == [BULLSEYE] * 3
    assert {"libffi7", "libssl1.1"} == set(BULLSEYE.libraries) - set(BOOKWORM.libraries)
