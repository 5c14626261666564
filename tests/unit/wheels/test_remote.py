"""Answers from elsewhere come to an end: no server holds a run for ever, fills the memory, or may lie."""

import gzip
import io
import itertools
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from torchdev.catalog.builds import Wheel
from torchdev.util import process, streams
from torchdev.wheels import index, remote, wheel
from torchdev.wheels.host import Host
from torchdev.wheels.index import Listed
from torchdev.wheels.remote import Refused, Silent, Untrue

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n"
Answer = Callable[[socket.socket, bytes], object]
"""What a server does once it has read a request."""


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 kB stand for 64 MB."""
    monkeypatch.setattr(remote, "LARGEST", 100_000)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second stands for minutes."""
    monkeypatch.setattr(remote, "PAGE_SECONDS", 0.4)
    monkeypatch.setattr(remote, "WHEEL_SECONDS", 0.4)


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """The URL of a server that does as it is told with every connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def one(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                request = b""
                while b"\r\n\r\n" not in request:
                    request += connection.recv(65536)
                answer(connection, request)

        def serve() -> None:
            with suppress(OSError):
                while not ended.is_set():
                    threading.Thread(target=one, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        ended.set()


def trickle(text: bytes) -> Answer:
    """Sends a byte every now and then, always before a read times out."""

    def answer(connection: socket.socket, request: bytes) -> None:
        for byte in itertools.cycle(text):
            connection.sendall(bytes([byte]))
            time.sleep(0.2)

    return answer


def sends(*parts: bytes, forever: bytes = b"") -> Answer:
    """Sends some bytes, then perhaps others without end."""

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"".join(parts))
        while forever:
            connection.sendall(forever)

    return answer


def redirects(to: Callable[[bytes], bytes], body: bytes = b"") -> Answer:
    """Sends elsewhere, to where the requested path tells."""

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: " + to(request.split()[1]) + b"\r\n")
        connection.sendall(b"Connection: close\r\n" + (b"\r\n" if body else b"Content-Length: 0\r\n\r\n"))
        while body:
            connection.sendall(body)

    return answer


SLOW: "dict[str, Answer]" = {
    "never answers": lambda connection, request: time.sleep(20),
    "trickles headers": trickle(b"X"),
    "trickles header lines": lambda c, r: (c.sendall(HEAD), trickle(b"a: b\r\n")(c, r)),
    "trickles content": lambda c, r: (c.sendall(HEAD + b"\r\n"), trickle(b"<p>")(c, r)),
    "trickles a part": lambda c, r: (
        c.sendall(b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-65535/65536\r\n\r\n"),
        trickle(b"P")(c, r),
    ),
}
BAD: "dict[str, tuple[Answer, type[Exception]]]" = {
    "closes at once": (lambda connection, request: None, Silent),
    "sends a page without end": (sends(HEAD, b"\r\n", forever=b"<a href='x'>x</a>" * 999), Untrue),
    "sends chunks without end": (
        sends(HEAD, b"Transfer-Encoding: chunked\r\n\r\n", forever=b"1000\r\n" + b"x" * 4096 + b"\r\n"),
        Untrue,
    ),
    "sends headers without end": (sends(HEAD, forever=b"X-A: " + b"a" * 999 + b"\r\n"), Silent),
    "cuts off halfway": (sends(HEAD, b"Content-Length: 1000\r\n\r\n", b"<html>" * 9), Untrue),
    "cuts off a chunk": (sends(HEAD, b"Transfer-Encoding: chunked\r\n\r\n1000\r\nabc"), Untrue),
    "promises more than it has": (sends(HEAD, b"Content-Length: 999999999999999\r\n\r\n", b"<html>"), Untrue),
    "has no number of bytes": (sends(HEAD, b"Content-Encoding: gzip\r\n\r\n", b"no gzip"), Untrue),
    "unpacks to too much": (
        sends(HEAD, b"Content-Encoding: gzip\r\n\r\n", gzip.compress(b"<p>" * 9_000_000)),
        Untrue,
    ),
    "speaks another language": (sends(b"SSH-2.0-OpenSSH_9.2\r\n"), Silent),
    "redirects in a loop": (redirects(lambda path: path), Untrue),
    "redirects on and on": (redirects(lambda path: path + b"x"), Untrue),
    "redirects elsewhere": (redirects(lambda path: b"http://localhost:1/"), Untrue),
    "redirects to a file": (redirects(lambda path: b"file:///etc/passwd"), Untrue),
    "redirects, and sends without end": (redirects(lambda path: path, body=b"x" * 4096), Untrue),
    "has too much to do": (sends(b"HTTP/1.1 503 Busy\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n"), Refused),
    "says that it is a list": (sends(HEAD.replace(b"text/html", b"application/zip"), b"\r\n", b"PK"), Untrue),
    "sends JSON that is none": (
        sends(HEAD.replace(b"text/html", b"application/vnd.pypi.simple.v1+json"), b"\r\n", b"[" * 90_000),
        Untrue,
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_page_that_is_none_is_told(fault: str) -> None:
    """And whose it was."""
    answer, expected = BAD[fault]
    with answering(answer) as url, pytest.raises((Silent, Untrue)) as caught:
        index.list_wheels(Host(), url, "torch")
    assert caught.type is expected, caught.value
    assert url in str(caught.value)


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("fault", SLOW)
def test_a_slow_server_is_given_up(fault: str) -> None:
    """In time: a page of it, and a wheel."""
    with answering(SLOW[fault]) as url:
        began = time.monotonic()
        with pytest.raises(Silent, match=url):
            index.list_wheels(Host(), url, "torch")
        with pytest.raises((Silent, Untrue), match=url):
            remote.read_wheel(Host(), f"{url}/p-1-py3-none-any.whl", wheel.requirements)
        assert time.monotonic() - began < 15


def test_a_silent_server_is_given_up_by_each_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before all the time is over."""
    monkeypatch.setattr(remote, "TIMEOUT", (1, 0.3))
    began = time.monotonic()
    with answering(SLOW["never answers"]) as url, pytest.raises(Silent, match="timed out"):
        index.list_wheels(Host(), url, "torch")
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("fault", SLOW)
def test_who_is_waited_for_is_said_early(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    """And for how long at most; once for a page, and without what its URL has of secrets."""
    monkeypatch.setattr(streams, "NOTICE", 0.1)
    monkeypatch.setattr(remote, "PAGE_SECONDS", 0.5)
    with answering(SLOW[fault]) as url, pytest.raises(Silent, match=r"no whole answer within 0\.5 seconds"):
        index.list_wheels(Host(), url.replace("//", "//user:secret@"), "torch")
    said = capsys.readouterr().err
    assert said.count("waiting for the page of torch of http://") == said.count("(0.5 seconds at most)") == 1
    assert "secret" not in said


def test_nothing_is_said_of_a_short_wait(capsys: pytest.CaptureFixture[str]) -> None:
    """A page that comes at once."""
    with answering(sends(HEAD, b"\r\n", b"<html></html>")) as url:
        assert index.list_wheels(Host(), url, "torch") == []
    assert capsys.readouterr().err == ""


def test_a_page_has_a_minute() -> None:
    """All tries together."""
    assert remote.PAGE_SECONDS == 60


@pytest.mark.usefixtures("brief")
def test_a_name_that_is_never_looked_up_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket's timeout counts while a name is looked up."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: time.sleep(20))
    with pytest.raises(Silent, match=r"0\.4 seconds"):
        index.list_wheels(Host(), "http://index.example/", "torch")


def test_an_interrupt_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as it is noticed, not when the server answers."""
    stopping = threading.Event()
    monkeypatch.setattr(process, "_stopping", stopping)
    threading.Timer(0.3, stopping.set).start()
    began = time.monotonic()
    with answering(SLOW["never answers"]) as url, pytest.raises(process.InterruptedRun):
        index.list_wheels(Host(), url, "torch")
    assert time.monotonic() - began < 15


def zipped(*members: "tuple[str, bytes]") -> bytes:
    """An archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


WHEEL = zipped(("p-1.dist-info/METADATA", b"Name: p\nVersion: 1\nRequires-Dist: q\n"))


def ranges(content: bytes, said: "Callable[[int, int], str]", forever: bytes = b"") -> Answer:
    """Serves byte ranges, under a Content-Range of its own making."""

    def answer(connection: socket.socket, request: bytes) -> None:
        asked = next(line for line in request.decode().splitlines() if line.lower().startswith("range:"))
        first, _, last = asked.rpartition("=")[2].partition("-")
        begin = int(first) if first else max(0, len(content) - int(last))
        end = min(int(last), len(content) - 1) if first and last else len(content) - 1
        connection.sendall(f"HTTP/1.1 206 Partial\r\nContent-Range: {said(begin, end)}\r\n".encode())
        connection.sendall(b"Connection: close\r\n\r\n" + content[begin : end + 1])
        while forever:
            connection.sendall(forever)

    return answer


def true(begin: int, end: int) -> str:
    """An honest Content-Range."""
    return f"bytes {begin}-{end}/{len(WHEEL)}"


def broken(edit: "Callable[[bytearray], None]") -> bytes:
    """The wheel with some bytes changed."""
    content = bytearray(WHEEL)
    edit(content)
    return bytes(content)


def directory_of_4_gb(content: bytearray) -> None:
    """The end record says that the central directory is that large."""
    end = content.rindex(b"PK\x05\x06")
    content[end + 12 : end + 16] = (0xFFFFFFF0).to_bytes(4, "little")


def member_of_4_gb(content: bytearray) -> None:
    """The directory says that METADATA unpacks to that."""
    entry = content.index(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = (0xFFFFFFF0).to_bytes(4, "little")


def encrypted(content: bytearray) -> None:
    """METADATA is said to be encrypted."""
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        content[content.index(mark) + offset] |= 1


BAD_WHEELS: "dict[str, Answer]" = {
    **{name: answer for name, (answer, _) in BAD.items()},
    "has no ranges": sends(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", WHEEL),
    "sends a longer part": ranges(WHEEL, lambda begin, end: "bytes 0-99999999999/99999999999", forever=b"x" * 4096),
    "sends another part": ranges(WHEEL, lambda begin, end: f"bytes {begin + 7}-{end + 7}/9999"),
    "sends a part of nothing": ranges(WHEEL, lambda begin, end: "bytes */0"),
    "says no range at all": ranges(WHEEL, lambda begin, end: "x"),
    "says a range below zero": ranges(WHEEL, lambda begin, end: "bytes -5--1/3"),
    "is no archive": ranges(b"not an archive" * 99, true),
    "is empty": sends(b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-0/1\r\nConnection: close\r\n\r\n"),
    "has a huge directory": ranges(broken(directory_of_4_gb), true),
    "has a huge member": ranges(broken(member_of_4_gb), true),
    "is encrypted": ranges(broken(encrypted), true),
    "has no METADATA": ranges(zipped(("x", b"")), lambda begin, end: f"bytes {begin}-{end}/1"),
    "has METADATA that is no text": ranges(
        zipped(("p-1.dist-info/METADATA", b"\xff\xfe")), lambda begin, end: f"bytes {begin}-{end}/1"
    ),
}


@pytest.mark.parametrize("fault", BAD_WHEELS)
def test_a_wheel_that_is_none_is_told(fault: str) -> None:
    """Whatever is wrong with it; for a lock and for the catalog alike."""
    with answering(BAD_WHEELS[fault]) as url:
        with pytest.raises((Silent, Untrue), match=f"{url}/p-1-py3-none-any.whl"):
            remote.read_wheel(Host(), f"{url}/p-1-py3-none-any.whl", wheel.requirements)
        with pytest.raises((Silent, Untrue), match="p-1-py3-none-any"):
            index.read_wheel(Host(), Listed("p", "1", Wheel("p-1-py3-none-any.whl"), f"{url}/x.whl"), library=False)


def test_an_honest_wheel_is_read(tmp_path: Path) -> None:
    """From an index, and from this disk."""
    (tmp_path / "p-1-py3-none-any.whl").write_bytes(WHEEL)
    with answering(ranges(WHEEL, true)) as url:
        for location in (f"{url}/p-1-py3-none-any.whl", tmp_path / "p-1-py3-none-any.whl"):
            assert list(remote.read_wheel(Host(), location, wheel.requirements)) == ["q"]
            assert remote.read_wheel(Host(), location, remote.sizes) == (len(WHEEL), 36)


BROKEN = {
    "empty": b"",
    "two bytes": b"PK",
    "begins": WHEEL[:40],
    "ends": WHEEL[40:],
    "encrypted": broken(encrypted),
    "directory of 4 GB": broken(directory_of_4_gb),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_wheel_on_this_disk_is_told(tmp_path: Path, content: bytes) -> None:
    """With its path."""
    path = tmp_path / "p-1-py3-none-any.whl"
    path.write_bytes(content)
    with pytest.raises(Untrue, match="p-1-py3-none-any"):
        remote.read_wheel(Host(), path, wheel.requirements)
