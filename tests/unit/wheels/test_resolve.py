"""Resolution: which wheel is taken, what the PyTorch index adds, and every way it can fail."""

import dataclasses
import hashlib
import http.server
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from torchdev.catalog.builds import Wheel
from torchdev.matrix.load import Cell
from torchdev.util import process
from torchdev.util.errors import BuildError, InputError
from torchdev.util.positions import Position
from torchdev.wheels import pytorch, remote, resolve, uv, wheel
from torchdev.wheels.host import Host
from torchdev.wheels.lock import PYTORCH, Lock, Package


@pytest.mark.parametrize(
    ("files", "best"),
    [
        (["p-1-py3-none-any.whl", "p-1-cp311-cp311-manylinux_2_28_x86_64.whl"], 1),
        (["p-1-cp311-cp311-manylinux_2_28_x86_64.whl", "p-1-cp311-cp311-manylinux2014_x86_64.whl"], 0),
        (["p-1-cp39-abi3-manylinux_2_17_x86_64.whl", "p-1-cp311-cp311-manylinux2014_x86_64.whl"], 1),
        (["p-1-cp313-cp313-manylinux_2_28_x86_64.whl", "p-1-py3-none-any.whl"], 1),
    ],
)
def test_best_wheel_is_the_one_an_installer_would_take(files: list[str], best: int) -> None:
    """The most specific tag that the cell's interpreter accepts wins."""
    assert wheel.best(files, "3.11") == files[best]


def test_no_wheel_fits_another_python_or_machine() -> None:
    """Then there is none, rather than a wrong one."""
    files = ["p-1-cp313-cp313-manylinux_2_28_x86_64.whl", "p-1-cp311-cp311-manylinux_2_28_aarch64.whl"]
    assert wheel.best(files, "3.11") is None


def test_wheel_needs_no_newer_glibc_than_the_images_debian_has() -> None:
    """Bookworm has 2.36; images of Python 3.6 stand on bullseye, which has 2.31. Its ABI tag ends in m."""
    newer, older = "manylinux_2_34_x86_64", "manylinux_2_28_x86_64"
    assert wheel.best([f"p-1-py3-none-{newer}.whl"], "3.8") == f"p-1-py3-none-{newer}.whl"
    assert wheel.best([f"p-1-py3-none-{newer}.whl"], "3.6") is None
    assert wheel.best([f"p-1-cp36-cp36m-{older}.whl", f"p-1-py3-none-{older}.whl"], "3.6") is not None
    assert wheel.best(["p-1-cp36-cp36m-manylinux1_x86_64.whl", "p-1-py3-none-any.whl"], "3.6") != "p-1-py3-none-any.whl"


@pytest.mark.parametrize(("python", "version", "glibc"), [("3.6", "3.6.15", "2_31"), ("3.8", "3.8", "2_36")])
def test_uv_is_asked_for_the_images_python_and_glibc(
    monkeypatch: pytest.MonkeyPatch, cell: Cell, python: str, version: str, glibc: str
) -> None:
    """As the last patch version, where the series alone means its first; for another Python, on the image's glibc."""
    asked: list[list[str]] = []

    def refuse(command: list[str], **options: object) -> "subprocess.CompletedProcess[str]":
        asked.append(command)
        return subprocess.CompletedProcess(command, 1, "", "no")

    monkeypatch.setattr(process, "capture", refuse)
    for other in ("", "3.11"):
        with pytest.raises(BuildError):
            uv.compile_cell(dataclasses.replace(cell, python=python), Host(), uv.Wanted(("x",)), other)
    assert [command[command.index("--python-version") + 1] for command in asked] == [version, "3.11"]
    assert all(f"--python-platform=x86_64-manylinux_{glibc}" in command for command in asked)


def test_bundled_cuda_counts_as_the_cells(tmp_path: Path, cell: Cell) -> None:
    """PyTorch before 1.13 has CUDA inside its own wheel; another CUDA there is refused all the same."""
    with zipfile.ZipFile(tmp_path / "torch.whl", "w") as archive:
        archive.writestr("torch/lib/libcudart-80664282.so.10.2", "")
        assert wheel.bundled_cuda(archive) == "10.2"
    with zipfile.ZipFile(tmp_path / "plain.whl", "w") as archive:
        assert wheel.bundled_cuda(archive) is None
    old = dataclasses.replace(cell, flavour="cu102")
    resolve._check_flavour(old, (), "10.2")
    for bundled in ("11.3", None):
        with pytest.raises(InputError, match="not cu102"):
            resolve._check_flavour(old, (), bundled)


def test_flavour_must_be_what_the_tag_says(cell: Cell, lock: Lock) -> None:
    """A wheel set of another CUDA is refused, with the row's position."""
    resolve._check_flavour(cell, lock.packages)
    other = dataclasses.replace(cell, flavour="cu126")
    with pytest.raises(InputError, match=r"built for CUDA 13\.0, not cu126") as caught:
        resolve._check_flavour(other, lock.packages)
    assert caught.value.where == "matrix.yaml:6:5"


def test_cpu_cell_must_have_no_cuda(cell: Cell, lock: Lock) -> None:
    """And a cpu cell is refused a CUDA wheel set."""
    cpu = dataclasses.replace(cell, flavour="cpu")
    with pytest.raises(InputError):
        resolve._check_flavour(cpu, lock.packages)
    resolve._check_flavour(cpu, tuple(p for p in lock.packages if not p.name.startswith("nvidia-")))


def test_cudnn_and_devel_become_what_uv_is_asked_for(cell: Cell) -> None:
    """The chosen cuDNN overrides the one that torch pins; devel asks for nvcc."""
    asked = resolve._wanted(dataclasses.replace(cell, cudnn="9.24.0.43", variant="devel"))
    assert asked.overrides == ("nvidia-cudnn-cu13==9.24.0.43",)
    assert any("nvcc" in requirement for requirement in asked.requirements)
    assert resolve._wanted(cell).overrides == ()


PAGE = """<!DOCTYPE html><html><body><h1>Links for torchvision</h1>
<a href="/whl/cu118/torchvision-0.22.1%2Bcu118-cp39-cp39-manylinux_2_28_x86_64.whl#sha256={hash}"
   data-dist-info-metadata="sha256=00" data-core-metadata="sha256=00"
   >torchvision-0.22.1+cu118-cp39-cp39-manylinux_2_28_x86_64.whl</a><br/>
<a
  href="https://download-r2.pytorch.org/whl/cu118/torchvision-0.22.1%2Bcu118-cp310-cp310-manylinux_2_28_x86_64.whl"
  >torchvision-0.22.1+cu118-cp310-cp310-manylinux_2_28_x86_64.whl</a>
<a href="torchvision-0.22.1.tar.gz">torchvision-0.22.1.tar.gz</a>
</body></html>"""


def test_index_page_is_read_in_its_own_form(tmp_path: Path) -> None:
    """Absolute and relative links, %2B for the plus sign, hash in the fragment, sources left out."""
    (tmp_path / "cu118" / "torchvision").mkdir(parents=True)
    (tmp_path / "cu118" / "torchvision" / "index.html").write_text(PAGE.format(hash="ab" * 32))
    with serving(tmp_path) as url:
        page = pytorch.Index(Host(pytorch_index=url), "cu118").wheels("torchvision")
    names = [f"torchvision-0.22.1+cu118-cp3{n}-cp3{n}-manylinux_2_28_x86_64.whl" for n in (9, 10)]
    paths = [f"/whl/cu118/{name.replace('+', '%2B')}" for name in names]
    assert [(listed.version, listed.wheel) for listed in page] == [
        ("0.22.1+cu118", Wheel(names[0], "ab" * 32)),
        ("0.22.1+cu118", Wheel(names[1])),
    ]
    assert [listed.url for listed in page] == [url + paths[0], f"https://download-r2.pytorch.org{paths[1]}"]


def test_known_hashes_of_the_last_cuda_11_release() -> None:
    """Torch 2.7.1+cu118 for Python 3.9 can be locked without the index; torchvision's hash is not known."""
    files = pytorch.known_files("cu118")
    assert files["torch-2.7.1+cu118-cp39-cp39-manylinux_2_28_x86_64.whl"].startswith("27fa1fc8d1bd")
    assert not [file for file in files if file.startswith("torchvision-0.22.1+cu118-cp39")]
    assert "nvidia-cudnn-cu11==9.1.0.70" in str(pytorch.known_requirements("2.7.1", "cu118", "3.9"))


@pytest.fixture
def legacy() -> Cell:
    """A cell whose CUDA variant is only on the PyTorch index."""
    requirements = ("torch==2.7.1", "torchvision==0.22.1")
    return Cell(
        python="3.9", flavour="cu118", torch="2.7.1", requirements=requirements, position=Position("matrix.yaml", 3, 5)
    )


@pytest.fixture
def incomplete(lock: Lock) -> Lock:
    """Its lock: torch by a known hash, torchvision unresolved."""
    names = ("torch-2.7.1+cu118", "torchvision-0.22.1+cu118")
    files = [f"{name}-cp39-cp39-manylinux_2_28_x86_64.whl" for name in names]
    known = hashlib.sha256(b"torch").hexdigest()
    packages = (
        Package(
            name="torch", version="2.7.1+cu118", file=files[0], sha256=known, size=None, installed=None, origin=PYTORCH
        ),
        Package(
            name="torchvision",
            version="0.22.1+cu118",
            file=files[1],
            sha256=None,
            size=None,
            installed=None,
            origin=PYTORCH,
        ),
    )
    return dataclasses.replace(lock, packages=packages)


@pytest.fixture
def index(tmp_path: Path, incomplete: Lock) -> Iterator[Host]:
    """A PyTorch index on loopback that has both wheels, and a host that is told of it."""
    for package in incomplete.packages:
        folder = tmp_path / "cu118" / package.name
        folder.mkdir(parents=True)
        with zipfile.ZipFile(tmp_path / "cu118" / package.file, "w") as archive:
            archive.writestr("x", "x" * 100)
        digest = package.sha256 or "cd" * 32
        href = f"/cu118/{package.file.replace('+', '%2B')}#sha256={digest}"
        (folder / "index.html").write_text(f'<a href="{href}">{package.file}</a>')
    with serving(tmp_path) as url:
        yield Host(pytorch_index=url)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The URL of a server on loopback that has a folder's files."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(folder))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def handler(folder: Path) -> type[http.server.SimpleHTTPRequestHandler]:
    """Serves a folder, byte ranges too, and says nothing."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, directory=str(folder), **options)  # type: ignore[arg-type]

        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            span = self.headers.get("Range")
            if not span:
                return super().do_GET()
            data = Path(self.translate_path(self.path)).read_bytes()
            first, _, last = span.removeprefix("bytes=").partition("-")
            begin, end = (
                (int(first), int(last or len(data) - 1)) if first else (max(0, len(data) - int(last)), len(data) - 1)
            )
            end = min(end, len(data) - 1)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{end}/{len(data)}")
            self.send_header("Content-Length", str(end - begin + 1))
            self.end_headers()
            self.wfile.write(data[begin : end + 1])

    return Handler


def test_lock_completes_itself_against_the_index(incomplete: Lock, legacy: Cell, index: Host) -> None:
    """Hash, file name and sizes of what was unresolved come from the index; what was known stays."""
    done = resolve.complete(incomplete, legacy, index)
    assert done.unresolved == ()
    assert done.packages[1].sha256 == "cd" * 32
    assert done.packages[1].installed == 100
    assert done.packages[0].sha256 == incomplete.packages[0].sha256


def test_known_hash_that_differs_is_refused(incomplete: Lock, legacy: Cell, index: Host) -> None:
    """An index that has something else under a known name is not believed."""
    other = dataclasses.replace(incomplete.packages[0], sha256="ef" * 32)
    changed = dataclasses.replace(incomplete, packages=(other, incomplete.packages[1]))
    with pytest.raises(BuildError, match="another sha256 than the known one"):
        resolve.complete(changed, legacy, index)


KNOWN = "torch-2.7.1+cu118-cp39-cp39-manylinux_2_28_x86_64.whl"


@pytest.mark.parametrize("tags", [
    "cp39-cp39-manylinux_2_28_x86_64.manylinux_2_31_x86_64", "cp39-cp39-manylinux_2_36_x86_64",
    "cp39-cp39-linux_x86_64",
    "cp39.cp310-cp39-manylinux_2_28_x86_64", "cp39-abi3-manylinux_2_28_x86_64", "cp38-abi3-manylinux_2_17_x86_64",
    "py3-none-manylinux_2_28_x86_64", "py39-none-linux_x86_64", "cp39-none-manylinux1_x86_64", "py2.py3-none-any",
    "1-cp39-cp39-manylinux_2_28_x86_64", "cp39-cp39.none-manylinux_2_28_aarch64.manylinux_2_28_x86_64",
])  # fmt: skip
def test_another_tag_in_its_name_makes_no_other_wheel(tags: str) -> None:
    """Whoever serves the Python and the machine of a known wheel has to have its hash."""
    file, known = f"torch-2.7.1+cu118-{tags}.whl", {KNOWN: "ab" * 32}
    assert pytorch.contradicted(file, "cd" * 32, known) == known
    assert pytorch.contradicted(file, None, known) == known
    assert pytorch.contradicted(file, "ab" * 32, known) == {}


@pytest.mark.parametrize("file", [
    "torch-2.7.1+cu118-cp39-cp39-manylinux_2_28_aarch64.whl", "torch-2.7.1+cu118-cp310-cp310-manylinux_2_28_x86_64.whl",
    "torch-2.7.1+cu118-cp310-abi3-linux_x86_64.whl", "torch-2.7.0+cu118-cp39-cp39-manylinux_2_28_x86_64.whl",
    "torchvision-2.7.1+cu118-cp39-cp39-manylinux_2_28_x86_64.whl", "torch-2.7.1+cu118-cp39-cp39t-linux_x86_64.whl",
    "torch-2.7.1+cu118-py2-none-linux_x86_64.whl", "torch-2.7.1+cu118-cp39-cp39-musllinux_1_2_x86_64.whl",
])  # fmt: skip
def test_other_wheels_are_not_held_against_a_known_one(file: str) -> None:
    """Another machine, Python, version, project, ABI or C library."""
    assert pytorch.contradicted(file, "cd" * 32, {KNOWN: "ab" * 32}) == {}


def test_the_name_of_a_known_wheel_is_for_that_wheel_alone() -> None:
    """Not even another known one may stand under it."""
    both = {KNOWN: "ab" * 32, KNOWN.replace("manylinux_2_28", "linux"): "cd" * 32}
    assert pytorch.contradicted(KNOWN, "cd" * 32, both) == {KNOWN: "ab" * 32}
    assert pytorch.contradicted(KNOWN.replace("2_28", "2_31"), "cd" * 32, both) == {}


def test_folder_and_index_are_held_to_known_hashes_by_what_they_serve(legacy: Cell, tmp_path: Path) -> None:
    """A wheel of this machine, or of the index, that has one more tag than the known one, and another content."""
    other = KNOWN.replace("x86_64.whl", "x86_64.manylinux_2_31_x86_64.whl")
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / other).write_bytes(b"other")
    with pytest.raises(BuildError, match="in the place of a wheel whose sha256 is known") as caught:
        resolve._offered("torch", legacy, pytorch.Index(Host(folders=(folder,)), "cu118"))
    assert all(text in caught.value.what for text in (other, KNOWN, "27fa1fc8d1bd"))
    (tmp_path / "cu118" / "torch").mkdir(parents=True)
    for digest in ("ab" * 32, ""):
        href = other.replace("+", "%2B") + (f"#sha256={digest}" if digest else "")
        (tmp_path / "cu118" / "torch" / "index.html").write_text(f'<a href="{href}">{other}</a>')
        with serving(tmp_path) as url, pytest.raises(BuildError, match="in the place of a wheel"):
            resolve._offered("torch", legacy, pytorch.Index(Host(pytorch_index=url), "cu118"))


def test_completing_a_lock_holds_the_index_to_what_is_known(incomplete: Lock, legacy: Cell, index: Host) -> None:
    """Where the lock itself has no hash, the catalog's counts."""
    unresolved = dataclasses.replace(incomplete.packages[0], sha256=None)
    with pytest.raises(BuildError, match="another sha256 than the known one"):
        resolve.complete(dataclasses.replace(incomplete, packages=(unresolved,)), legacy, index)


def test_silent_index_leaves_the_lock_and_says_so(incomplete: Lock, legacy: Cell) -> None:
    """The message names the wheels and the variable for a mirror."""
    with pytest.raises(BuildError, match=r"torchvision-0\.22\.1") as caught:
        resolve.complete(incomplete, legacy, Host(pytorch_index="http://127.0.0.1:9"))
    assert "TORCHDEV_PYTORCH_INDEX" in caught.value.next_step


def test_stub_says_what_a_wheel_requires(tmp_path: Path) -> None:
    """What is written is what a resolver reads."""
    wheel.write_stub(tmp_path, "torch", "2.7.1+cu118", ["filelock", "triton==3.3.1"])
    assert remote.read_wheel(Host(), next(tmp_path.iterdir()), wheel.requirements) == ["filelock", "triton==3.3.1"]


@pytest.mark.parametrize(("ranges", "step"), [(False, "range requests"), (True, "pip config list")])
def test_a_wheel_that_can_not_be_read_is_told_with_what_helps(
    ranges: bool, step: str, monkeypatch: pytest.MonkeyPatch, cell: Cell
) -> None:
    """It is on pip's index, so the variable of the PyTorch index alone would not help."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = b"no archive" * 99
            self.send_response(206 if ranges else 200)
            self.send_header("Content-Length", str(len(content)))
            if ranges:
                self.send_header("Content-Range", f"bytes 0-{len(content) - 1}/{len(content)}")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        place = f"http://127.0.0.1:{server.server_port}/a-1-py3-none-any.whl"
        monkeypatch.setattr(resolve, "_resolve", lambda cell, host, *_: remote.read_wheel(host, place, remote.sizes))
        with pytest.raises(BuildError, match=place) as caught:
            resolve.resolve(cell, Host())
        server.shutdown()
    assert step in caught.value.next_step
