"""A remembered pass holds for what was checked, by what, and for nothing else: whatever decides makes it void."""

import ast
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.unit.conftest import ROOT
from torchdev.image.paths import Paths
from torchdev.image.plan import Plan
from torchdev.pipeline import memory, verify
from torchdev.pipeline.verify import Outcome, Verdict
from torchdev.util import imports
from torchdev.util.positions import Position

PASSED = Verdict(cell="cell", check="good", outcome=Outcome.PASS, why="", seconds=0.1)
FAILED = Verdict(cell="cell", check="bad", outcome=Outcome.FAIL, why="1 != 2", seconds=0.1)
COPIED = ("torchdev", "tests/image", "tests/unit", "bench", "workloads", "templates", "examples")
NOT_CODE = shutil.ignore_patterns("__pycache__", "*.pyc")
Key = Callable[[], str]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of all that this checkout has of code, data and templates; each test leaves it as it was."""
    root = tmp_path_factory.mktemp("checkout")
    for folder in COPIED:
        shutil.copytree(ROOT / folder, root / folder, ignore=NOT_CODE)
    for file in ("tests/__init__.py", "tests/reds.py", "pyproject.toml", "README.md", "build.py"):
        shutil.copy(ROOT / file, root / file)
    return root


@pytest.fixture
def key(checkout: Path, tmp_path: Path, plan: Plan) -> Key:
    """The file name for one image, cell and way of checking, as it is now."""
    paths = Paths(checkout, tmp_path / "matrix.yaml")
    return lambda: memory.file(paths, plan, "sha256:a", "auto", memory.code(checkout)).name


def changing(paths: "Iterable[Path]", key: Key) -> "list[Path]":
    """The files that make the key another one by one byte more; its old content makes it the old one again."""
    before, found = key(), []
    for path in paths:
        content = path.read_bytes()
        path.write_bytes(content + b"\n")
        found += [path] if key() != before else []
        path.write_bytes(content)
        assert key() == before, path
    return found


DECIDING = (
    "torchdev/image/contract.py", "torchdev/catalog/facts.py", "torchdev/engine/client.py",
    "torchdev/engine/gpus.py", "torchdev/matrix/load.py", "tests/image/leaks.py", "torchdev/wheels/host.py",
    "torchdev/image/slimming.py", "torchdev/wheels/wheel.py", "torchdev/pipeline/verify.py",
    "torchdev/util/process.py", "torchdev/util/errors.py", "torchdev/__init__.py", "torchdev/data/facts.yaml",
    "torchdev/data/catalog.json", "torchdev/data/slimming.yaml", "tests/__init__.py", "tests/image/__init__.py",
    "tests/image/conftest.py", "tests/image/test_leak_scan.py", "tests/image/programs/facts.py",
    "workloads/harness.py", "workloads/digits.csv.gz", "templates/files/uv", "pyproject.toml",
)  # fmt: skip
WITHOUT_PART = ("build.py", "README.md", "torchdev/pipeline/display.py", "torchdev/bases/bootstrap.py", "tests/reds.py",
                "tests/unit/pipeline/test_memory.py", "bench/measure.py")  # fmt: skip


def test_every_file_that_decides_changes_the_key(checkout: Path, key: Key) -> None:
    """Of all kinds: checks, what they import, what those import, data, programs of images, templates, settings."""
    known = {path.relative_to(checkout).as_posix() for path in memory.deciding(checkout)}
    assert set(DECIDING) <= known
    assert changing((checkout / name for name in DECIDING), key) == [checkout / name for name in DECIDING]


def test_what_has_no_part_does_not(checkout: Path, key: Key) -> None:
    """Else every edit would have all images checked again."""
    assert changing((checkout / name for name in WITHOUT_PART), key) == []


@pytest.mark.parametrize(
    "name",
    [
        "tests/image/test_new.py",
        "tests/image/programs/new.sh",
        "tests/image/programs/deep/data.bin",
        "tests/conftest.py",
        "conftest.py",
        "workloads/new.txt",
        "templates/files/new",
        "torchdev/data/new.json",
    ],
)
def test_a_file_more_changes_the_key(checkout: Path, key: Key, name: str) -> None:
    """A check, a program of whatever suffix, or a conftest.py where there was none; an empty one, too."""
    before = key()
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).touch()
    try:
        assert key() != before
    finally:
        (checkout / name).unlink()
    assert key() == before


def test_a_helper_counts_from_the_moment_that_it_is_imported(checkout: Path, key: Key) -> None:
    """Wherever it stands, and if only a function imports it, by way of a module that another one imports."""
    helper, check = checkout / "tests" / "helper.py", checkout / "tests" / "image" / "test_new.py"
    helper.write_text("from torchdev.pipeline import (\n    display,  # to see\n)\n")
    check.write_text("def test_a() -> None:\n    import tests.helper as own\n    assert own\n")
    try:
        both = [helper, checkout / "torchdev" / "pipeline" / "display.py"]
        assert changing(both, key) == both
    finally:
        helper.unlink()
        check.unlink()
    assert changing([checkout / "torchdev" / "pipeline" / "display.py"], key) == []


def test_what_is_known_of_the_cell_counts(checkout: Path, tmp_path: Path, plan: Plan) -> None:
    """Its lock, its bases, its tags, its contract; another image, another way to check. Not its line in the matrix."""
    paths = Paths(checkout, tmp_path / "matrix.yaml")
    code = memory.code(checkout)

    def key(image: str = "sha256:a", gpu: str = "auto", **changes: object) -> str:
        return memory.file(paths, dataclasses.replace(plan, **changes), image, gpu, code).name  # type: ignore[arg-type]

    moved = dataclasses.replace(plan.cell, position=Position("matrix.yaml", 77, 1))
    assert key(cell=moved) == key()
    base = dataclasses.replace(plan.debian, digest=f"sha256:{'9' * 64}")
    others = [
        key("sha256:b"),
        key(gpu="require"),
        key(cell=dataclasses.replace(plan.cell, variant="devel")),
        key(cell=dataclasses.replace(plan.cell, slim=False)),
        key(lock=dataclasses.replace(plan.lock, packages=plan.lock.packages[1:])),
        key(debian=base),
        key(aliases=("latest",)),
        key(image="another"),
        memory.file(paths, plan, "sha256:a", "auto", "other code").name,
    ]
    folder = paths.images / plan.cell.id
    folder.mkdir(parents=True)
    (folder / "contract.json").write_text("{}")
    others.append(key())
    assert len({*others, key()}) == len(others)


def test_other_packages_count(checkout: Path, key: Key, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another pytest, testinfra or docker, each told by its folder, or another Python."""
    before = key()
    (tmp_path / "pytest-99.0.dist-info").mkdir()
    memory.environment.cache_clear()
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        assert key() != before
    memory.environment.cache_clear()
    monkeypatch.setattr("sys.version", "3.99")
    assert key() != before
    memory.environment.cache_clear()


def test_verdicts_are_recalled(tmp_path: Path) -> None:
    """A failure is never kept; what is no list of passed checks is none."""
    path = tmp_path / "checked" / "one.json"
    assert memory.recall(path) is None
    memory.remember(path, (PASSED, FAILED))
    assert memory.recall(path) is None
    memory.remember(path, (PASSED,))
    assert memory.recall(path) == (PASSED,)
    failed = json.dumps([{**dataclasses.asdict(FAILED)}])
    for text in ("[]", "{}", "null", "[1]", '[{"cell": 1}]', "nonsense", "[" * 9, failed, failed.replace("fail", "x")):
        path.write_text(text)
        assert memory.recall(path) is None


def test_a_check_that_is_edited_while_it_runs_is_not_remembered(
    checkout: Path, tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows which of the two it was that passed."""
    paths = Paths(checkout, tmp_path / "matrix.yaml")
    check = checkout / "tests" / "image" / "test_runs.py"

    def edits(*arguments: object, **options: object) -> "tuple[Verdict, ...]":
        check.write_bytes(check.read_bytes() + b"\n")
        return (PASSED,)

    monkeypatch.setattr(verify, "verify", edits)
    assert memory.checked(paths, plan, "sha256:a", "auto") == (PASSED,)
    assert memory.recall_any(paths, plan, "sha256:a", memory.code(checkout)) is None
    monkeypatch.setattr(verify, "verify", lambda *arguments, **options: (PASSED,))
    memory.checked(paths, plan, "sha256:a", "auto")
    assert memory.recall_any(paths, plan, "sha256:a", memory.code(checkout)) == (PASSED,)
    assert memory.recall_any(paths, plan, "sha256:b", memory.code(checkout)) is None


def test_imports_are_those_that_python_sees() -> None:
    """Of every module here; only a text that looks like an import may add one."""
    for folder in ("torchdev", "tests/image", "workloads", "bench"):
        for path in (ROOT / folder).rglob("*.py"):
            seen = set()
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    seen |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    assert not node.level, f"{path}: name the package"
                    seen |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
            assert seen <= set(imports.imported(path)), path


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import a", ["a"]),
        ("import a.b as c, d", ["a.b", "d"]),
        ("if x:\n    from a import b as c", ["a", "a.b"]),
        ("from a import (  # why\n    b,\n    c as d,  # because, of e\n)", ["a", "a.b", "a.c"]),
        ("from a import b; import c", ["a", "a.b", "c"]),
        ("x = 1", []),
    ],
)
def test_forms_of_imports(tmp_path: Path, source: str, names: "list[str]") -> None:
    """One line or several, renamed, in a function."""
    path = tmp_path / "module.py"
    path.write_text(source + "\n")
    assert list(imports.imported(path)) == names
