"""A run over 50 cells of which nothing has changed.

Building 50 images would take hours and hundreds of gigabytes, and is not what this measures: how long torchdev takes
to see that nothing is to be done. So the matrix, its locks and its generated files are real, and the engine has an
image for each cell under its tag, with the labels that torchdev's own bake file gives to it, but with next to nothing
inside.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.version import Version

from bench import cells
from bench.change import AGAIN
from bench.contenders import Setting
from bench.engine import Engine
from bench.results import Results
from torchdev.util.errors import BuildError

CELLS = 50
LIMIT = 60.0
"""Seconds after which it is stopped: then it builds what it should have skipped."""
LAYERS = 9
"""Of each substitute, as many as a real image has above its base."""
DEVEL_FROM = "cu130"
"""The first CUDA whose compiler is on PyPI."""


def fifty(results: Results, setting: Setting, engine: Engine) -> None:
    """Lock and render 50 cells, make their substitutes, and run build.py."""
    build_py = [sys.executable, str(setting.root / "build.py")]
    catalog = json.loads((setting.root / "torchdev" / "data" / "catalog.json").read_text())
    chosen = rows(catalog["builds"], setting.bases.froms)
    if len(chosen) < CELLS:
        what = f"only {len(chosen)} cells can be made of Python {', '.join(setting.bases.froms)}"
        raise BuildError(what, next_step="name cells with more Pythons: --cell")
    folder = setting.workspace.fresh("fifty")
    matrix = cells.write_matrix({**cells.read_matrix(setting.matrix), "companions": [], "rows": chosen}, folder, {})
    at = ["--matrix-file", str(matrix)]
    engine.run([*build_py, "lock", *at])
    engine.run([*build_py, "render", *at])
    baked = json.loads(engine.run([*build_py, "bake", "--group", "all", *at]).output)
    _substitutes(engine, folder, baked["target"])
    logs = folder / ".torchdev" / "logs"
    before = sorted(path.name for path in logs.iterdir())
    for _ in range(AGAIN):
        done = engine.run([*build_py, "--group", "all", "--no-test", "--json", *at], limit=LIMIT)
        states = [cell["state"] for cell in json.loads(done.output)["cells"]]
        if states != ["skipped"] * CELLS:
            raise BuildError(f"{CELLS} cells should have been skipped: {states}", next_step="see docs/bench.md")
        results.add("nothing", "seconds", "torchdev", CELLS, done.seconds)
    started = sorted(path.name for path in logs.iterdir())
    if started != before:
        raise BuildError(f"builds were started: {set(started) - set(before)}", next_step="see docs/bench.md")


def rows(builds: "Iterable[Mapping[str, Any]]", pythons: "Iterable[str]", count: int = CELLS) -> "list[dict[str, Any]]":
    """Rows for `count` cells, newest PyTorch first, plain before devel: of the catalog's builds those that PyPI has.

    These are for CUDA, and can be locked in full anywhere. Fewer are returned where there are not so many.
    """
    tags = {f"cp{python.replace('.', '')}": python for python in sorted(pythons)}
    wanted = [b for b in builds if (b["project"], b["origin"], b["arch"]) == ("torch", "pypi", "amd64")]
    newest = sorted((b for b in wanted if b["flavour"] != "cpu"), key=lambda b: Version(b["version"]), reverse=True)
    found = [
        {"python": python, "cuda": build["flavour"], "torch": build["version"], "variant": variant}
        for variant in ("plain", "devel")
        for build in newest
        for tag, python in tags.items()
        if any(f"-{tag}-{tag}-" in wheel[0] for wheel in build["wheels"])
        and (variant == "plain" or build["flavour"] >= DEVEL_FROM)
    ]
    devel = [row for row in found if row["variant"] == "devel"]
    return [*[row for row in found if row["variant"] == "plain"][: max(0, count - len(devel))], *devel][:count]


def _substitutes(engine: Engine, folder: Path, targets: "dict[str, Any]") -> None:
    """An image for every target of torchdev's bake file: its tag and labels, on layers with a byte in each."""
    context = folder / "substitutes"
    context.mkdir()
    for number in range(LAYERS):
        (context / str(number)).write_text(str(number))
    text = "FROM scratch\n" + "".join(f"COPY {number} /{number}\n" for number in range(LAYERS))
    (context / "Dockerfile").write_text(text)
    small = {
        name: {
            "context": str(context),
            "tags": [tag.replace("-candidate:", ":") for tag in target["tags"]],  # as after the checks
            "labels": target["labels"],
            "output": ["type=docker"],
        }
        for name, target in targets.items()
    }
    file = folder / "substitutes.json"
    file.write_text(json.dumps({"target": small}))
    engine.docker("buildx", "bake", "--file", str(file), "--provenance=false", *small)
