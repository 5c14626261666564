"""An engine that refuses, or goes away while it is asked, is told as that: whatever it is asked for."""

import inspect
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from torchdev.engine.client import Engine
from torchdev.engine.connection import failed, told
from torchdev.util.errors import EngineError, Exit, GpuError

VERSION = {"Version": "28.0", "ApiVersion": "1.45", "MinAPIVersion": "1.24"}
ASKED: "dict[str, tuple[Any, ...]]" = {
    "info": (),
    "platform": (),
    "disk": (),
    "image": ("torchdev:x",),
    "names": (),
    "tag": ("sha256:00", "torchdev:x"),
    "untag": ("torchdev:x",),
    "give_back": ("torchdev:x", "sha256:00", ""),
    "layer_sizes": ("torchdev:x",),
    "containers": ("label",),
    "remove_containers": ("label",),
    "config": ("torchdev:x",),
    "environment": ("torchdev:x",),
    "history": ("torchdev:x",),
    "layer_folders": ("torchdev:x",),
    "run": ("torchdev:x", ["true"]),
    "created_with": ("torchdev:x",),
    "load_root": (Path(__file__), "torchdev:x", {}),
}
"""Methods of an engine, and what they are called with."""


STRANGE = (
    "null",
    "[]",
    "{}",
    "[null]",
    "[{}]",
    '"x"',
    "7",
    "[" * 100_000,
    "\u20ac",
    '{"Id": 3, "RootFS": [], "Size": {}}',
    '[{"Id": 3, "RepoTags": [5], "Labels": []}]',
)
"""Answers that Docker never gives, as a proxy or another program behind the socket may."""


@contextmanager
def engine(monkeypatch: pytest.MonkeyPatch, fault: str) -> Iterator[Engine]:
    """An engine on loopback that says its version, and then refuses everything else, or closes the connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else an answer in two parts takes 40 ms

        def log_message(self, *_: object) -> None:
            pass

        def answer(self) -> None:
            path = "/" + self.path.partition("?")[0].lstrip("/").removeprefix("v1.45/")
            known = {"/_ping": "OK", "/version": json.dumps(VERSION)}.get(path)
            if known is None and fault == "gone":
                self.close_connection = True
                return
            refused = json.dumps({"message": "disk is on fire\x1b[31m"})
            content = (known or (fault if fault in STRANGE else refused)).encode()
            self.send_response(200 if known or fault in STRANGE else int(fault))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = answer

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_port}")
    try:
        yield Engine()
    finally:
        server.shutdown()


@pytest.mark.parametrize("fault", ["500", "409", "gone"])
@pytest.mark.parametrize("name", ASKED)
def test_no_method_leaves_it_to_others_to_know_the_library(
    name: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the library that talks to it would be told as a fault of torchdev."""
    with engine(monkeypatch, fault) as made, pytest.raises(EngineError) as caught:
        getattr(made, name)(*ASKED[name])
    assert caught.value.code is Exit.ENGINE
    assert "\x1b" not in str(caught.value)
    assert caught.value.next_step


@pytest.mark.parametrize("answer", STRANGE)
def test_an_answer_of_another_shape_is_told(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever answers at that socket is not torchdev's; an answer that can be read as one is taken."""
    told: list[EngineError] = []
    with engine(monkeypatch, answer) as made:
        for name, arguments in ASKED.items():
            try:
                getattr(made, name)(*arguments)
            except EngineError as error:
                told.append(error)
        with pytest.raises(EngineError), made.container("torchdev:x"):
            pass
    assert told
    assert all(error.next_step and len(str(error)) < 1500 for error in told)


def test_every_method_is_told() -> None:
    """Also those to come: it is the class that is wrapped."""
    methods = {name for name, method in vars(Engine).items() if inspect.isfunction(method) and name[:2] != "__"}
    assert methods >= ASKED.keys()
    assert all(hasattr(vars(Engine)[name], "__wrapped__") for name in methods)


def test_other_errors_stay_what_they_are() -> None:
    """A fault of torchdev's own is none of the engine's."""

    @told
    class Own:
        def method(self) -> None:
            raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        Own().method()
    assert "any more: its socket does not exist" in str(failed(OSError("No such file")))


@pytest.mark.parametrize("gpus", [False, True])
def test_an_image_that_is_not_there_is_told_as_that(gpus: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is neither an engine that refuses nor a missing GPU; the next command builds it."""
    with engine(monkeypatch, "404") as made:
        monkeypatch.setattr(made, "info", dict)
        monkeypatch.setattr("torchdev.engine.connection.said", lambda error: "No such image: torchdev:x")
        with pytest.raises(EngineError, match="has no image") as caught, made.container("torchdev:x", gpus=gpus):
            pass
    assert not isinstance(caught.value, GpuError)
