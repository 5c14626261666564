"""A BuildKit at a socket of its own, as remote builders are: the engine's, reached through its API."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REQUEST = b"POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
"""What buildx's docker driver sends to reach the engine's BuildKit."""


@contextmanager
def bridge(engine: str, path: Path) -> Iterator[str]:
    """The address of a socket at `path` that leads to the BuildKit of the engine at a socket's path."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        threading.Thread(target=_serve, args=(server, engine), daemon=True).start()
        yield f"unix://{path}"


def _serve(server: socket.socket, engine: str) -> None:
    with contextlib.suppress(OSError):  # the socket was closed: the test is over
        while True:
            client = server.accept()[0]
            threading.Thread(target=_connect, args=(client, engine), daemon=True).start()


def _connect(client: socket.socket, engine: str) -> None:
    other = socket.socket(socket.AF_UNIX)
    other.connect(engine)
    other.sendall(REQUEST)
    head = b""
    while b"\r\n\r\n" not in head:
        head += other.recv(1)
    threading.Thread(target=_pump, args=(client, other), daemon=True).start()
    _pump(other, client)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
