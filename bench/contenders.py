"""Those that are compared: how each builds some cells on an engine, and what it names its images."""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench import expert, floor, naive
from bench.bases import Bases
from bench.cells import IMAGE, Subject
from bench.engine import Engine, Workspace
from bench.measure import Measured
from torchdev.util.errors import BuildError
from torchdev.wheels.host import Host


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is the same for all: where, on which bases, with which wheels."""

    workspace: Workspace
    bases: Bases
    host: Host
    root: Path
    matrix: Path


def order(contenders: "Iterable[str]", repetition: int) -> "list[str]":
    """The contenders in turn; every second repetition the other way round, so that none always comes first."""
    found = list(contenders)
    return found[::-1] if repetition % 2 else found


def image(contender: str, subject: Subject) -> str:
    """The name of a cell's image."""
    return f"{IMAGE}:{subject.id}" if contender == "torchdev" else naive.image(contender, subject)


def build(
    setting: Setting, engine: Engine, contender: str, subjects: "tuple[Subject, ...]", *, package: str = ""
) -> Measured:
    """Have a contender build some cells, as it does it; what that cost, all together."""
    if contender == "torchdev":
        return build_py(setting, engine, setting.matrix, subjects)
    if contender == "floor":
        return _floor(setting, engine, subjects)
    if contender == "expert":
        file = expert.write(setting.workspace.fresh("expert"), subjects, setting.bases.froms, setting.host)
        return engine.run(expert.command(file, setting.host))
    return together(_naive(setting, engine, contender, subject, package) for subject in subjects)


def together(parts: "Iterable[Measured]") -> Measured:
    """Several commands, one after another, as one."""
    parts = list(parts)
    return Measured(
        seconds=sum(part.seconds for part in parts),
        memory=max(part.memory for part in parts),
        fetched=sum(part.fetched for part in parts),
        others=sum(part.others for part in parts),
        output=parts[-1].output,
    )


def build_py(
    setting: Setting,
    engine: Engine,
    matrix: Path,
    subjects: "tuple[Subject, ...]",
    *,
    state: str = "built",
    program: "tuple[str, ...]" = (),
) -> Measured:
    """Run `build.py` for some cells; BuildError if it says of one that something else became of it than `state`."""
    program = program or (str(setting.root / "build.py"),)
    cells = [subject.id for subject in subjects]
    command = [sys.executable, *program, *cells, "--matrix-file", str(matrix), "--no-test", "--json"]
    done = engine.run(command)
    states = {cell["cell"]: cell["state"] for cell in json.loads(done.output)["cells"]}
    if states != dict.fromkeys(cells, state):
        raise BuildError(f"every cell should have been {state}: {states}", next_step="python build.py doctor")
    return done


def _naive(setting: Setting, engine: Engine, contender: str, subject: Subject, package: str) -> Measured:
    folder = setting.workspace.fresh("context")
    text = naive.dockerfile(contender, subject, setting.bases.froms[subject.python], setting.host, package=package)
    naive.write(folder, text, subject, setting.host)
    return engine.run(naive.command(contender, subject, folder, setting.host))


def _floor(setting: Setting, engine: Engine, subjects: "tuple[Subject, ...]") -> Measured:
    folder = engine.cache / "floor"
    folder.mkdir()
    (folder / "uv.toml").write_text(setting.host.uv_toml())
    options = [f"--config-file={folder / 'uv.toml'}"]
    if setting.host.folders:
        for subject in subjects:
            naive.link_wheels(folder / "wheels", subject, setting.host)
        options.append(f"--find-links={folder / 'wheels'}")
    file = folder / "floor.json"
    file.write_text(json.dumps(floor.wanted(folder, subjects, options)))
    return engine.run([sys.executable, "-m", "bench.floor", str(file)], cwd=setting.root)
