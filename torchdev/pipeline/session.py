"""Where and how cells are built: an engine, this machine's settings, the bases that are there, what the user wants."""

import dataclasses
import os
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torchdev.bases import bootstrap
from torchdev.catalog import bases
from torchdev.engine import buildx, outputs
from torchdev.engine.buildlog import steps_of
from torchdev.engine.client import Engine
from torchdev.image.paths import Paths
from torchdev.image.plan import Plan
from torchdev.pipeline import bake as builder
from torchdev.pipeline.progress import Event, Line
from torchdev.pipeline.run_lock import Disk, alone, cache_folder
from torchdev.util import streams
from torchdev.util.errors import EngineError, TorchdevError
from torchdev.util.texts import shown
from torchdev.wheels import pytorch
from torchdev.wheels.host import Host, read_host

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How to build: which checks, GPU or not, how many cells at once, BuildKit's log on screen.

    `builder` is buildx's name of one; `cache_from`, `cache_to` and `push_to` are repositories; with `prune`, images are
    removed again; `room` are bytes that may be written at most.
    """

    test: bool = True
    gpu: str = "auto"
    allow_bootstrap: bool = True
    verbose: bool = False
    rebuild: bool = False
    jobs: int = 1
    builder: str = ""
    cache_from: tuple[str, ...] = ()
    cache_to: str = ""
    push_to: str = ""
    prune: bool = False
    room: "int | None" = None


@dataclass(frozen=True)
class Site:
    """Where and how cells are built. `made` are the bases that were bootstrapped, `missing` those that could not be.

    `meeting` is the folder of turns; `platforms` are the engine's, its own first; `present` names the layers that are
    there, and grows, as does `cached`: sha256 of wheels that earlier waves have left in the engine's cache. `report` is
    told of all that happens. `asked` is what the PyTorch index has answered.
    """

    engine: Engine
    host: Host
    paths: Paths
    made: tuple[bases.Base, ...]
    options: Options
    say: Say
    disk: Disk
    meeting: Path
    missing: "Mapping[bases.Base, TorchdevError]" = dataclasses.field(default_factory=dict)
    platforms: tuple[str, ...] = ("linux/amd64",)
    way: outputs.Way = builder.OWN_WAY
    report: "Callable[[Event], None]" = lambda event: None
    present: "set[str]" = dataclasses.field(default_factory=set, compare=False)
    cached: "set[str]" = dataclasses.field(default_factory=set, compare=False)
    asked: pytorch.Asked = dataclasses.field(default_factory=pytorch.Asked, compare=False)

    @cached_property
    def _stand_ins(self) -> "dict[bases.Base, builder.StandIn]":
        layouts = None if self.way.driver == outputs.OWN else self.paths.work / "oci"
        with alone(self.paths.runs, "oci", lambda: self.say("another run writes OCI layouts; waiting")):
            return builder.stand_ins(self.engine, self.made, layouts)

    def stands(self, plan: Plan) -> builder.Stands:
        """What stands in for a plan's official bases; those made here are for the engine's own platform alone."""
        own = plan.lock.platform == self.platforms[0]
        return {base.ref: self._stand_ins[base] for base in plan.bases if own and base in self._stand_ins}

    def refusal(self, plan: Plan) -> "TorchdevError | None":
        """Why a plan can't be built here; None if nothing is known that speaks against it."""
        missing = next((self.missing[base] for base in plan.bases if base in self.missing), None)
        return (
            platform_refusal(plan.cell.id, plan.lock.platform, self.platforms, bootstrapped=bool(self.made)) or missing
        )

    def inputs(self, plan: Plan) -> str:
        """The digest of all that a plan's image would be made from now."""
        return builder.inputs(plan, self.paths, self.stands(plan))

    def look_again(self, plans: "tuple[Plan, ...]") -> None:
        """Note the layers that are there now."""
        origin = builder.BOOTSTRAPPED if self.made else builder.OFFICIAL
        self.present.clear()
        self.present.update(builder.present(self.engine.names(), plans, lambda plan: {self.inputs(plan)}, origin))

    def steps(self, plan: Plan) -> "dict[str, str]":
        """What BuildKit's log calls the steps that make a cell's layers, to the layers."""
        return steps_of(self.paths.dockerfile(plan.cell.id).read_text(encoding="utf-8"))

    def build(self, plan: Plan, stage: str = "") -> None:
        """Build a cell's candidate, or a stage of it."""

        def on_line(line: str) -> None:
            if self.options.verbose:
                streams.say(line.rstrip("\n"))
            self.report(Line(plan.cell.id, line))

        stands, name = self.stands(plan), f"{plan.cell.id}-{stage}" if stage else plan.cell.id
        # The cell's log and working folder are this matrix's, and a run on another engine may be at the same cell.
        with alone(self.paths.runs, f"build-{name}", lambda: self.say(f"{name}: another run builds it; waiting")):
            builder.build(self.engine, self.host, plan, self.paths, stands, on_line, stage, self.way)


def platform_refusal(
    cell: str, platform: str, engine: "tuple[str, ...]", *, bootstrapped: bool
) -> "EngineError | None":
    """Why an engine with these platforms, its own first, can't build a cell for a platform; None if it can."""
    if platform not in engine:
        arch = platform.partition("/")[2]
        step = (
            f"build on a machine with {arch}, or have the engine emulate it, which takes many times as long: "
            f"docker run --privileged --rm tonistiigi/binfmt --install {arch}"
        )
        return EngineError(f"the engine builds for {', '.join(engine)}, not for {platform}", where=cell, next_step=step)
    if bootstrapped and platform != engine[0]:
        what = f"no registry answers, and bases can be made here only for the engine's own platform, {engine[0]}"
        return EngineError(what, where=cell, next_step=f"build where a registry has the bases for {platform}")
    return None


def open_site(
    paths: Paths,
    plans: "tuple[Plan, ...]",
    options: Options,
    say: Say,
    *,
    make: bool = True,
    report: "Callable[[Event], None]" = lambda event: None,
) -> Site:
    """The engine, with every base there that the plans need and that can be made, unless none is to be made."""
    with ThreadPoolExecutor(1) as pool:  # pip takes a while to say how it is configured
        reading = pool.submit(read_host)
        engine = Engine()
        meeting = meeting_of(engine)
        with tempfile.TemporaryDirectory() as folder:
            way, platforms = way_of(engine, options, Path(folder))
        native = [plan for plan in plans if plan.lock.platform == platforms[0]]
        wanted = [base for plan in native or plans for base in plan.bases]
        made = bootstrap.choose(engine, wanted, forbid=not options.allow_bootstrap)
        host = reading.result()
    for note in host.notes:
        say(f"note: {note}")
    missing = make_bases(engine, host, made, paths, meeting, say) if made and make and native else {}
    disk = Disk(engine.disk(), options.room)
    site = Site(engine, host, paths, tuple(made), options, say, disk, meeting, missing, platforms, way, report)
    site.look_again(plans)
    return site


def way_of(engine: Engine, options: Options, logs: Path) -> "tuple[outputs.Way, tuple[str, ...]]":
    """The builder that was asked for, and its platforms, the engine's own first; EngineError if it can't do it."""
    found = buildx.inspect(options.builder, logs / "platforms.log")
    variable = os.environ.get("BUILDX_BUILDER", "")
    if not found and (named := options.builder or variable):
        where, what = "--builder" if options.builder else "BUILDX_BUILDER", f"buildx has no builder {shown(named)}"
        raise EngineError(what, where=where, next_step="docker buildx ls; docker buildx create --name NAME ...")
    driver, platforms = (found.driver, found.platforms) if found else (outputs.OWN, ())
    store = outputs.containerd_store(engine.info())
    way = outputs.Way(options.builder, driver, store, options.cache_from, options.cache_to)
    if refusal := outputs.refusal(way):
        raise EngineError(refusal, where="--cache-to", next_step="name another builder with --builder: docs/scale.md")
    own = engine.platform()
    if driver != outputs.OWN and platforms and own not in platforms:
        return way, platforms
    return way, tuple(dict.fromkeys((own, *platforms)))


def meeting_of(engine: Engine) -> Path:
    """The folder where runs against an engine take turns."""
    return cache_folder(str(engine.info().get("ID", "engine")))


def make_bases(
    engine: Engine,
    host: Host,
    wanted: "list[bases.Base]",
    paths: Paths,
    meeting: Path,
    say: Say,
    prefixes: bootstrap.Prefixes = bootstrap.NO_PREFIXES,
) -> "dict[bases.Base, TorchdevError]":
    """Bootstrap bases, alone among all runs; those that could not be made, each with the reason."""
    with alone(meeting, "bootstrap", lambda: say("another run makes bases; waiting")):
        return bootstrap.bootstrap(engine, host, wanted, paths, say, prefixes)
