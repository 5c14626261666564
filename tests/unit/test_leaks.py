"""The leak scan: what would give the builder away, and how layers are searched, whatever packs them."""

import dataclasses
import gzip
import io
import json
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from pypi_simple import PYPI_SIMPLE_ENDPOINT
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from tests.image.leaks import leak_words
from tests.image.saved import search
from torchdev.wheels.host import Host
from torchdev.wheels.logins import Login
from torchdev.wheels.settings import PYPI_INDEX

PRIVATE = "-----BEGIN CERTIFICATE-----\nfirstline\nmiddleline\nlastline\n-----END CERTIFICATE-----\n"


def test_a_machine_with_nothing_of_its_own_leaves_no_trace() -> None:
    """The public indexes are named by many packages, and so are public authorities' certificates."""
    host = Host(index=PYPI_SIMPLE_ENDPOINT, ca_bundle=Path(DEFAULT_CA_BUNDLE_PATH))
    assert leak_words(host) == {}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"index": "https://pypi.corp.example/simple"}, {"pypi.corp.example"}),
        (
            {"extra_indexes": ("https://me:s3cr%21et@mirror.corp:8443/x",)},
            {"mirror.corp:8443", "s3cr%21et", "s3cr!et"},
        ),
        ({"find_links": ("http://files.corp/wheels/",)}, {"files.corp"}),
        ({"pytorch_index": "https://torch.corp/whl"}, {"torch.corp"}),
        ({"proxies": (("HTTPS_PROXY", "proxy.corp:3128"), ("NO_PROXY", "a.b.c.d"))}, {"proxy.corp:3128"}),
        ({"proxies": (("HTTP_PROXY", "http://localhost:3128"),)}, set()),
        ({"folders": (Path("/opt/wheels"), Path("/wheels"))}, {"/opt/wheels"}),
    ],
)
def test_addresses_and_passwords_are_traces(settings: dict[str, object], expected: set[str]) -> None:
    """Of every kind of setting that a build is given."""
    assert set(leak_words(dataclasses.replace(Host(), **settings))) == expected  # type: ignore[arg-type]


def test_passwords_of_netrc_are_traces() -> None:
    """Names of users are not: they are words like any other."""
    assert set(leak_words(Host(logins=(Login("pypi.corp", "reader", "hunter2hunter2"),)))) == {"hunter2hunter2"}


def test_tokens_in_paths_are_traces() -> None:
    """Other parts of a path are not."""
    host = Host(index="https://pypi.corp/artifactory/api/T0ken-in-path/simple")
    assert set(leak_words(host)) == {"pypi.corp", "T0ken-in-path"}


def test_a_certificate_of_ones_own_is_a_trace(tmp_path: Path) -> None:
    """In a bundle beside the public ones; by a line from its middle, since first lines are much alike."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text(Path(DEFAULT_CA_BUNDLE_PATH).read_text(encoding="utf-8") + PRIVATE)
    assert set(leak_words(Host(ca_bundle=bundle))) == {"middleline"}


def test_the_own_name_of_pypi_is_the_librarys() -> None:
    """It stands in settings.py too, since importing the library for it takes longer than most of a stage."""
    assert PYPI_INDEX == PYPI_SIMPLE_ENDPOINT


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
