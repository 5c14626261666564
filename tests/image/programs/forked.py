"""Runs Python programs as forks of one process that has imported torch, which takes seconds each time.

    python -B forked.py --serve                  import, and wait in the background for programs
    python -IS forked.py -m workloads.cnn ...    run one: as python -m, python -c or python FILE would

A program has the folder, variables, arguments and standard streams of whoever asks for it; they get its exit status.
The process that forks only imports: it has no thread, no tensor, and has asked nothing of CUDA, which no fork could use
then. Runs on every Python from 3.6.
"""

import array
import json
import os
import runpy
import socket
import sys
import tempfile
import types

SOCKET = os.environ.get("FORKED_SOCKET", "/tmp/forked.sock")
CANNOT_FORK = 3
"""Exit status that says that every program needs a Python of its own."""
STREAMS = 3
LENGTH = 8
"""Digits of the length of a request, with which it begins."""


def ask(arguments: "list[str]") -> int:
    """Have a program run, and wait for its end; its exit status."""
    request = {"arguments": arguments, "folder": os.getcwd(), "variables": dict(os.environ)}
    text = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(SOCKET)
        streams = array.array("i", range(STREAMS)).tobytes()
        connection.sendmsg([b"%0*d" % (LENGTH, len(text))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
        connection.sendall(text)
        return int(connection.recv(LENGTH).decode() or "1")


def receive(connection: socket.socket) -> "tuple[dict[str, object], list[int]]":
    """A request and the standard streams of whoever asks."""
    streams = array.array("i")
    head, extra, _, _ = connection.recvmsg(LENGTH, socket.CMSG_LEN(STREAMS * streams.itemsize))
    for _, _, data in extra:
        streams.frombytes(data)
    text = b""
    while len(text) < int(head.decode()):
        text += connection.recv(1 << 16)
    return json.loads(text.decode()), list(streams)


def serve() -> "dict[str, object]":
    """Import, go on in the background, and fork for each request: returns, with the request, in each fork alone."""
    # NumPy's OpenBLAS starts a thread for each core as soon as it is loaded.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    import torch

    if len(os.listdir("/proc/self/task")) > 1 or torch.cuda.is_initialized():
        sys.stderr.write("importing torch has started a thread or asked CUDA: its forks could not use a GPU\n")
        sys.exit(CANNOT_FORK)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(SOCKET)
    listener.listen(8)
    if os.fork():
        os._exit(0)
    os.setsid()
    replace(os.open(os.devnull, os.O_RDWR), range(STREAMS))
    while True:
        connection, _ = listener.accept()
        request, streams = receive(connection)
        child = os.fork()
        if not child:
            connection.close()
            listener.close()
            for number, stream in enumerate(streams):
                replace(stream, [number])
            return request
        for stream in streams:
            os.close(stream)
        _, status = os.waitpid(child, 0)
        code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        connection.sendall(str(code).encode())
        connection.close()


def replace(stream: int, numbers: "list[int]") -> None:
    """Have a stream in place of others."""
    for number in numbers:
        os.dup2(stream, number)
    os.close(stream)


def become(request: "dict[str, object]") -> None:
    """Run a program, in a fork, as Python itself would; how it ends is left to Python."""
    kind, *arguments = request["arguments"]
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["variables"])
    tempfile.tempdir = None
    if kind == "-m":
        sys.path[0], sys.argv = request["folder"], arguments
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.path[0], sys.argv = "", ["-c", *arguments[1:]]
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(arguments[0], "<string>", "exec"), main.__dict__)
    else:
        sys.path[0], sys.argv = os.path.dirname(os.path.abspath(kind)), [kind, *arguments]
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        become(serve())
    else:
        sys.exit(ask(sys.argv[1:]))
