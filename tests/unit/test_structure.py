"""Packages import one way, modules of a package in no circle; modules and functions are short; no file is large."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.unit.conftest import ROOT
from torchdev.matrix.load import load
from torchdev.util.imports import imported

HOUSE = ROOT / "torchdev"
PACKAGES = (
    "util", "catalog", "matrix", "wheels", "image", "engine", "bases", "pipeline", "recipes", "docgen", "cli",
)  # fmt: skip
"""Lowest first: a package imports only from those before it."""
LONGEST_MODULE, LONGEST_FUNCTION, MOST_PACKAGES, MOST_PARAMETERS, MOST_POSITIONAL_FIELDS = 500, 40, 12, 6, 4
MOST_FILES, OF_CELLS, OF_ONE_CELL = 950, 33, 30
"""Files in the repository with so many cells, and what each further cell may add: its own files and lists of wheels."""
OWN_TESTS = {"bench", "templates"}
"""Folders of tests/unit that mirror no package of torchdev/."""


def modules() -> "list[Path]":
    """Every module of the packages."""
    return sorted(path for path in HOUSE.rglob("*.py") if path.name != "__init__.py")


def sources() -> "list[Path]":
    """Every module of the packages and of bench/, and the entry."""
    return [*modules(), *sorted((ROOT / "bench").glob("*.py")), ROOT / "build.py"]


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes(path: Path) -> "list[ast.AST]":
    """All that a module's syntax tree has."""
    return list(ast.walk(tree_of(path)))


def imports(path: Path) -> "set[tuple[str, str]]":
    """Package and module of all that a module imports from torchdev/, anywhere in it."""
    names = (name.split(".")[1:3] for name in imported(path) if name.startswith("torchdev."))
    return {(name[0], name[1]) for name in names if (HOUSE / f"{'/'.join(name)}.py").is_file()}


def test_every_module_is_in_a_package() -> None:
    """A new package must be put into the order; there are at most twelve, whose own modules are empty."""
    assert {path.parent for path in modules()} == {HOUSE / name for name in PACKAGES}
    assert len(PACKAGES) <= MOST_PACKAGES
    assert [name for name in PACKAGES if (HOUSE / name / "__init__.py").read_text()] == []


def test_packages_import_one_way() -> None:
    """No module imports from a later package."""
    for path in modules():
        allowed = PACKAGES[: PACKAGES.index(path.parent.name) + 1]
        later = [".".join(found) for found in sorted(imports(path)) if found[0] not in allowed]
        assert not later, f"{path.relative_to(ROOT)} imports {later}"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_has_no_circle(package: str) -> None:
    """Its modules can be put into an order in which each imports only from those before it."""
    graph = {
        path.stem: {module for name, module in imports(path) if name == package}
        for path in (HOUSE / package).glob("*.py")
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"{package}: {' imports '.join(reversed(error.args[1]))}")


def test_a_name_does_not_repeat_its_package() -> None:
    """It is read behind it: matrix/matrix.py would say nothing."""
    assert [path for path in modules() if path.stem == path.parent.name] == []


def test_libraries_have_one_owner() -> None:
    """Docker is for the engine, Jinja for rendering, remotezip for wheels elsewhere; YAML is for what people write."""
    owners = {
        "docker": {"engine/connection", "engine/client", "engine/gpus"},
        "jinja2": {"image/render"},
        "remotezip": {"wheels/remote"},
        "yaml": {"util/positions"},
    }
    for library, owner in owners.items():
        users = {path for path in modules() if library in {name.split(".")[0] for name in imported(path)}}
        assert {f"{path.parent.name}/{path.stem}" for path in users} == owner


def test_modules_are_described_and_not_too_long() -> None:
    """Opened by a sentence, and no longer than what one can keep in mind."""
    for path in sources():
        text = path.read_text()
        assert len(text.splitlines()) <= LONGEST_MODULE, path.name
        assert ast.get_docstring(tree_of(path)), path.name


def test_functions_are_short() -> None:
    """From the line of its name to its last."""
    for path in sources():
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                assert length <= LONGEST_FUNCTION, f"{path.relative_to(ROOT)}: {node.name} has {length} lines"


def test_functions_take_few_parameters() -> None:
    """What belongs together travels together, in an object that is built by names."""
    for path in sources():
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef):
                given = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                count = len(given) - (given[:1] in (["self"], ["cls"]))
                assert count <= MOST_PARAMETERS, f"{path.relative_to(ROOT)}: {node.name} takes {count} parameters"


def test_large_dataclasses_are_built_by_names() -> None:
    """The fifth of some values in a row tells no reader what it is."""
    found = 0
    for path in sources():
        for node in nodes(path):
            if isinstance(node, ast.ClassDef) and (how := _dataclass(node)):
                fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
                own = [part for part in fields if "ClassVar" not in ast.unparse(part.annotation)]
                named = "kw_only=True" in how
                assert named or len(own) <= MOST_POSITIONAL_FIELDS, f"{path.relative_to(ROOT)}: {node.name}"
                found += named
    assert found


def _dataclass(node: ast.ClassDef) -> str:
    """The decorator that makes a class a dataclass; empty if there is none."""
    written = (ast.unparse(one) for one in node.decorator_list)
    return next((text for text in written if text.partition("(")[0].endswith("dataclass")), "")


def test_unit_tests_mirror_the_packages() -> None:
    """A package's tests are in the folder of its name; beside these stand those of templates/ and bench/."""
    folders = {path.parent.name for path in (ROOT / "tests" / "unit").glob("*/test_*.py")}
    assert folders <= {*PACKAGES, *OWN_TESTS}


def committed() -> "list[Path]":
    """Every file that git has; a skip outside a git checkout."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs a git checkout: {done.stderr.strip()}")
    return [ROOT / name for name in done.stdout.split("\0") if name]


def test_no_committed_file_is_large() -> None:
    """Nothing over 1 MB belongs in the repository."""
    assert [path.name for path in committed() if path.is_file() and path.stat().st_size > 1_000_000] == []


def test_committed_files_are_few() -> None:
    """What can be made again, or is the same as another file, is not committed; a larger matrix may have more."""
    more = max(0, len(load(ROOT / "matrix.yaml").cells) - OF_CELLS)
    assert len(committed()) <= MOST_FILES + more * OF_ONE_CELL


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
