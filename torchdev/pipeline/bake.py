"""Builds images with buildx bake, from substitute bases if need be, and with this machine's settings."""

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torchdev.engine.diagnosis import explain
from torchdev.engine.outputs import load_output
from torchdev.image.context import context_of
from torchdev.image.paths import Paths
from torchdev.image.plan import SHARED, Plan, base_labels
from torchdev.image.render import bake_text
from torchdev.pipeline.estimate import chain
from torchdev.pipeline.inventory import (
    BOOTSTRAPPED,
    INPUTS_LABEL,
    LAYERS_LABEL,
    VERSION_LABEL,
    Inputs,
    context_files,
)
from torchdev.pipeline.progress import Line
from torchdev.pipeline.run_lock import locked
from torchdev.pipeline.session import BuildSession
from torchdev.util import process, streams
from torchdev.util.errors import BuildError
from torchdev.util.version import version
from torchdev.wheels.host import Host, find_wheels, link_or_copy

LOST_STEP = "no active sessions"
"""BuildKit's message about a step that two builds share, when the client that started it was killed."""
LOST_WHEELS = "the builder's cache has lost"
"""The message of install-wheels when wheels are gone that a cached stage had fetched."""
ATTEMPTS = 4
RETRY_AFTER = 2.0
"""Seconds."""


def build(session: BuildSession, inputs: Inputs, plan: Plan, stage: str = "") -> Path:
    """Build one cell under its candidate name, or only a stage of it; returns the path of BuildKit's log."""
    name, builder, paths = f"{plan.cell.id}-{stage}" if stage else plan.cell.id, session.builder, session.paths
    log = paths.work / "logs" / f"{name}.log"
    output = load_output(builder.driver, containerd=builder.containerd)
    wanted = {"target": stage, **builder.stage(plan.shared if stage == SHARED else "")} if stage else {"output": output}
    # Log and working folder belong to this matrix, and a run on another engine may build the same cell.
    with (
        locked(paths.runs, f"build-{name}", lambda: session.say(f"{name}: another run builds it; waiting")),
        _folder(paths.work / "build" / name) as folder,
    ):
        file = folder / "docker-bake.json"
        file.write_text(json.dumps(bake_file(session, inputs, (plan,), folder), indent=2))
        settings = (f"--set={plan.target}.{key}={value}" for key, value in wanted.items())
        command = ["bake", *builder.options, "--file", str(file), "--provenance=false", plan.target, *settings]
        _bake(session, plan, command, log, folder)
    return log


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """A new folder that only this user can read; it is removed afterwards. A killed run's leftover is removed first."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True, mode=0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _fetch_again(plan: Plan, folder: Path) -> Path:
    """A second bake file that has wheels fetched again, even if BuildKit has the stages that fetch in its cache."""
    stages = [f"fetch-{layer.name}" for layer in plan.layers if layer.packages]
    file = folder / "fetch-again.json"
    file.write_text(json.dumps({"target": {plan.target: {"no-cache-filter": stages}}}))
    return file


def _bake(session: BuildSession, plan: Plan, arguments: "list[str]", log: Path, folder: Path) -> None:
    """Run bake, and retry when BuildKit lost a step that another, killed client had started, or when the cache lost
    wheels.

    Garbage collection may take wheels between two steps whenever the cache is over its limit. The second bake file of
    such a retry goes into `folder`.
    """

    def on_line(line: str) -> None:
        if session.options.verbose:
            streams.say(line.rstrip("\n"))
        session.report(Line(plan.cell.id, line))

    for attempt in range(ATTEMPTS):
        try:
            return session.engine.buildx(arguments, log, on_line, session.host.private())
        except BuildError:
            text = log.read_text(encoding="utf-8")
            if attempt == ATTEMPTS - 1 or not (LOST_WHEELS in text or LOST_STEP in text):
                raise explain(plan.cell.id, text, log) from None
            if LOST_WHEELS in text and (again := f"--file={_fetch_again(plan, folder)}") not in arguments:
                arguments = [*arguments, again]
            process.pause(RETRY_AFTER)


def bake_file(session: BuildSession, inputs: Inputs, plans: "Iterable[Plan]", folder: Path) -> dict[str, Any]:
    """The bake file for this machine: the committed targets, with substitute bases, local wheels, names of secrets.

    Contexts with local wheels go into `folder`. The secrets themselves are in `Host.private`, variables for buildx.
    """
    plans = tuple(plans)
    committed: dict[str, Any] = json.loads(bake_text(plans, session.paths.images.name))
    for plan in plans:
        target = {"context": str(_context(session.host, plan, session.paths, folder))}
        committed["target"][plan.target] |= target | override(session, inputs, plan)
        committed["target"][plan.target] |= session.builder.target(plan.cell.id, plan.shared)
    return committed


def override(session: BuildSession, inputs: Inputs, plan: Plan) -> dict[str, Any]:
    """The settings that this machine adds to a cell's target in the committed bake file, except the context."""
    substitutes = session.substitutes(plan)
    labels = {
        INPUTS_LABEL: inputs.of(plan, substitutes),
        LAYERS_LABEL: " ".join(chain(plan)),
        VERSION_LABEL: version(),
    }
    target: dict[str, Any] = {"labels": labels}
    if substitutes:
        target["contexts"] = {ref: substitute.context for ref, substitute in substitutes.items()}
        own = [(substitutes[base.ref].name, substitutes[base.ref].id) for base in (plan.debian, plan.python)]
        target["labels"] |= base_labels(BOOTSTRAPPED, own[0], own[1]) | dict(substitutes[plan.python.ref].source)
    target["secret"] = session.host.secret_options()
    return {key: value for key, value in target.items() if value}


def _context(host: Host, plan: Plan, paths: Paths, folder: Path) -> Path:
    """The build context; or, if local folders hold some of the cell's wheels, a copy that includes them."""
    wanted = [(layer.name, package) for layer in plan.layers for package in layer.packages]
    wanted += [("pip", plan.pip), *(("tools", tool) for tool in plan.tools)]
    found = find_wheels(host, [(package.name, package.file, package.sha256) for _, package in wanted])
    if not found:
        return paths.images
    copy = folder / "contexts" / plan.cell.id
    for name, path in context_files(plan, paths):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy / name)
    wheels = context_of(plan).wheels
    for layer, package in wanted:
        if package.file in found:
            link_or_copy(found[package.file], copy / wheels[layer] / package.file)
    return copy
