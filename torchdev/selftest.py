"""Runs all of torchdev's own tests: style, types, unit tests, generated files, engine tests, one cell for real."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from torchdev.engine import Engine
from torchdev.errors import Exit
from torchdev.machine import Consent, ensure_engine, ensure_mmdebstrap, registry_answers
from torchdev.pipeline import Options
from torchdev.report import exit_code, results_text
from torchdev.stages import build_cells, open_project

Say = Callable[[str], None]
BIN = Path(sys.executable).parent


def commands(root: Path) -> "list[tuple[str, list[str]]]":
    """The checks that need no engine, by name, in the order of what they cost."""
    python, dockerfiles = sys.executable, sorted(root.glob("images/*/Dockerfile"))
    dockerfiles.append(root / "templates" / "bootstrap" / "python.Dockerfile")
    return [
        ("style", [python, "-m", "ruff", "check", "."]),
        ("format", [python, "-m", "ruff", "format", "--check", "."]),
        ("types", [python, "-m", "mypy"]),
        ("Dockerfiles", [str(BIN / "hadolint"), *map(str, dockerfiles)]),
        ("unit tests", [python, "-m", "pytest", "-q", "tests/unit"]),
        ("generated files", [python, "build.py", "render", "--check"]),
    ]


def run(root: Path, consent: Consent, say: Say) -> int:
    """Everything; the exit code. An engine that had to be started for it is stopped again."""
    failed = [name for name, command in commands(root) if not _passes(name, command, root, say)]
    started = ensure_engine(consent, say)
    try:
        project = open_project(root, root / "matrix.yaml")
        cell = project.matrix.cells[0]
        if not registry_answers(Engine(), project, cell.id):
            ensure_mmdebstrap(consent, say)
        results = build_cells(project, (cell,), Options(), say)
        print("\n" + results_text(results), flush=True)
        if not _passes("engine tests", [sys.executable, "-m", "pytest", "-q", "tests/engine"], root, say):
            failed.append("engine tests")
        if exit_code(results) != Exit.OK:
            failed.append(cell.id)
    finally:
        if started:
            say("stopping the engine that was started for these tests")
            started.stop()
    print(f"\nall of torchdev's tests passed, with {cell.id} built" if not failed else f"\nfailed: {', '.join(failed)}")
    return int(Exit.CHECK if failed else Exit.OK)


def _passes(name: str, command: "list[str]", root: Path, say: Say) -> bool:
    say(f"== {name}")
    return subprocess.run(command, cwd=root).returncode == 0
