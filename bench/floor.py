"""The floor: fetch the wheels that cells need once, unpack each once, hash all bytes once. Less no tool can do.

Run as `python -m bench.floor FILE`; FILE says what, as JSON: {"folder": …, "options": [uv's], "cells": [{"python": …,
"pins": […]}]}.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from uv import find_uv_bin

from bench.cells import Subject, unique


def wanted(folder: Path, subjects: "tuple[Subject, ...]", options: "list[str]") -> dict[str, Any]:
    """What FILE says for some cells: each wheel with the first cell that has it."""
    cells = [
        {"python": subject.python, "pins": [f"{wheel.name}=={wheel.version}" for wheel in wheels]}
        for subject, wheels in unique(subjects)
        if wheels
    ]
    return {"folder": str(folder), "options": options, "cells": cells}


def fetch(folder: Path, options: "list[str]", cells: "list[dict[str, Any]]") -> None:
    """Fetch and unpack by uv, which does both at once and many wheels side by side, into a cache that is empty."""
    for number, cell in enumerate(cells):
        pins = folder / f"{number}.txt"
        pins.write_text("\n".join(cell["pins"]))
        command = [
            *(find_uv_bin(), "pip", "install", "--quiet", "--no-deps", "--no-build", "--link-mode=hardlink"),
            *("--python", sys.executable, f"--python-version={cell['python']}", f"--target={folder / str(number)}"),
            *("--cache-dir", str(folder / "cache"), *options, "--requirements", str(pins)),
        ]
        subprocess.run(command, check=True)


def hash_all(folders: "Iterable[Path]") -> int:
    """Read every file and compute its sha256, on all cores; the bytes."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return sum(pool.map(_hash, files))


def _hash(path: Path) -> int:
    with path.open("rb") as stream:
        hashlib.file_digest(stream, "sha256")
        return stream.tell()


def main(file: Path) -> None:
    """Do it; what it took, as JSON."""
    spec = json.loads(file.read_text())
    folder = Path(spec["folder"])
    began = time.perf_counter()
    fetch(folder, spec["options"], spec["cells"])
    fetched = time.perf_counter()
    size = hash_all(folder / str(number) for number in range(len(spec["cells"])))
    ended = time.perf_counter()
    print(json.dumps({"bytes": size, "fetch_and_unpack": fetched - began, "hash": ended - fetched}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
