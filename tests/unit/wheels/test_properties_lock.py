"""Locks, made up and mutated: a valid one is read back equal, any other is equal or refused, never a traceback."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from torchdev.matrix.load import Cell
from torchdev.util.errors import InputError
from torchdev.util.positions import Position
from torchdev.wheels import lock as locks
from torchdev.wheels import lockfile
from torchdev.wheels.lock import PYTORCH, UV, Lock, Package, inputs_digest

TAGS = {
    "amd64": ("py3-none-any", "py2.py3-none-any", "{p}-{p}-manylinux_2_17_x86_64.manylinux2014_x86_64"),
    "arm64": ("py3-none-any", "py3-none-manylinux_2_17_aarch64", "{p}-{p}-manylinux_2_28_aarch64"),
}
RESERVED = ("torch", "torchvision", "torchaudio", "uv", "nvidia-cuda-runtime")
SHA256 = st.binary(min_size=32, max_size=32).map(bytes.hex)
SIZES = st.none() | st.integers(0, 10**12)
PROJECTS = st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,6}){0,2}", fullmatch=True).filter(
    lambda name: name not in RESERVED and not name.startswith("nvidia-cudnn-")
)
VERSIONS = st.from_regex(r"(0|[1-9][0-9]{0,3})(\.(0|[1-9][0-9]{0,2})){0,3}(rc[1-9])?(\.post[1-9])?", fullmatch=True)


@st.composite
def pairs(draw: st.DrawFn) -> "tuple[Cell, Lock]":
    """A cell and a lock that is one of it: some of the packages are asked for, torch is of one of the two indexes."""
    arch = draw(st.sampled_from(("amd64", "arm64")))
    python = draw(st.sampled_from(("3.9", "3.11", "3.13")))
    names = draw(st.sets(PROJECTS, max_size=6))
    flavoured = draw(st.booleans())
    torch = "2.13.0+cu126" if flavoured else "2.13.0"
    found = [package(draw, name, draw(VERSIONS), python, arch) for name in names]
    own = package(draw, "torch", torch, python, arch)
    if flavoured:
        own = dataclasses.replace(own, origin=PYTORCH, sha256=draw(st.none() | SHA256))
    runtime = package(draw, "nvidia-cuda-runtime", "12.6.77" if flavoured else "13.0.96", python, arch)
    asked = tuple(f"{p.name}=={p.version}" for p in found if draw(st.booleans()))
    cell = Cell(
        python=python,
        flavour="cu126" if flavoured else "cu130",
        torch="2.13.0",
        requirements=("torch==2.13.0", *asked),
        position=Position("m", 1, 1),
        arch=arch,
    )
    listed = tuple(sorted((*found, own, runtime), key=lambda package: package.name))
    uv = package(draw, "uv", UV, python, arch)
    return cell, Lock(
        cell=cell.id, python=python, platform=cell.platform, inputs=inputs_digest(cell), uv=uv, packages=listed
    )


def package(draw: st.DrawFn, name: str, version: str, python: str, arch: str) -> Package:
    """A wheel of a project for a cell."""
    tag = draw(st.sampled_from(TAGS[arch])).format(p=f"cp{python.replace('.', '')}")
    file = f"{name.replace('-', '_')}-{version}-{tag}.whl"
    sizes = {"size": draw(SIZES), "installed": draw(SIZES)}
    return Package(name=name, version=version, file=file, sha256=draw(SHA256), **sizes)


@given(pair=pairs())
def test_a_valid_lock_is_read_back_equal(tmp_path: Path, pair: "tuple[Cell, Lock]") -> None:
    """Whatever its packages are, in each layout of the JSON."""
    cell, lock = pair
    path = tmp_path / "lock.json"
    for text in (locks.to_text(lock), json.dumps(json.loads(locks.to_text(lock)), indent=1)):
        path.write_text(text, encoding="utf-8")
        assert lockfile.read_lock(path, cell) == lock


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def key_paths(value: Any, path: "tuple[Any, ...]" = ()) -> "list[tuple[Any, ...]]":
    """Where every value of a JSON document is."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in inner for found in key_paths(item, (*path, key)))]


def changed(value: Any, path: "tuple[Any, ...]", new: Any) -> Any:
    """The document with another value at one path."""
    if not path:
        return new
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = changed(copied[path[0]], path[1:], new)
    return copied


@given(pair=pairs(), data=st.data())
def test_any_other_value_is_refused_or_makes_no_difference(
    tmp_path: Path, pair: "tuple[Cell, Lock]", data: st.DataObject
) -> None:
    """One value of the JSON replaced by any other: refused with a line, or it is the lock that is written again."""
    cell, lock = pair
    document = json.loads(locks.to_text(lock))
    path = data.draw(st.sampled_from(key_paths(document)))
    text = json.dumps(changed(document, path, data.draw(JSON)), indent=1)
    refused_or_sound(tmp_path / "lock.json", cell, text.encode())


@given(pair=pairs(), data=st.data())
def test_any_other_bytes_are_refused_or_make_no_difference(
    tmp_path: Path, pair: "tuple[Cell, Lock]", data: st.DataObject
) -> None:
    """Some bytes of the file replaced by any others, as a bad disk, an editor or a merge does it."""
    cell, lock = pair
    content = locks.to_text(lock).encode()
    begin = data.draw(st.integers(0, len(content)))
    end = min(len(content), begin + data.draw(st.integers(0, 40)))
    refused_or_sound(tmp_path / "lock.json", cell, content[:begin] + data.draw(st.binary(max_size=20)) + content[end:])


@given(content=st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
@example(b'"\xed\xa0\x80"')
@example(b"\xef\xbb\xbf{}")
@example(b'{"a": 1, "a": 2}')
def test_what_is_no_lock_is_refused(tmp_path: Path, content: bytes) -> None:
    """Any bytes, any JSON."""
    cell = Cell(
        python="3.11", flavour="cu130", torch="2.13.0", requirements=("torch==2.13.0",), position=Position("m", 1, 1)
    )
    path = tmp_path / "lock.json"
    path.write_bytes(content)
    assert isinstance(said_of(path, cell), InputError)


def refused_or_sound(path: Path, cell: Cell, content: bytes) -> None:
    """A lock that is read has no doubts and is written as it was read; one that is not is refused with its line."""
    path.write_bytes(content)
    lock = said_of(path, cell)
    if isinstance(lock, Lock):
        assert not list(lockfile.doubts(lock, cell))
        path.write_text(locks.to_text(lock), encoding="utf-8")
        assert lockfile.read_lock(path, cell) == lock


def said_of(path: Path, cell: Cell) -> "Lock | InputError":
    """The lock in a file, or why it is none: with a line of the file, and the command."""
    try:
        return lockfile.read_lock(path, cell)
    except InputError as error:
        said = error
    line, lines = int(said.where.rpartition(":")[2]), path.read_bytes().count(b"\n") + 1
    assert 1 <= line <= lines
    assert cell.id in said.next_step
    return said
