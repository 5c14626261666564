"""Build sessions: what a build needs, opened once; and the state that changes while it runs."""

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
from torchdev.pipeline.inventory import (
    BOOTSTRAPPED,
    OFFICIAL,
    Inputs,
    Names,
    Substitute,
    Substitutes,
    find_substitutes,
    present,
)
from torchdev.pipeline.progress import Event
from torchdev.pipeline.run_lock import Disk, cache_folder, locked
from torchdev.util.errors import EngineError, TorchdevError
from torchdev.util.texts import shown
from torchdev.wheels.host import Host, read_host

Say = Callable[[str], None]
OWN_BUILDER = outputs.BuilderConfig()
"""The engine's own builder."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a build.

    `builder` is buildx's name of one; `cache_from`, `cache_to` and `push_to` are repositories; with `prune`, images are
    removed again; `room` is the number of bytes that may be written at most.
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


@dataclass(frozen=True, kw_only=True)
class Teller:
    """Where messages and events go."""

    say: Say
    report: "Callable[[Event], None]" = lambda event: None


@dataclass(frozen=True, kw_only=True)
class BuildSession:
    """What a build needs, opened once.

    `made` are the bases that were bootstrapped, `missing` those that could not be; `platforms` are the engine's, its
    own first; `lock_dir` has the run locks; `incomplete` has the errors of locks that could not be completed.
    """

    engine: Engine
    host: Host
    paths: Paths
    options: Options
    say: Say
    report: "Callable[[Event], None]" = lambda event: None
    disk: Disk
    lock_dir: Path
    made: tuple[bases.Base, ...] = ()
    missing: "Mapping[bases.Base, TorchdevError]" = dataclasses.field(default_factory=dict)
    incomplete: "Mapping[str, TorchdevError]" = dataclasses.field(default_factory=dict)
    platforms: tuple[str, ...] = ("linux/amd64",)
    builder: outputs.BuilderConfig = OWN_BUILDER

    @cached_property
    def _substitutes(self) -> "dict[bases.Base, Substitute]":
        layouts = None if self.builder.driver == outputs.OWN else self.paths.work / "oci"
        with locked(self.paths.runs, "oci", lambda: self.say("another run writes OCI layouts; waiting")):
            return find_substitutes(self.engine, self.made, layouts)

    def substitutes(self, plan: Plan) -> Substitutes:
        """The substitutes for a plan's official bases. They exist for the engine's own platform only."""
        own = plan.lock.platform == self.platforms[0]
        return {base.ref: self._substitutes[base] for base in plan.bases if own and base in self._substitutes}

    def refusal(self, plan: Plan) -> "TorchdevError | None":
        """Why a plan can't be built here; None if nothing is known against it."""
        missing = next((self.missing[base] for base in plan.bases if base in self.missing), None)
        return (
            platform_refusal(plan.cell.id, plan.lock.platform, self.platforms, bootstrapped=bool(self.made)) or missing
        )

    def knows(self, names: Names) -> bool:
        """Whether an earlier look at the engine's images saw the substitutes that are there now."""
        return all(
            names.get(substitute.name, ("", {}))[0] == substitute.id for substitute in self._substitutes.values()
        )

    def steps(self, plan: Plan) -> "dict[str, str]":
        """The names in BuildKit's log of the steps that make a cell's layers, to the layers."""
        return steps_of(self.paths.dockerfile(plan.cell.id).read_text(encoding="utf-8"))


@dataclass(kw_only=True)
class BuildState:
    """What changes during a run: what the engine had at the last look, and what has been built since.

    `names` are its images, `present` names the layers that are there; `cached` has the sha256 of wheels that earlier
    batches have left in the engine's cache. Inputs are read once a run.
    """

    inputs: Inputs
    names: Names
    present: "set[str]" = dataclasses.field(default_factory=set)
    cached: "set[str]" = dataclasses.field(default_factory=set)

    def inputs_of(self, session: BuildSession, plan: Plan) -> str:
        """The digest of the present inputs of a plan's image."""
        return self.inputs.of(plan, session.substitutes(plan))

    def note_present(self, session: BuildSession, plans: "tuple[Plan, ...]") -> None:
        """Note the layers that were there at the last look at the engine."""
        origin = BOOTSTRAPPED if session.made else OFFICIAL
        self.present.clear()
        self.present.update(present(self.names, plans, lambda plan: {self.inputs_of(session, plan)}, origin))

    def look_again(self, session: BuildSession, plans: "tuple[Plan, ...]") -> None:
        """Look at the engine's images, and note the layers that are there now."""
        self.names = session.engine.names()
        self.note_present(session, plans)


def begin(
    session: BuildSession, plans: "tuple[Plan, ...]", names: "Names | None" = None, inputs: "Inputs | None" = None
) -> BuildState:
    """The state at the beginning of a run; an earlier look at the engine's images is used if it is still valid."""
    state = BuildState(inputs=inputs or Inputs(session.paths), names=names or {})
    if names is not None and session.knows(names):
        state.note_present(session, plans)
    else:
        state.look_again(session, plans)
    return state


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


def open_session(
    engine: Engine, paths: Paths, plans: "tuple[Plan, ...]", options: Options, teller: Teller, *, make: bool = True
) -> BuildSession:
    """Open a session, and make the bases that the plans need, unless `make` is false."""
    with ThreadPoolExecutor(1) as pool:  # pip takes a while to print its configuration
        reading = pool.submit(read_host)
        with tempfile.TemporaryDirectory() as folder:
            builder, platforms = builder_config(engine, options, Path(folder))
        native = [plan for plan in plans if plan.lock.platform == platforms[0]]
        wanted = [base for plan in native or plans for base in plan.bases]
        made = bootstrap.choose(engine, wanted, forbid=not options.allow_bootstrap)
        host = reading.result()
    for note in host.notes:
        teller.say(f"note: {note}")
    session = BuildSession(
        engine=engine,
        host=host,
        paths=paths,
        options=options,
        say=teller.say,
        report=teller.report,
        disk=Disk(engine.disk(), options.room),
        lock_dir=lock_dir_of(engine),
        made=tuple(made),
        platforms=platforms,
        builder=builder,
    )
    missing = make_bases(session, made) if made and make and native else {}
    return dataclasses.replace(session, missing=missing)


def builder_config(engine: Engine, options: Options, logs: Path) -> "tuple[outputs.BuilderConfig, tuple[str, ...]]":
    """The builder configuration of some options, and its platforms, the engine's first; EngineError if refused."""
    found = buildx.inspect(options.builder, logs / "platforms.log")
    variable = os.environ.get("BUILDX_BUILDER", "")
    if not found and (named := options.builder or variable):
        where, what = "--builder" if options.builder else "BUILDX_BUILDER", f"buildx has no builder {shown(named)}"
        raise EngineError(what, where=where, next_step="docker buildx ls; docker buildx create --name NAME ...")
    driver, platforms = (found.driver, found.platforms) if found else (outputs.OWN, ())
    store = outputs.containerd_store(engine.info())
    builder = outputs.BuilderConfig(
        builder=options.builder,
        driver=driver,
        containerd=store,
        cache_from=options.cache_from,
        cache_to=options.cache_to,
    )
    if refusal := outputs.refusal(builder):
        raise EngineError(refusal, where="--cache-to", next_step="name another builder with --builder: docs/scale.md")
    own = engine.platform()
    if driver != outputs.OWN and platforms and own not in platforms:
        return builder, platforms
    return builder, tuple(dict.fromkeys((own, *platforms)))


def lock_dir_of(engine: Engine) -> Path:
    """The folder of the run locks of all runs against an engine."""
    return cache_folder(str(engine.info().get("ID", "engine")))


def make_bases(
    session: BuildSession, wanted: "list[bases.Base]", prefixes: bootstrap.Prefixes = bootstrap.NO_PREFIXES
) -> "dict[bases.Base, TorchdevError]":
    """Bootstrap bases under a run lock; returns those that could not be made, each with the reason."""
    with locked(session.lock_dir, "bootstrap", lambda: session.say("another run makes bases; waiting")):
        return bootstrap.bootstrap(session.engine, session.host, wanted, session.paths, session.say, prefixes)
