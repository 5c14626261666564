"""Runs all of torchdev's own tests: style, types, unit tests, generated files, engine tests, two cells for real."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

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

Say = Callable[[str], None]
BIN = Path(sys.executable).parent


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
        ("unit tests", [python, "-m", "pytest", "-q", "tests/unit"]),
        ("catalog against wheels", [python, "-m", "pytest", "-q", "-rs", "tests/index"]),
        ("generated files", [python, "build.py", "render", "--check"]),
        ("files of the cpu cell", [python, "build.py", "render", "--check", "--matrix-file", "tests/cpu/matrix.yaml"]),
    ]


def run(root: Path, consent: Consent, say: Say, *, quick: bool = False, sabotage: bool = False) -> int:
    """Everything, or only what needs no engine; the exit code. An engine that was started for it is stopped again.

    `sabotage`: also every image broken on purpose; without, those that are marked for CI.
    """
    failed = [name for name, command in commands(root) if not _passes(name, command, root, say)]
    if quick:
        print(f"\nfailed: {', '.join(failed)}" if failed else "\nall that needs no engine passed")
        return int(Exit.CHECK if failed else Exit.OK)
    started = ensure_engine(consent, say)
    try:
        project = open_project(root, root / "matrix.yaml")
        cells = siblings(project)
        if not registry_answers(Engine(), project, cells):
            ensure_mmdebstrap(consent, say)
        results = build_cells(project, cells, Options(), say)
        results += build_small(root, say)
        print("\n" + results_text(results), flush=True)
        some = [] if sabotage else ["-m", "ci"]
        for name, arguments in {"engine tests": ["tests/engine"], "sabotage": ["-rs", *some, "tests/sabotage"]}.items():
            if not _passes(name, [sys.executable, "-m", "pytest", "-q", *arguments], root, say):
                failed.append(name)
        if exit_code(results) != Exit.OK:
            failed.append("cells")
    finally:
        if started:
            say("stopping the engine that was started for these tests")
            started.stop()
    built = " and ".join(cell.id for cell in cells)
    print(f"\nfailed: {', '.join(failed)}" if failed else f"\nall of torchdev's tests passed, with {built} built")
    return int(Exit.CHECK if failed else Exit.OK)


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


def _passes(name: str, command: "list[str]", root: Path, say: Say) -> bool:
    say(f"== {name}")
    return subprocess.run(command, cwd=root).returncode == 0
