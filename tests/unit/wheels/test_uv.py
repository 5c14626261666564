"""uv's failures: each kind is told apart, once, with the step that helps; nothing of a run is left behind."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from torchdev.matrix.load import Cell
from torchdev.util import process
from torchdev.util.errors import BuildError, Exit
from torchdev.wheels import uv as resolver
from torchdev.wheels.host import Host
from torchdev.wheels.uv import Wanted

NO_SOLUTION = "error: No solution found when resolving dependencies\n  cause: you require a<1 and a>2"


@pytest.mark.parametrize(("status", "output", "what", "step"), [
    (1, NO_SOLUTION, "no set of versions", "change the row"),
    (1, f"{NO_SOLUTION}\nhint: An index URL (http://x/) could not be queried due to a lack of valid authentication "
        "credentials (401 Unauthorized)", "other credentials", "netrc"),
    (1, f"{NO_SOLUTION}\nhint: An index (http://x/simple) returned a 403 Forbidden error. Check that the index URL is "
        "correct and the credentials are valid.", "other credentials", "netrc"),
    (1, f"{NO_SOLUTION}\nhint: An index (http://x/simple) returned a 401 Unauthorized error.", "other credentials",
        "netrc"),
    (2, "error: Failed to fetch: http://x/\n  cause: dns error\n  cause: no such", "can't be reached", "proxies"),
    (2, "error: Failed to fetch: http://x/\n  cause: Connection refused (os error 111)", "can't be reached", "proxies"),
    (2, "error: Request failed after 3 retries in 7.6s\n  cause: operation timed out", "can't be reached", "proxies"),
    (2, "error: Failed to fetch: `http://x/`\n  cause: HTTP status server error (500 Internal Server Error)",
        "can't be reached", "proxies"),
    (1, "error: Missing `Content-Type` header for `http://x/`", "can't be reached", "proxies"),
    (2, "error: Failed to parse environment variable `UV_HTTP_TIMEOUT` with invalid value `abc`: invalid digit",
        "can't use a setting", "correct it"),
    (2, "error: invalid value 'zz' for '--keyring-provider <KEYRING_PROVIDER>'", "can't use a setting", "correct it"),
    (2, "error: Failed to initialize cache at `/x`\n  cause: Permission denied", "can't use a setting", "correct it"),
    (2, "error: Failed to write to /c/x\n  cause: No space left on device (os error 28)", "no room", "UV_CACHE_DIR"),
    (-9, "", "ended by SIGKILL", "dmesg"),
    (-11, "", "ended by SIGSEGV", "again"),
    (-200, "", "ended by signal 200", "again"),
    (101, "thread 'main' panicked", "failed with exit status 101", "doctor"),
])  # fmt: skip
def test_kinds_of_failure_are_told_apart(cell: Cell, status: int, output: str, what: str, step: str) -> None:
    """Since what helps is another for each."""
    said, steps = resolver.refusal(cell, status, output)
    assert what in said
    assert step in "".join(map(str, steps))


def test_what_uv_says_is_told_once_and_can_be_shown(monkeypatch: pytest.MonkeyPatch, cell: Cell) -> None:
    """With the position of the row and the command, and no character that a terminal would obey."""
    said = subprocess.CompletedProcess((), 1, "", f"{NO_SOLUTION} \x1b[31m\u202e")
    monkeypatch.setattr(process, "capture", lambda *arguments, **options: said)
    with pytest.raises(BuildError) as caught:
        resolver.compile_cell(cell, Host(), Wanted(("a",)))
    text = str(caught.value)
    assert text.count("No solution found") == 1
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert f"change the row at matrix.yaml:6:5, then python build.py lock {cell.id}" in text
    assert caught.value.code is Exit.BUILD


@pytest.mark.parametrize(("status", "output", "told"), [
    (2, "error: Failed to fetch: `http://me:word@a.example/uv/`\n  cause: tcp connect\n  cause: Connection refused",
        "http://[hidden]@a.example/uv/: Connection refused"),
    (2, "error: Request failed\n  cause: error sending request for url (https://b.example/uv/)\n  dns error\n\n",
        "https://b.example/uv/: dns error"),
    (1, "error: no address\n", "error: no address"),
    (-9, "", "uv was ended by SIGKILL"),
    (3, " \n", "uv failed with exit status 3"),
])  # fmt: skip
def test_the_index_that_does_not_answer_is_named(
    monkeypatch: pytest.MonkeyPatch, status: int, output: str, told: str
) -> None:
    """Since there may be several."""
    said = subprocess.CompletedProcess((), status, "", output)
    monkeypatch.setattr(process, "capture", lambda *arguments, **options: said)
    assert resolver.index_refusal(Host()) == told


def program(tmp_path: Path, text: str) -> Path:
    """A program that stands for uv."""
    path = tmp_path / "uv"
    path.write_text(f"#!{sys.executable}\nimport os, signal, sys, time\n{text}\n")
    path.chmod(0o755)
    return path


def asked(monkeypatch: pytest.MonkeyPatch, cell: Cell, tmp_path: Path, uv: "Path | Callable[[], str]") -> BuildError:
    """What is said when uv is this program; the folder for its files is empty again."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(resolver, "find_uv_bin", uv if callable(uv) else lambda: str(uv))
    with pytest.raises(BuildError) as caught:
        resolver.compile_cell(cell, Host(), Wanted(("a",)))
    assert list(temporary.iterdir()) == []
    assert caught.value.where == cell.id
    return caught.value


def test_uv_that_never_ends_is_stopped(monkeypatch: pytest.MonkeyPatch, cell: Cell, tmp_path: Path) -> None:
    """With all that it started."""
    monkeypatch.setattr(resolver, "SECONDS", 1)
    uv = program(tmp_path, f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)")
    assert "no answer within" in asked(monkeypatch, cell, tmp_path, uv).what
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_uv_that_is_killed_is_not_a_conflict(monkeypatch: pytest.MonkeyPatch, cell: Cell, tmp_path: Path) -> None:
    """As by the kernel, where memory runs out."""
    error = asked(monkeypatch, cell, tmp_path, program(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)"))
    assert error.what == "uv was ended by SIGKILL"


def test_no_temporary_file_of_uv_outlives_it(monkeypatch: pytest.MonkeyPatch, cell: Cell, tmp_path: Path) -> None:
    """Whatever ends uv, it can't remove its own any more: without a cache they are pages, with the tokens of URLs."""
    writes = "cache = os.environ['TMPDIR'] + '/.tmpAbCdEf/simple'; os.makedirs(cache); open(cache + '/torch', 'w')"
    asked(monkeypatch, cell, tmp_path, program(tmp_path, f"{writes}; os.kill(os.getpid(), signal.SIGKILL)"))


def test_long_words_of_an_index_are_cut(monkeypatch: pytest.MonkeyPatch, cell: Cell, tmp_path: Path) -> None:
    """A file name of 400 kB, or 10,000 files."""
    writes = "sys.stderr.write('a.' * 200_000 + '\\nline' * 10_000); sys.exit(1)"
    said = str(asked(monkeypatch, cell, tmp_path, program(tmp_path, writes)))
    assert len(said) < 10_000
    assert "more lines" in said


def test_uv_that_is_missing_or_no_program_is_told(monkeypatch: pytest.MonkeyPatch, cell: Cell, tmp_path: Path) -> None:
    """With how to get it."""

    def missing() -> str:
        raise FileNotFoundError("uv")

    assert "not installed" in asked(monkeypatch, cell, tmp_path, missing).what
    (tmp_path / "tmp").rmdir()
    (tmp_path / "uv").write_bytes(b"\x7fELF")
    (tmp_path / "uv").chmod(0o755)
    assert "can't be started" in asked(monkeypatch, cell, tmp_path, tmp_path / "uv").what


def test_no_folder_to_work_in_is_told(monkeypatch: pytest.MonkeyPatch, cell: Cell, tmp_path: Path) -> None:
    """A TMPDIR that is not there, or is full."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(BuildError, match="a folder for uv can't be written") as caught:
        resolver.compile_cell(cell, Host(), Wanted(("a",)))
    assert "TMPDIR" in caught.value.next_step


def test_an_interrupt_is_none_of_uvs_failures(monkeypatch: pytest.MonkeyPatch, cell: Cell, tmp_path: Path) -> None:
    """Uv is told to stop, waited for, and its words are not taken for an answer."""
    monkeypatch.setattr(process, "_stopping", threading.Event())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    uv = program(
        tmp_path,
        f"signal.signal(signal.SIGINT, lambda *a: (print('error: interrupted', file=sys.stderr), sys.exit(2)))\n"
        f"open({str(tmp_path / 'started')!r}, 'w').close(); time.sleep(60)",
    )
    monkeypatch.setattr(resolver, "find_uv_bin", lambda: str(uv))

    def interrupt() -> None:
        while not (tmp_path / "started").exists():
            threading.Event().wait(0.05)
        process.interrupt_all()

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(process.InterruptedRun):
        resolver.compile_cell(cell, Host(), Wanted(("a",)))
    assert {path.name for path in tmp_path.iterdir()} == {"uv", "started"}


def test_a_whole_run_that_is_interrupted_exits_with_130(tmp_path: Path) -> None:
    """Ctrl-C at `lock`: one word, nothing of a lock, no folder left, no child left."""
    root = Path(__file__).parents[3]
    (tmp_path / "tmp").mkdir()
    uv = program(tmp_path, f"open({str(tmp_path / 'started')!r}, 'w').write(str(os.getpid())); time.sleep(60)")
    start = (
        "import sys, runpy; from torchdev.wheels import pip_settings, uv as resolver; "
        f"resolver.find_uv_bin = lambda: {str(uv)!r}; pip_settings.PIP = ('true',); "
        f"sys.argv = ['build.py', 'lock', '--matrix-file', {str(tmp_path / 'matrix.yaml')!r}]; "
        f"runpy.run_path({str(root / 'build.py')!r}, run_name='__main__')"
    )
    rows = '  - {python: ["3.11", "3.12", "3.13"], cuda: cu130, torch: "2.13.0"}\n'
    (tmp_path / "matrix.yaml").write_text(f"image: x\ncompanions: []\nrows:\n{rows}")
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    done = subprocess.Popen(
        [sys.executable, "-c", start], cwd=root, env=environment, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    while not (tmp_path / "started").exists() and done.poll() is None:
        threading.Event().wait(0.05)
    os.killpg(done.pid, signal.SIGINT)
    said = done.communicate(timeout=60)[1]
    assert done.returncode == Exit.INTERRUPTED, said
    assert said.splitlines()[-1] == "interrupted"
    assert "Traceback" not in said
    assert "no set of versions" not in said
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not list(tmp_path.glob("images/*/*"))
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "started").read_text()), 0)
