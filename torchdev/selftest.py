"""Runs all of torchdev's own tests: style, types, unit tests, generated files, engine tests, two cells for real."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from torchdev.bases import SOURCE_SUITES
from torchdev.engine import Engine
from torchdev.errors import Exit
from torchdev.host import find_wheels, read_host
from torchdev.machine import Consent, ensure_engine, ensure_mmdebstrap, registry_answers
from torchdev.matrix import Cell
from torchdev.project import Project, open_project
from torchdev.report import Result, exit_code, results_text
from torchdev.schema import SCHEMA_FILE
from torchdev.site import Options
from torchdev.stages import build_cells
from torchdev.streams import show

Say = Callable[[str], None]
BIN = Path(sys.executable).parent
PYTEST = [sys.executable, "-m", "pytest", "-q", "-rs"]
"""It gives the reason of each test that is not run."""


@dataclass(frozen=True)
class Group:
    """What became of a group of checks: whether it passed, and how many of its tests, of how many, were not run."""

    name: str
    passed: bool
    skipped: int = 0
    tests: int = 0

    @property
    def not_run(self) -> str:
        """The group and what of it was not run; empty if all was."""
        if not self.skipped:
            return ""
        return f"{self.name} ({self.skipped} of {self.tests})" if self.tests else self.name


def commands(root: Path) -> "list[tuple[str, list[str]]]":
    """The checks that need no engine, by name, in the order of what they cost."""
    python, dockerfiles = sys.executable, sorted(root.glob("images/*/Dockerfile"))
    dockerfiles += sorted(root.glob("templates/bootstrap/*.Dockerfile"))
    jsonschema, workflows = str(BIN / "check-jsonschema"), [str(path) for path in root.glob(".github/workflows/*")]
    return [
        ("style", [python, "-m", "ruff", "check", "."]),
        ("format", [python, "-m", "ruff", "format", "--check", "."]),
        ("types", [python, "-m", "mypy"]),
        ("Dockerfiles", [str(BIN / "hadolint"), *map(str, dockerfiles)]),
        ("workflows", [str(BIN / "zizmor"), "--offline", "--quiet", "--no-progress", ".github/workflows"]),
        ("workflows' schema", [jsonschema, "--builtin-schema", "vendor.github-workflows", *workflows]),
        ("matrix.yaml's schema", [jsonschema, "--schemafile", SCHEMA_FILE, "matrix.yaml"]),
        ("unit tests", [*PYTEST, "tests/unit"]),
        ("catalog against wheels", [*PYTEST, "tests/index"]),
        ("generated files", [python, "build.py", "render", "--check"]),
        ("files of the cpu cell", [python, "build.py", "render", "--check", "--matrix-file", "tests/cpu/matrix.yaml"]),
    ]


def run(root: Path, consent: Consent, say: Say, *, quick: bool = False, sabotage: bool = False) -> int:
    """Everything, or only what needs no engine; the exit code. An engine that was started for it is stopped again.

    `sabotage`: also every image broken on purpose; without, those that are marked for CI.
    """
    groups = [_group(name, command, root, say) for name, command in commands(root)]
    if quick:
        return _end(groups, "what needs no engine")
    started = ensure_engine(consent, say)
    try:
        project = open_project(root, root / "matrix.yaml")
        cells = siblings(project)
        if not registry_answers(Engine(), project, cells):
            ensure_mmdebstrap(consent, say)
        results = build_cells(project, cells, Options(), say)
        small = build_small(root, say)
        results += small
        show("\n" + results_text(results))
        some = [] if sabotage else ["-m", "ci"]
        for name, arguments in {"engine tests": ["tests/engine"], "sabotage": [*some, "tests/sabotage"]}.items():
            groups.append(_group(name, [*PYTEST, *arguments], root, say))
        groups += [Group("cells", exit_code(results) == Exit.OK), Group("the cpu cell", True, skipped=int(not small))]
    finally:
        if started:
            say("stopping the engine that was started for these tests")
            started.stop()
    return _end(groups, "torchdev's tests", f", with {' and '.join(cell.id for cell in cells)} built")


def closing(groups: "list[Group]", what: str, built: str = "") -> str:
    """The last words: what failed and what was not run, by group; that all passed only if neither is the case."""
    failed = ", ".join(group.name for group in groups if not group.passed)
    not_run = ", ".join(filter(None, (group.not_run for group in groups)))
    if failed:
        return f"failed: {failed}" + (f"; not run: {not_run}" if not_run else "")
    return f"passed: {what}{built}, but not run: {not_run}" if not_run else f"all passed: {what}{built}"


def _end(groups: "list[Group]", what: str, built: str = "") -> int:
    show("\n" + closing(groups, what, built))
    return int(Exit.OK if all(group.passed for group in groups) else Exit.CHECK)


def build_small(root: Path, say: Say) -> "list[Result]":
    """Build the cpu cell, of which tests make small images; none where no folder here has its PyTorch."""
    project = open_project(root, root / "tests" / "cpu" / "matrix.yaml")
    cells = project.matrix.cells[:1]
    torch = next(p for p in project.plans(cells)[0].lock.packages if p.name == "torch")
    if not find_wheels(read_host(), [(torch.name, torch.file, torch.sha256)]):
        say(f"not built: {cells[0].id}, since no wheel folder of this machine has its PyTorch; its tests are not-run")
        return []
    return build_cells(project, cells, Options(test=False), say)


def siblings(project: Project) -> tuple[Cell, ...]:
    """The first cell of the matrix, and one, if there is one, that shares all with it that lies below Python.

    Its Python is one that can be bootstrapped, so that the tests need no registry.
    """
    first, *others = project.plans(project.by_lock(project.matrix.cells)[0])
    alike = (plan.cell for plan in others if plan.shared == first.shared and plan.cell.python in SOURCE_SUITES)
    return first.cell, *list(alike)[:1]


def _group(name: str, command: "list[str]", root: Path, say: Say) -> Group:
    """Run a group's command; pytest counts what was not run."""
    say(f"== {name}")
    if command[: len(PYTEST)] != PYTEST:
        return Group(name, subprocess.run(command, cwd=root).returncode == 0)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "junit.xml")
        passed = subprocess.run([*command, f"--junit-xml={file}"], cwd=root).returncode == 0
        return Group(name, passed, *counted(file.read_text(encoding="utf-8") if file.exists() else "<none/>"))


def counted(junit: str) -> "tuple[int, int]":
    """How many tests were not run, and how many there are, in what pytest writes as JUnit's XML."""
    suites = list(ElementTree.fromstring(junit).iter("testsuite"))
    skipped, tests = (sum(int(suite.get(key, "0")) for suite in suites) for key in ("skipped", "tests"))
    return skipped, tests
