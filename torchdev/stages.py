"""The stages that build.py offers, each one function: from the files of a checkout to files, images, verdicts."""

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from torchdev import bases, bootstrap, builder, lock, render, verify
from torchdev.engine import Engine
from torchdev.errors import InputError, TorchdevError
from torchdev.host import Host, read_host
from torchdev.matrix import Cell, Matrix, load
from torchdev.plan import Plan, make_plan
from torchdev.report import Result, headline, plan_line, verdicts_text
from torchdev.verify import Outcome, Verdict

Say = Callable[[str], None]


@dataclass(frozen=True)
class Project:
    """A checkout of torchdev and the matrix file in use."""

    root: Path
    matrix: Matrix

    @property
    def images(self) -> Path:
        """Where generated files, locks and base digests are."""
        return self.root / "images"

    def plans(self, cells: "tuple[Cell, ...]") -> tuple[Plan, ...]:
        """A plan for each cell; a missing or stale lock is an InputError."""
        digests = bases.read_digests(self.images / "bases.json")
        return tuple(
            make_plan(
                self.matrix.image,
                cell,
                lock.read_lock(self.images / cell.id / "lock.json", cell),
                bases.bases_of(cell.python, digests),
                self.matrix.aliases_of(cell),
            )
            for cell in cells
        )


def open_project(root: Path, matrix_file: Path) -> Project:
    """Read the matrix of a checkout."""
    return Project(root, load(matrix_file))


def lock_cells(project: Project, names: "list[str]", say: Say) -> None:
    """Resolve the named cells, or all, and write their locks; what was resolved before keeps its sizes."""
    host = read_host()
    chosen = project.matrix.select(names)
    known = {package.sha256: package.installed for found in _known_locks(project) for package in found.packages}
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda cell: lock.resolve(cell, host, known), chosen):
            path = project.images / found.cell / "lock.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            text = lock.to_text(found)
            changed = not path.exists() or path.read_text(encoding="utf-8") != text
            path.write_text(text, encoding="utf-8")
            size = sum(package.size for package in found.packages) / 1e9
            say(f"{found.cell}: {len(found.packages)} wheels, {size:.1f} GB{'' if changed else ', unchanged'}")
    say("next: python build.py render")


def _known_locks(project: Project) -> "list[lock.Lock]":
    found = []
    for cell in project.matrix.cells:
        try:
            found.append(lock.read_lock(project.images / cell.id / "lock.json", cell))
        except InputError:
            continue
    return found


def lock_bases(project: Project, say: Say) -> None:
    """Ask the registry for the digests of the official bases and write them to images/bases.json."""
    engine = Engine()
    names = {bases.DEBIAN, bases.python_image(bases.TOOL_PYTHON)}
    names |= {bases.python_image(cell.python) for cell in project.matrix.cells}
    found = {name: engine.registry_digest(name) for name in sorted(names)}
    bases.write_digests(project.images / "bases.json", {name: digest for name, digest in found.items() if digest})
    for name, digest in found.items():
        say(f"{name}: {digest or 'no registry answers; left as it was'}")
    say("next: python build.py render")


def render_images(project: Project, *, check: bool, say: Say) -> None:
    """Write images/, or with `check` fail if anything there is not as it would be written."""
    files = render.render(project.plans(project.matrix.cells), project.root / "templates")
    if check:
        render.check(files, project.images)
        say(f"images/ is up to date ({len(project.matrix.cells)} cells)")
        return
    changed = render.write(files, project.images)
    say("\n".join([*(f"images/{name}" for name in changed), f"{len(changed)} files changed"]))


def bootstrap_bases(project: Project, names: "list[str]", say: Say) -> None:
    """Make stand-ins for the bases of the named cells, or of all, whether a registry answers or not."""
    plans = project.plans(project.matrix.select(names))
    wanted = list(dict.fromkeys(base for plan in plans for base in (plan.debian, plan.python, plan.tool)))
    bootstrap.bootstrap(Engine(), read_host(), wanted, project.root, say)


@dataclass(frozen=True)
class Options:
    """How to build: which checks, GPU or not, whether bases may be bootstrapped, and BuildKit's log on screen."""

    test: bool = True
    gpu: str = "auto"
    allow_bootstrap: bool = True
    verbose: bool = False


def build_cells(project: Project, names: "list[str]", options: Options, say: Say) -> "list[Result]":
    """Build and check the named cells, or all; a cell that fails does not stop the others."""
    plans = project.plans(project.matrix.select(names))
    render.check(render.render(project.plans(project.matrix.cells), project.root / "templates"), project.images)
    engine, host = Engine(), read_host()
    wanted = [base for plan in plans for base in (plan.debian, plan.python, plan.tool)]
    made = bootstrap.choose(engine, wanted, forbid=not options.allow_bootstrap)
    if made:
        bootstrap.bootstrap(engine, host, made, project.root, say)
    return [_build_cell(engine, host, plan, project.root, made, options, say) for plan in plans]


def _build_cell(
    engine: Engine, host: Host, plan: Plan, root: Path, made: "list[bases.Base]", options: Options, say: Say
) -> Result:
    """Build, check, and only then tag; the candidate of a failed check stays for a look."""
    began = time.perf_counter()
    say(plan_line(plan))
    verdicts: tuple[Verdict, ...] = ()
    try:
        builder.build(
            engine, host, plan, root, builder.stands_for(engine, plan, made), sys.stderr if options.verbose else None
        )
        if options.test:
            say(f"{plan.cell.id}: built; checking")
            verdicts = verify.verify(plan, plan.candidate, options.gpu, root)
            say(verdicts_text(verdicts))
        image = engine.image(plan.candidate)
    except TorchdevError as error:
        say(f"error: {error}")
        return Result(plan.cell.id, None, (), verdicts, str(error), time.perf_counter() - began)
    failure = _failure(plan, verdicts)
    if not failure:
        for name in plan.tags:
            engine.tag(plan.candidate, name)
        engine.untag(plan.candidate)
    return Result(plan.cell.id, image, () if failure else plan.tags, verdicts, failure, time.perf_counter() - began)


def _failure(plan: Plan, verdicts: tuple[Verdict, ...]) -> str:
    if not any(verdict.outcome is Outcome.FAIL for verdict in verdicts):
        return ""
    return f"{plan.cell.id}: {headline(verdicts)}; not tagged, left as {plan.candidate}"


def test_cells(project: Project, names: "list[str]", gpu: str, say: Say) -> "list[Result]":
    """Check images that were built and tagged before."""
    plans = project.plans(project.matrix.select(names))
    engine = Engine()
    results = []
    for plan in plans:
        began = time.perf_counter()
        image = engine.image(plan.tags[0])
        if not image:
            what = f"the engine has no image {plan.tags[0]}"
            raise InputError(what, where=plan.cell.id, next_step=f"python build.py {plan.cell.id}")
        verdicts = verify.verify(plan, plan.tags[0], gpu, project.root)
        say(f"{plan.cell.id}\n{verdicts_text(verdicts)}")
        error = f"{plan.cell.id}: {headline(verdicts)}" if any(v.outcome is Outcome.FAIL for v in verdicts) else ""
        results.append(Result(plan.cell.id, image, plan.tags, verdicts, error, time.perf_counter() - began))
    return results
