"""The layers of an image as the engine hands them out, file by file as they arrive; nothing is kept, on no disk.

It is for engines that do not say where they have layers unpacked: those with containerd's store, and remote ones.
"""

import gzip
import io
import tarfile
from collections.abc import Iterable, Iterator
from typing import IO, Any, cast

import zstandard

from tests.image.programs.layers import look

ZSTD, GZIP, JSON = b"\x28\xb5\x2f\xfd", b"\x1f\x8b", b"{"
"""How blobs begin: layers that are packed, and what is no layer."""


class Arriving(io.RawIOBase):
    """Chunks as a file that can be read once."""

    def __init__(self, chunks: "Iterable[bytes]") -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As much as there is of the present chunk."""
        while not self._rest:
            try:
                self._rest = memoryview(next(self._chunks))
            except StopIteration:
                return 0
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def search(chunks: "Iterable[bytes]", texts: "Iterable[str]") -> dict[str, Any]:
    """What a saved image holds of some texts, and of what builds leave behind: as programs/layers.py finds it.

    `layers` is the number of layers; each is named by its digest, or by the folder that older engines give it.
    """
    wanted = [text.encode() for text in texts]
    found: dict[str, Any] = {"files": 0, "left": [], "texts": [], "layers": 0}
    for name, blob in blobs(chunks):
        found["layers"] += 1
        with tarfile.open(fileobj=blob, mode="r|") as layer:
            for member in layer:
                file = layer.extractfile(member) if member.isreg() else None
                if file:
                    look(found, wanted, name, member.name.removeprefix("./").lstrip("/"), file, member.size)
    return found


def blobs(chunks: "Iterable[bytes]") -> "Iterator[tuple[str, IO[bytes]]]":
    """Each layer of a saved image, unpacked, to be read before the next one."""
    with tarfile.open(fileobj=io.BufferedReader(Arriving(chunks), 1 << 20), mode="r|") as archive:
        for member in archive:
            # Engines before 25 have ID/layer.tar; of layers that are equal, all but one are links.
            if not member.isreg() or (not member.name.startswith("blobs/") and not member.name.endswith("/layer.tar")):
                continue
            file = archive.extractfile(member)
            assert file
            unpacked = _unpacked(cast(io.BufferedReader, file))
            if unpacked:
                yield member.name.removeprefix("blobs/sha256/").removesuffix("/layer.tar"), unpacked


def _unpacked(file: io.BufferedReader) -> "IO[bytes] | None":
    """The tar archive that a blob is, whatever it is packed by; None of configurations and manifests."""
    start = file.peek(len(ZSTD))
    if start.startswith(ZSTD):
        return cast("IO[bytes]", zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True))
    if start.startswith(GZIP):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    return None if start.startswith(JSON) or not start else file
