"""The package's imports go one way, its modules are short, and no committed file is large."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.unit.conftest import ROOT
from torchdev.util.imports import imported

PACKAGE = ROOT / "torchdev"
ORDER = (
    "terminal",
    "commands", "errors", "texts", "values", "streams", "faults", "refusals", "debsource", "files", "imports",
    "process", "jsonfile", "redact", "settings", "variables", "logins", "pip_settings", "uv_settings", "amounts",
    "document", "schema", "ids", "catalog", "facts", "releases", "terms", "reasons", "explain", "grid", "cells",
    "bases", "claims", "matrix", "places", "host", "traces", "remote", "archives", "indexes", "wheels", "pytorch",
    "lock", "lockfile", "pylock", "resolver", "neighbours", "resolve", "sources", "slimming", "contract", "checks",
    "plan", "context", "dockerfile", "forecast", "waves", "backlog", "fullcheck", "pages", "listed", "trees", "render",
    "containers", "jobs", "recipes",
    "project", "diagnosis", "buildlog", "progress", "gpus", "buildx", "exports", "connection", "engine", "builder",
    "prefix", "bootstrap", "controls", "verify", "memory", "report", "turns", "outlook", "names", "site", "push",
    "pipeline", "batches", "display", "stages", "rendering", "baking", "launch", "doctor", "machine", "testgroups",
    "selftest",
)  # fmt: skip
"""Lowest first: a module imports only from those before it."""
STANDALONE = ("environment", "arguments")


def imports(path: Path) -> set[str]:
    """Modules of the package that a module imports, anywhere in it."""
    return {name.split(".")[1] for name in imported(path) if name.startswith("torchdev.")}


def test_every_module_has_its_place() -> None:
    """A new module must be put into the order."""
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert modules == {*ORDER, *STANDALONE}


def test_imports_point_one_way() -> None:
    """No module imports from a later one."""
    for number, module in enumerate(ORDER):
        later = imports(PACKAGE / f"{module}.py") - set(ORDER[:number])
        assert not later, f"{module} imports {sorted(later)}"


def test_only_the_engine_and_its_gpus_import_docker() -> None:
    """And only render imports Jinja; YAML has one reader."""
    owners = {
        "docker": {"connection", "engine", "gpus"},
        "jinja2": {"render"},
        "yaml": {"document"},
    }
    for library, owner in owners.items():
        users = {path.stem for path in PACKAGE.glob("*.py") if library in {n.split(".")[0] for n in imported(path)}}
        assert users == owner


def test_modules_are_short_and_described() -> None:
    """Under 300 lines, and opened by a sentence."""
    for path in [*PACKAGE.glob("*.py"), *(ROOT / "bench").glob("*.py"), ROOT / "build.py"]:
        text = path.read_text()
        assert len(text.splitlines()) < 300, path.name
        assert ast.get_docstring(ast.parse(text)), path.name


def test_no_committed_file_is_large() -> None:
    """Nothing over 1 MB belongs in the repository."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [ROOT / name for name in listing.split("\0") if name]
    assert [path.name for path in paths if path.is_file() and path.stat().st_size > 1_000_000] == []


OLDEST = (3, 7)
"""The oldest grammar that ast knows; 3.6, which some cells have, differs from it in nothing that is used here."""
OF_IMAGES = (
    "workloads/*.py", "templates/override/*", "templates/bootstrap/check-python", "templates/files/doctor/*.py",
    "templates/files/*.py", "templates/files/torchdev-unguard", "templates/steps/guard", "templates/steps/link-needed",
    "templates/scripts/strip-symbols", "templates/scripts/records.py", "tests/image/programs/*.py",
)  # fmt: skip


def test_programs_that_run_in_images_suit_old_pythons() -> None:
    """Their grammar, and annotations: list[int] can be evaluated from Python 3.9 on; in quotes it need not be."""
    for path in (path for pattern in OF_IMAGES for path in ROOT.glob(pattern)):
        tree = ast.parse(path.read_text(), feature_version=OLDEST)
        for annotation in _annotations(tree):
            parts = [part for part in ast.walk(annotation) if isinstance(part, ast.Subscript | ast.BinOp)]
            assert not parts, f"{path.name}:{annotation.lineno}: put it into quotes"


def _annotations(tree: ast.Module) -> Iterator[ast.expr]:
    """Every annotation that is evaluated when a program is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg]
            found = [node.returns, *(argument.annotation for argument in arguments if argument)]
            yield from (annotation for annotation in found if annotation)
        elif isinstance(node, ast.AnnAssign):
            yield node.annotation
