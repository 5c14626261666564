"""A package index on loopback, with small wheels made for it, that can be told to misbehave."""

import hashlib
import http.server
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache


@cache
def make_wheel(
    project: str, version: str, requires: "tuple[str, ...]" = (), *, cuda: "str | None" = None, flags: str = ""
) -> bytes:
    """A wheel as torch has it: METADATA, version.py, a library with GPU architectures, one that needs glibc 2.28."""
    base, _, local = version.partition("+")
    info = f"{project}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {project}", f"Version: {version}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        shown = f"{base}+{local or (f'cu{cuda.replace(chr(46), str())}' if cuda else 'cpu')}"
        archive.writestr(f"{project}/version.py", f"__version__ = '{shown}'\ncuda: object = {cuda!r}\n")
        library = b"\x7fELF\x00GLIBC_2.14\x00GLIBC_2.17\x00" + flags.encode() + b"\x00"
        archive.writestr("torch/lib/libtorch_python.so", library)
        archive.writestr("torch/lib/libgomp-a34b3233.so.1", b"\x7fELF\x00GLIBC_2.28\x00")
        names = [*archive.namelist(), f"{info}/RECORD"]
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in names))
    return buffer.getvalue()


@dataclass
class FakeIndex:
    """Pages under /simple/PROJECT/ and /whl/FLAVOUR/PROJECT/, and their files; `broken` maps a path to a fault.

    `raw` maps a path to the type and the content of an answer, whatever the rest says.
    """

    pages: "dict[str, dict[str, bytes]]" = field(default_factory=dict)
    hashes: "dict[str, str]" = field(default_factory=dict)
    broken: "dict[str, str]" = field(default_factory=dict)
    raw: "dict[str, tuple[str, bytes]]" = field(default_factory=dict)
    fetched: "list[str]" = field(default_factory=list)
    url: str = ""
    released: threading.Event = field(default_factory=threading.Event)
    """What a path waits for whose fault is `stall`."""

    def put(self, page: str, file: str, content: bytes) -> None:
        """List a file on a page."""
        self.pages.setdefault(page, {})[file] = content

    def html(self, page: str) -> bytes:
        """The page as an index sends it (PEP 503), in the form that the PyTorch index has."""
        lines = ["<!DOCTYPE html>", "<html>", "  <body>", f"    <h1>Links for {page.rsplit('/', 1)[-1]}</h1>"]
        for file, content in self.pages[page].items():
            digest = self.hashes.get(file) or hashlib.sha256(content).hexdigest()
            href = f"/files/{page}/{file.replace('+', '%2B')}#sha256={digest}"
            lines.append(f'    <a href="{href}" data-core-metadata="sha256={digest}">{file}</a><br/>')
        return "\n".join([*lines, "  </body>", "</html>", "<!--TIMESTAMP 1-->"]).encode()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else an answer in two parts takes 40 ms
    index: FakeIndex

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.strip("/").replace("%2B", "+")
        self.index.fetched.append(path)
        fault = self.index.broken.get(path)
        content = b'{"message": "welcome"}' if fault == "other" else self._content(path)
        if fault == "stall":
            self.index.released.wait(120)
        if path in self.index.raw:
            kind, content = self.index.raw[path]
            self._send(200, content, Content_Type=kind)
        elif fault in ("stop", "stall"):
            self.close_connection = True
        elif fault == "redirect":
            self._send(302, b"", Location="http://localhost:9/other/")
        elif fault == "error" or (fault and fault.isdigit()):
            self._send(int(fault) if fault.isdigit() else 500, b"")
        elif content is None:
            self._send(404, b"")
        else:
            if fault == "once":
                del self.index.broken[path]
            self._give(content, truncated=fault in ("truncate", "once"))

    def _content(self, path: str) -> "bytes | None":
        if path.startswith("files/"):
            page, _, file = path.removeprefix("files/").rpartition("/")
            return self.index.pages.get(page, {}).get(file)
        return self.index.html(path) if path in self.index.pages else None

    def _give(self, content: bytes, *, truncated: bool) -> None:
        span = self.headers.get("Range")
        if not span:
            return self._send(200, content, truncated)
        first, _, last = span.removeprefix("bytes=").partition("-")
        begin = int(first) if first else max(0, len(content) - int(last))
        end = min(int(last) if first and last else len(content) - 1, len(content) - 1)
        self._send(206, content[begin : end + 1], truncated, Content_Range=f"bytes {begin}-{end}/{len(content)}")

    def _send(self, status: int, content: bytes, truncated: bool = False, **headers: str) -> None:
        self.send_response(status)
        headers = {"Content_Type": "text/html", **headers}
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"always-the-same"')
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if truncated else content)
        self.close_connection = self.close_connection or truncated


@contextmanager
def serving(index: FakeIndex, address: str = "127.0.0.1") -> Iterator[FakeIndex]:
    """The index, answering at its `url`."""
    server = http.server.ThreadingHTTPServer((address, 0), type("Handler", (_Handler,), {"index": index}))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    index.url = f"http://{address}:{server.server_port}"
    yield index
    server.shutdown()
