"""A registry in this process, on the loopback: takes pushes as the OCI distribution specification has it, or not."""

import hashlib
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>blobs|manifests)/(?P<rest>.+)")


class FakeRegistry:
    """Blobs and manifests by digest, tags by repository and name; `refuse` gives a status for a request, or 0."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.tags: dict[str, str] = {}
        self.uploads: dict[str, bytes] = {}
        self.refuse: Callable[[str, str], int] = lambda method, path: 0
        self.tagged: Callable[[str], None] = lambda name: None
        self.host = ""
        self.asked = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: FakeRegistry

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send an answer; of HEAD, without its body."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        """The request's body, however it is sent."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def do_any(self) -> None:
        """Every request."""
        content = self.body()
        self.registry.asked += 1
        url = urlsplit(self.path)
        status = self.registry.refuse(self.command, url.path)
        if status:
            return self.answer(status, json.dumps({"errors": [{"code": "DENIED", "message": "not today"}]}).encode())
        match = PATH.fullmatch(url.path)
        if not match:
            return self.answer(200, b"{}")
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if match["kind"] == "manifests":
            return self.manifest(match["name"], match["rest"], content)
        return self.blob(match["name"], match["rest"], query, content)

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_any

    def manifest(self, name: str, reference: str, content: bytes) -> None:
        """Put one, or give it."""
        registry = self.registry
        if self.command == "PUT":
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            registry.manifests[digest] = (self.headers["Content-Type"], content)
            if not reference.startswith("sha256:"):
                registry.tags[f"{name}:{reference}"] = digest
                registry.tagged(f"{name}:{reference}")
            return self.answer(201, Docker_Content_Digest=digest)
        digest = reference if reference.startswith("sha256:") else registry.tags.get(f"{name}:{reference}", "")
        if digest not in registry.manifests:
            return self.answer(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "none"}]}')
        kind, content = registry.manifests[digest]
        return self.answer(200, content, Content_Type=kind, Docker_Content_Digest=digest)

    def blob(self, name: str, rest: str, query: "dict[str, str]", content: bytes) -> None:
        """Look for one, or upload it in one request or several."""
        registry = self.registry
        if self.command in ("GET", "HEAD"):
            known = registry.blobs.get(rest)
            return self.answer(404) if known is None else self.answer(200, known, Docker_Content_Digest=rest)
        upload = rest.removeprefix("uploads/") or uuid.uuid4().hex
        registry.uploads[upload] = registry.uploads.get(upload, b"") + content
        if "digest" in query:
            registry.blobs[query["digest"]] = registry.uploads.pop(upload)
            return self.answer(201, Location=f"/v2/{name}/blobs/{query['digest']}")
        size = len(registry.uploads[upload])
        where = f"http://{registry.host}/v2/{name}/blobs/uploads/{upload}"
        return self.answer(202, Location=where, Range=f"0-{max(0, size - 1)}", Docker_Upload_UUID=upload)


@contextmanager
def serving() -> Iterator[FakeRegistry]:
    """A registry on a free port of the loopback, which engines ask without TLS."""
    registry = FakeRegistry()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"registry": registry}))
    registry.host = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
