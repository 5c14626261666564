"""Locks read back: whatever people, git or a full disk made of one, it is refused with file, line and command."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.conftest import make_package
from torchdev.matrix.load import Cell
from torchdev.util.errors import Exit, InputError
from torchdev.wheels import lock as locks
from torchdev.wheels import lockfile
from torchdev.wheels.lock import PYTORCH, Lock, inputs_digest

Data = dict[str, Any]
TORCH = "torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl"


def refusal(path: Path, cell: Cell, content: "str | bytes") -> InputError:
    """What is said of a lock with this content."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError) as caught:
        lockfile.read_lock(path, cell)
    assert caught.value.code is Exit.INPUT
    assert caught.value.next_step.endswith(f"python build.py lock {cell.id}")
    assert str(caught.value).isprintable() or "\n  next" in str(caught.value)
    return caught.value


def line_of(error: InputError) -> int:
    """The line that an error names."""
    return int(error.where.rpartition(":")[2])


def edited(lock: Lock, edit: Callable[[Data, Data], object]) -> str:
    """The lock as written, but for an edit of all of it and of torch's entry, a package a line."""
    data: Data = json.loads(locks.to_text(lock))
    edit(data, next(p for p in data["packages"] if p["name"] == "torch"))
    if not isinstance(data.get("packages"), list):
        return json.dumps(data)
    head = "".join(f"{json.dumps(k)}: {json.dumps(v)},\n" for k, v in data.items() if k != "packages")
    return "{\n" + head + '"packages": [\n' + ",\n".join(map(json.dumps, data["packages"])) + "\n]}\n"


def without(lock: Lock, *names: str) -> Lock:
    """The lock without some packages."""
    return dataclasses.replace(lock, packages=tuple(p for p in lock.packages if p.name not in names))


def with_package(lock: Lock, name: str, version: str, tags: str = "py3-none-any") -> Lock:
    """The lock with one more package, or another version of one."""
    kept = without(lock, name).packages
    return dataclasses.replace(
        lock, packages=tuple(sorted((*kept, make_package(name, version, tags)), key=lambda p: p.name))
    )


EDITS: "list[tuple[Callable[[Data, Data], object], str]]" = [
    (lambda d, t: d.update(cell="py39-cu118-torch1.0.0"), "this is the lock of cell py39-cu118-torch1.0.0"),
    (lambda d, t: d.update(python="2.7"), '"2.7" is not a Python series'),
    (lambda d, t: d.update(python="3.12"), "this is the lock of python 3.12, not of 3.11"),
    (lambda d, t: d.update(platform="linux/arm64"), "this is the lock of platform linux/arm64"),
    (lambda d, t: d.update(inputs="sha256:" + "0" * 64), "the lock is stale"),
    (lambda d, t: d.update(inputs="x"), "is not a digest"),
    (lambda d, t: d.update(packages=[]), "torch is not there"),
    (lambda d, t: d.update(packages=d["packages"] * 2), "cuda-bindings stands after"),
    (lambda d, t: d.update(packages=d["packages"] + [t, t]), "torch stands after triton"),
    (lambda d, t: d["packages"].insert(-1, dict(t)), "torch is there twice"),
    (lambda d, t: d["packages"].remove(t), "torch is not there, and the cell asks for torch==2.13.0"),
    (lambda d, t: d["packages"].reverse(), "packages are in order of names"),
    (lambda d, t: t.update(version="1.0.0"), "is a wheel of torch 2.13.0, not torch 1.0.0"),
    (lambda d, t: t.update(version="1.0.0", file=TORCH.replace("2.13.0", "1.0.0")), "torch is 1.0.0"),
    (lambda d, t: t.update(version="2.13.0+cu126", file=TORCH.replace("2.13.0", "2.13.0+cu126")), "is not for cu130"),
    (lambda d, t: t.update(version="02.13.0"), "02.13.0"),
    (lambda d, t: t.update(name="Torch"), '"Torch" is not the normalized name'),
    (lambda d, t: t.update(file=TORCH.replace("cp311", "cp312")), "does not run on Python 3.11 for linux/amd64"),
    (lambda d, t: t.update(file=TORCH.replace("x86_64", "aarch64")), "does not run on Python 3.11 for linux/amd64"),
    (lambda d, t: t.update(file=TORCH.replace("2_28", "2_99")), "does not run"),
    (lambda d, t: t.update(file=TORCH.replace("manylinux_2_28", "win")), "does not run"),
    (lambda d, t: t.update(file="torch-2.13.0.tar.gz"), "is not the file name of a wheel"),
    (lambda d, t: t.update(file="../" + TORCH), "is not the file name of a wheel"),
    (lambda d, t: t.update(file=TORCH.replace("x86_64", "x86_64;id")), "is not the file name of a wheel"),
    (lambda d, t: t.update(file=TORCH + "\nRUN id"), r"\nRUN id"),
    (lambda d, t: t.update(sha256="zz"), '"zz" is not a sha256'),
    (lambda d, t: t.update(sha256="AB" * 32), "is not a sha256"),
    (lambda d, t: t.update(sha256=None), "torch has no sha256"),
    (lambda d, t: t.update(sha256=None, origin=PYTORCH), "only the PyTorch index has"),
    (lambda d, t: t.update(origin="elsewhere"), "origin"),
    (lambda d, t: t.update(size=-1), "size"),
    (lambda d, t: t.update(size=1.5), "expected a whole number, found 1.5"),
    (lambda d, t: t.update(size=1.0), "expected a whole number"),
    (lambda d, t: t.update(size=10**30), "size"),
    (lambda d, t: t.update(size=True), "expected a whole number, found True"),
    (lambda d, t: t.update(installed=float("nan")), "installed"),
    (lambda d, t: t.update(installed="10"), 'expected a whole number, found "10"'),
    (lambda d, t: t.update(mirror="x"), "packages[7].mirror is not a key that is known"),
    (lambda d, t: d.update(indexes=[]), "indexes is not a key that is known"),
    (lambda d, t: t.pop("size"), "packages[7].size is missing"),
    (lambda d, t: d.pop("uv"), "uv is missing"),
    (lambda d, t: d["uv"].update(version="0.13.8"), "this is uv 0.13.8, and uv 0.13.9"),
    (lambda d, t: d.update(uv=t), "this is torch 2.13.0, and uv"),
    (lambda d, t: d["uv"].update(sha256=None), "uv has no sha256"),
    (lambda d, t: d["packages"].append(["a", "b"]), "packages[9]: expected an object"),
]


@pytest.mark.parametrize(("edit", "words"), EDITS)
def test_an_edited_lock_is_refused(
    tmp_path: Path, cell: Cell, lock: Lock, edit: Callable[[Data, Data], object], words: str
) -> None:
    """With what is wrong and, if it is a package's, that package's line."""
    content = edited(lock, edit)
    error = refusal(tmp_path / "lock.json", cell, content)
    assert words in error.what
    if "packages[7]" in error.what or error.what.startswith("torch"):
        assert any(name in content.splitlines()[line_of(error) - 1] for name in ('"torch', '"Torch"', '"packages"'))


FIELDS = ["cell", "python", "platform", "inputs", "uv", "packages"]
OF_PACKAGES = ["name", "version", "file", "sha256", "size", "installed", "origin"]


@pytest.mark.parametrize("value", [1, -1.5, True, None, [], {}, [[]], {"a": [1]}, "", "\u202e", "a\nb", 10**400])
@pytest.mark.parametrize("field", FIELDS)
def test_no_field_takes_another_type(tmp_path: Path, cell: Cell, lock: Lock, field: str, value: object) -> None:
    """Each is refused, whatever stands in its place, and the message has nothing that a terminal would obey."""
    error = refusal(tmp_path / "lock.json", cell, edited(lock, lambda d, t: d.update({field: value})))
    assert "\u202e" not in str(error)


@pytest.mark.parametrize("value", [-1, 1.5, True, [], {}, [None], {"a": 1}, "", "x y", "-rf", "$(id)", 10**400])
@pytest.mark.parametrize("field", OF_PACKAGES)
def test_no_field_of_a_package_takes_another_type(
    tmp_path: Path, cell: Cell, lock: Lock, field: str, value: object
) -> None:
    """And the line is the package's."""
    if (field, value) == ("origin", ""):
        return
    content = edited(lock, lambda d, t: t.update({field: value}))
    error = refusal(tmp_path / "lock.json", cell, content)
    assert '"triton"' not in content.splitlines()[line_of(error) - 1]


OF_FILES: "list[tuple[Callable[[str], str | bytes], str, int]]" = [
    (lambda text: "", "the file is empty", 1),
    (lambda text: " \n\n", "the file is empty", 3),
    (lambda text: text[: len(text) // 2], "not JSON", 0),
    (lambda text: text.replace('  "packages"', '<<<<<<< HEAD\n  "packages"'), "conflict markers", 7),
    (lambda text: text + "<<<<<<< HEAD\n", "conflict markers", 0),
    (lambda text: text.replace('"cell"', '"python": "3.11",\n"cell"'), 'the key "python" is there twice', 4),
    (lambda text: text.replace('"size": 10', '"size": 10, "size": 11', 1), 'the key "size" is there twice', 6),
    (lambda text: text.replace('"size": 10', '"size": NaN', 1), "size", 6),
    (lambda text: text.replace('"size": 10', '"size": -Infinity', 1), "size", 6),
    (lambda text: text.replace('"size": 10', '"size": 010', 1), "not JSON", 6),
    (
        lambda text: text.replace('"size": 10', f'"size": {"1" * 5000}', 1),
        "uv.size: a number of 5,000 digits is too large",
        6,
    ),
    (lambda text: text.replace('"size": 10', f'"size": -{"1" * 5000}', 1), "size", 6),
    (lambda text: text.replace('"inputs"', f'"x": [{"1" * 5000}],\n"inputs"', 1), "x[0]: a number of 5,000 digits", 0),
    (lambda text: text.replace('"size": 10', '"size": 10, "name": 1', 1), "is there twice", 6),
    (lambda text: text.replace('"name": "torch"', r'"name": "\ud800"'), r'.name: "\ud800" is not text', 0),
    (lambda text: text.replace('"cell": "', r'"cell": "\udc00\ud83d', 1), r'cell: "\udc00', 2),
    (lambda text: text.replace('"cell": "', r'"cell": "\ud83d\ude00', 1), "cell", 2),
    (lambda text: text.replace("{", '{"x": ' + "[" * 300 + "]" * 300 + ",", 1), "nested too deeply", 1),
    (lambda text: "[" * 100_000, "nested too deeply", 1),
    (lambda text: '{"cell":' * 100_000, "nested too deeply", 1),
    (lambda text: text.encode("utf-16"), "not text in UTF-8", 1),
    (lambda text: text.encode().replace(b"torch-2.13.0", b"torch-\xff2.13.0"), "not text in UTF-8", 0),
    (lambda text: "\ufeff" + text, "byte order mark", 1),
    (lambda text: text.replace('"cell"', '"c\\ud800ell"'), r'the key "c\ud800ell" is not text', 0),
    (lambda text: "[]", "expected an object", 1),
    (lambda text: "{}", "is missing", 1),
    (lambda text: '"lock"', "expected an object", 1),
    (lambda text: text + text, "not JSON: Extra data", 0),
    (lambda text: text.replace(",\n", ",\n# merged by hand\n", 1), "not JSON", 3),
    (lambda text: "cell: a\npython: 3.11\n", "not JSON", 1),
    (lambda text: text.replace("\n", "\x00\n", 1), "not JSON", 1),
]


@pytest.mark.parametrize(("edit", "words", "line"), OF_FILES)
def test_a_file_that_is_no_lock_is_refused(
    tmp_path: Path, cell: Cell, lock: Lock, edit: "Callable[[str], str | bytes]", words: str, line: int
) -> None:
    """With the line where it stops being one."""
    error = refusal(tmp_path / "lock.json", cell, edit(locks.to_text(lock)))
    assert words in str(error)
    assert len(str(error)) < 500
    assert line in (0, line_of(error))


def test_a_lock_that_is_a_link_is_not_read(tmp_path: Path, cell: Cell, lock: Lock) -> None:
    """Wherever it leads, even to a lock of the cell: what is there was not written by lock."""
    (tmp_path / "other").write_text(locks.to_text(lock))
    for target in ("/etc/passwd", "/etc/hostname", "/dev/null", "/proc/self/environ", tmp_path / "other", tmp_path):
        (tmp_path / "lock.json").symlink_to(target)
        with pytest.raises(InputError, match="can't be read: it is a link") as caught:
            lockfile.read_lock(tmp_path / "lock.json", cell)
        assert f"lock {cell.id}" in caught.value.next_step
        (tmp_path / "lock.json").unlink()


def test_a_lock_laid_out_by_hand_is_taken_for_the_same(tmp_path: Path, cell: Cell, lock: Lock) -> None:
    """In one line, with every value on a line of its own, or with a Windows editor's ends of lines."""
    path, text = tmp_path / "lock.json", locks.to_text(lock)
    for other in (json.dumps(json.loads(text)), json.dumps(json.loads(text), indent=4), text.replace("\n", "\r\n")):
        path.write_bytes(other.encode())
        assert lockfile.read_lock(path, cell) == lock


def test_the_line_is_that_of_the_value_however_it_is_laid_out(tmp_path: Path, cell: Cell, lock: Lock) -> None:
    """A value on a line of its own has a line of its own."""
    data = json.loads(locks.to_text(lock))
    data["packages"][2]["sha256"] = "no hash"
    text = json.dumps(data, indent=4)
    error = refusal(tmp_path / "lock.json", cell, text)
    assert '"no hash"' in text.splitlines()[line_of(error) - 1]


def test_what_is_no_file_is_never_opened(tmp_path: Path, cell: Cell) -> None:
    """A folder, a pipe, a device, a loop of links, a link to nothing: each is said to be there, and ends at once."""
    for number, make in enumerate((
        Path.mkdir,
        os.mkfifo,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to(path),
        lambda path: path.symlink_to(tmp_path / "nowhere"),
    )):  # fmt: skip
        path = tmp_path / f"lock{number}.json"
        make(path)
        assert lockfile.there(path)
        with pytest.raises(InputError, match="can't be read") as caught:
            lockfile.read_lock(path, cell)
        assert f"python build.py lock {cell.id}" in caught.value.next_step
    assert not lockfile.there(tmp_path / "lock.json")


@pytest.mark.parametrize(("change", "words"), [
    ({"requirements": ("torch==2.13.0", "numpy")}, "numpy is not there, and the cell asks for numpy"),
    ({"requirements": ("torch==2.13.0", "filelock>=5")}, "filelock is 4.2, and the cell asks for filelock>=5"),
    ({"requirements": ("torch==2.13.0", "FileLock[x]!=4.*")}, "filelock is 4.2"),
    ({"constraints": ("triton<3",)}, "triton is 3.7.1, and the cell asks for triton<3"),
    ({"cudnn": "9.24.0.43"}, "its cuDNN is 9.20.0.48, and the cell asks for 9.24.0.43"),
    ({"variant": "devel"}, "cuda-toolkit is not there"),
    ({"torch": "2.14.1", "requirements": ("torch==2.14.1",)}, "torch is 2.13.0"),
    ({"flavour": "cu132"}, "its CUDA is 13.0, and the cell's is 13.2"),
    ({"flavour": "cpu"}, "its CUDA is 13.0, and the cell's is none (cpu)"),
    ({"arch": "arm64"}, "does not run on Python 3.11 for linux/arm64"),
])  # fmt: skip
def test_what_the_cell_asks_for_must_be_in_its_lock(
    tmp_path: Path, cell: Cell, lock: Lock, change: "dict[str, Any]", words: str
) -> None:
    """Even if somebody has made the digest of the inputs fit."""
    other = dataclasses.replace(cell, **change)
    forged = dataclasses.replace(lock, cell=other.id, platform=other.platform, inputs=inputs_digest(other))
    assert words in refusal(tmp_path / "lock.json", other, locks.to_text(forged)).what


def test_a_requirement_whose_marker_does_not_hold_is_not_missed(tmp_path: Path, cell: Cell, lock: Lock) -> None:
    """Markers are those of the cell, not of this machine."""
    markers = ('x; python_version < "3.11"', 'y; sys_platform == "win32"', 'z; platform_machine == "aarch64"')
    other = dataclasses.replace(cell, requirements=("torch==2.13.0", *markers))
    path = tmp_path / "lock.json"
    path.write_text(locks.to_text(dataclasses.replace(lock, inputs=inputs_digest(other))))
    lockfile.read_lock(path, other)
    holds = dataclasses.replace(cell, requirements=("torch==2.13.0", 'x; python_version >= "3.11"'))
    text = locks.to_text(dataclasses.replace(lock, inputs=inputs_digest(holds)))
    assert "x is not there" in refusal(path, holds, text).what


def test_only_one_cudnn_can_be_meant(tmp_path: Path, cell: Cell, lock: Lock) -> None:
    """Two projects of it would overwrite each other."""
    other = with_package(lock, "nvidia-cudnn-cu12", "9.20.0.48", "py3-none-manylinux_2_27_x86_64")
    assert "more than one cuDNN" in refusal(tmp_path / "lock.json", cell, locks.to_text(other)).what


def test_torch_of_the_package_index_is_not_any_flavour(tmp_path: Path, cell: Cell, lock: Lock) -> None:
    """Without CUDA wheels beside it, only the catalog tells what the index's own torch is for."""
    other = dataclasses.replace(cell, flavour="cu126")
    bare = without(lock, "nvidia-cuda-runtime", "nvidia-cudnn-cu13")
    forged = dataclasses.replace(bare, cell=other.id, inputs=inputs_digest(other))
    assert "is not for cu126" in refusal(tmp_path / "lock.json", other, locks.to_text(forged)).what


def test_a_wheel_of_the_pytorch_index_may_lack_its_hash(tmp_path: Path, cell: Cell, lock: Lock) -> None:
    """As long as nobody could ask that index."""
    file = TORCH.replace("2.13.0", "2.13.0+cu130")
    torch = locks.Package(
        name="torch", version="2.13.0+cu130", file=file, sha256=None, size=None, installed=None, origin=PYTORCH
    )
    path, packages = tmp_path / "lock.json", tuple(torch if p.name == "torch" else p for p in lock.packages)
    path.write_text(locks.to_text(dataclasses.replace(lock, packages=packages)))
    assert lockfile.read_lock(path, cell).unresolved == (torch,)


def test_missing_lock_names_the_command(tmp_path: Path, cell: Cell) -> None:
    """A cell without a lock says how to get one."""
    with pytest.raises(InputError, match="no lock yet") as caught:
        lockfile.read_lock(tmp_path / "lock.json", cell)
    assert caught.value.next_step == f"python build.py lock {cell.id}"


@pytest.mark.parametrize("field", [{"requirements": ("torch==2.13.0",)}, {"python": "3.12"}, {"flavour": "cu126"}])
def test_stale_lock_names_the_command(tmp_path: Path, cell: Cell, lock: Lock, field: dict[str, object]) -> None:
    """A lock made for other inputs is refused."""
    path = tmp_path / "lock.json"
    path.write_text(locks.to_text(lock))
    changed = dataclasses.replace(cell, **field)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="stale") as caught:
        lockfile.read_lock(path, changed)
    assert caught.value.next_step == f"python build.py lock {changed.id}"
