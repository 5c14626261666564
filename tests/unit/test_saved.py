"""Layers as an engine sends them: found in whatever they are packed by, hidden files, too, and nothing is kept."""

import gzip
import io
import json
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
import zstandard

from tests.image.saved import search

SECRET = "hunter2hunter2"
Files = dict[str, bytes]


def tar(files: Files) -> bytes:
    """An archive of regular files, after a folder and a link, which are none."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        folder, link = tarfile.TarInfo("etc"), tarfile.TarInfo("etc/link")
        folder.type, link.type, link.linkname = tarfile.DIRTYPE, tarfile.SYMTYPE, SECRET
        archive.addfile(folder)
        archive.addfile(link)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def saved(layers: "list[bytes]", *, old: bool = False) -> Iterator[bytes]:
    """An image as `docker save` has it, in small pieces; by the layout of engines before 25, if `old`."""
    name = "{}/layer.tar" if old else "blobs/sha256/{}"
    content = {"blobs/sha256/config" if not old else "config.json": json.dumps({"rootfs": {}}).encode()}
    content |= {name.format(number): layer for number, layer in enumerate(layers)}
    content["manifest.json"] = json.dumps([{"Layers": list(content)}]).encode()
    whole = tar(content)
    return (whole[start : start + 700] for start in range(0, len(whole), 700))


PACKED: "list[Callable[[bytes], bytes]]" = [
    bytes,
    gzip.compress,
    zstandard.ZstdCompressor(level=1).compress,
    lambda data: b"".join(zstandard.ZstdCompressor().compress(data[n : n + 999]) for n in range(0, len(data), 999)),
]


@pytest.mark.parametrize("pack", PACKED, ids=["plain", "gzip", "zstd", "zstd in frames"])
@pytest.mark.parametrize("old", [False, True])
def test_what_layers_hold_is_found(pack: "Callable[[bytes], bytes]", old: bool) -> None:
    """In the layer and file where it is, though a later layer has another file of that name."""
    first = {"etc/conf": f"password={SECRET}".encode(), "./root/.cache/pip/x": b"1", "usr/bin/x": b"\x7fELF\0" * 9}
    second = {"etc/conf": b"clean", "var/log/empty": b"", "etc/.wh.other": b""}
    found = search(saved([pack(tar(first)), pack(tar(second))], old=old), ["nothing", SECRET])
    assert found["texts"] == [[1, "0", "etc/conf"]]
    assert found["left"] == [["0", "root/.cache/pip/x"]]
    assert (found["files"], found["layers"]) == (6, 2)


def test_large_files_are_searched_if_they_are_text() -> None:
    """To their end; of a library, the beginning tells that it is none."""
    long = b"x" * (3 << 20) + SECRET.encode()
    files = {"text": long, "library": b"\0" * 4096 + long, "small": b"\0" + SECRET.encode()}
    found = search(saved([gzip.compress(tar(files), 1)]), [SECRET])
    assert [path for _, _, path in found["texts"]] == ["text", "small"]


def test_nothing_is_kept() -> None:
    """A layer of 60 MB takes a small part of it at any time."""
    layer = zstandard.ZstdCompressor(level=1).compress(tar({f"lib{n}": bytes(20 << 20) for n in range(3)}))
    tracemalloc.start()
    search(saved([layer]), [SECRET])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 << 20
