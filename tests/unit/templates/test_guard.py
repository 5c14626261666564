"""What torchdev-doctor decides of the guard, and the steps that make it, apart from an image."""

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.unit.conftest import ROOT

CONTRACT = {"packages": {"torch": "2.14.1+cu130"}, "python": {"site_packages": "/kept"}}
GUARDED: dict[str, Any] = {
    "python": {"torch": "/kept/torch/__init__.py", "pip": ["/usr/local/share/torchdev/constraints.txt"]},
    "wait": 2.4,
    "uv": "you require torch==0 and torch==2.14.1+cu130",
    "bounds": ["torch===2.14.1+cu130"],
    "removable": [],
    "unguarded": False,
    "needed": [],
}


@pytest.fixture
def guard(of_doctor: "Callable[[str], ModuleType]") -> ModuleType:
    """The doctor's module on the guard."""
    return of_doctor("guard")


@pytest.mark.parametrize(
    ("changed", "level", "said"),
    [
        ({}, "ok", "keep PyTorch"),
        ({"bounds": []}, "fault", "pip would replace PyTorch"),
        ({"python": {"torch": "/kept/torch/__init__.py", "pip": ["/tmp/own.txt"]}}, "fault", "pip would"),
        ({"python": {"torch": "/kept/torch/__init__.py", "pip": None}}, "ok", "keep PyTorch"),
        ({"python": {"torch": "/other/torch/__init__.py", "pip": None}}, "fault", "torch from /other"),
        ({"python": {"torch": None, "pip": None}}, "fault", "torch from nowhere"),
        ({"uv": "torch was not found and you require torch==0"}, "fault", "uv would replace PyTorch"),
        ({"uv": "error: no space left on device"}, "ok", "keep PyTorch"),
        ({"uv": ""}, "can't", "uv did not answer"),
        ({"python": {}, "uv": ""}, "can't", "python and uv did not answer"),
        ({"removable": ["torch-2.14.1"]}, "fault", "installers may remove torch-2.14.1"),
        ({"unguarded": True, "bounds": []}, "note", "torchdev-unguard"),
    ],
)
def test_what_is_in_force_decides(guard: ModuleType, changed: dict[str, Any], level: str, said: str) -> None:
    """What Python, pip and uv answered, and nothing else; no answer is no fault."""
    (finding,) = guard.judge(CONTRACT, GUARDED | changed)
    assert (finding.level, finding.subject) == (level, "guard")
    assert said in finding.what


@pytest.mark.parametrize(
    ("version", "bounds", "within"),
    [
        ("4.16.0", ">=4.10.0", True), ("4.5.0", ">=4.10.0", False), ("4.10", ">=4.10.0", True),
        ("3.13.0", ">=3.2", True),
        ("81.0", "<82", True), ("82.0.1", "<82", False), ("1.13.1", "==1.13.1", True), ("1.13.3", "==1.13.1", False),
        ("13.5.0", "<14,>=13.0.3", True), ("13.0.1", "<14,>=13.0.3", False), ("3.8.1", "~=3.8.0", True),
        ("3.9.0", "~=3.8.0", False), ("8.3.2", "!=8.3.*,>=5.3.0", False), ("8.4", "!=8.3.*,>=5.3.0", True),
        ("2.0rc1", ">=1.9", True), ("1.0", "===1.0", True),
    ],
)  # fmt: skip
def test_versions_lie_within_bounds(guard: ModuleType, version: str, bounds: str, within: bool) -> None:
    """By the numbers of the release, as installers compare them."""
    assert guard.within(version, bounds) == within


def test_what_torch_needs_is_told_with_what_to_do(guard: ModuleType) -> None:
    """Too old is a fault; removed is a note, since a copy is kept."""
    needed = [["sympy", ">=1.13.3", ""], ["fsspec", ">=0.8.5", "2026.9"], ["typing-extensions", ">=4.10.0", "4.5.0"]]
    *found, last = guard.judge(CONTRACT, GUARDED | {"needed": needed})
    assert [(one.level, one.subject) for one in found] == [("note", "needed"), ("fault", "needed")]
    assert found[1].next == 'pip install "typing-extensions>=4.10.0"'
    assert last.level == "ok"


def distribution(folder: Path, name: str, version: str, requires: "list[str]", files: "list[str]") -> None:
    """An installed package."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    (info / "METADATA").write_text("\n".join(lines) + "\n\nRequires-Dist: nothing\n")
    rows = [*files, f"{info.name}/METADATA", f"{info.name}/RECORD"]
    (info / "RECORD").write_text("".join(f"{row},,\n" for row in rows))
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(name)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """A torch that is kept, and packages that come and go."""
    kept, free = tmp_path / "site-packages", tmp_path / "packages"
    needs = ["sympy>=1.13", "filelock", 'optree>=0.13; extra == "optree"']
    distribution(kept, "torch", "2.14.1", needs, ["torch/version.py", "../../bin/torchrun"])
    (kept / "torch" / "version.py").write_text("__version__ = '2.14.1+cu130'\n")
    distribution(free, "sympy", "1.14", ["mpmath<1.4"], ["sympy/__init__.py"])
    distribution(free, "mpmath", "1.3", [], ["mpmath/__init__.py"])
    distribution(free, "optree", "0.14", [], ["optree/__init__.py"])
    (free / "sympy" / "__pycache__").mkdir()
    (free / "sympy" / "__pycache__" / "__init__.cpython-311.pyc").write_text("code")
    return {"KEPT": kept, "FREE": free, "NEEDED": tmp_path / "needed"}


def test_what_torch_needs_is_linked(
    folders: dict[str, Path], load_step: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Directly or not, with bytecode, without extras; the same file by another name."""
    step = load_step("steps/link-needed")
    for name, path in folders.items():
        monkeypatch.setattr(step, name, path)
    step.main()
    needed = folders["NEEDED"]
    assert {path.name for path in needed.iterdir()} == {"sympy", "mpmath"}
    assert (needed / "sympy/__pycache__/__init__.cpython-311.pyc").exists()
    assert (needed / "sympy/__init__.py").samefile(folders["FREE"] / "sympy/__init__.py")


def test_what_is_kept_is_shown_without_its_record(
    folders: dict[str, Path], load_step: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In the version that torch says; the RECORD is elsewhere, and names what is there from the kept folder."""
    step = load_step("steps/guard")
    for name, path in (folders | {"RECORDS": tmp_path / "records"}).items():
        monkeypatch.setattr(step, name, path, raising=False)
    (tmp_path / "records").mkdir()
    program = folders["KEPT"] / "../../bin/torchrun"
    assert program.exists()
    assert step.show(folders["KEPT"] / "torch-2.14.1.dist-info") == ("torch", "2.14.1+cu130")
    shown = folders["FREE"] / "torch-2.14.1+cu130.dist-info"
    assert sorted(path.name for path in shown.iterdir()) == ["INSTALLER", "METADATA"]
    assert "\nVersion: 2.14.1+cu130\n" in (shown / "METADATA").read_text()
    assert not (folders["KEPT"] / "torch-2.14.1.dist-info").exists()
    rows = (tmp_path / "records" / "torch-2.14.1+cu130.csv").read_text().splitlines()
    paths = [row.partition(",")[0] for row in rows]
    assert paths[:2] == ["torch/version.py", "../../bin/torchrun"]
    assert all((folders["KEPT"] / path).exists() for path in paths)


def load_pips_changes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What the image's pip does otherwise than others."""
    monkeypatch.syspath_prepend(str(ROOT / "templates" / "files"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "torchdev_pip", raising=False)
    return importlib.import_module("torchdev_pip")


@pytest.mark.parametrize(
    ("command", "options", "here"),
    [
        ("install", {}, True),
        ("download", {}, False),
        ("wheel", {}, False),
        ("lock", {}, False),
        ("install", {"target_dir": "/tmp/else"}, False),
        ("install", {"target_dir": "/usr/local/lib/python/packages"}, True),
        ("install", {"target_dir": "/usr/local/lib/python/../python/site-packages/"}, True),
        ("install", {"target_dir": "/usr/local/lib/pythonic"}, False),
        ("install", {"root_path": "/tmp/else"}, False),
        ("install", {"root_path": "/"}, True),
        ("install", {"prefix_path": "/tmp/else"}, False),
        ("install", {"prefix_path": sys.prefix}, True),
        ("install", {"prefix_path": f"{sys.prefix}/lib/.."}, True),
    ],
)
def test_bounds_are_for_what_is_installed_here(
    monkeypatch: pytest.MonkeyPatch, command: str, options: dict[str, str], here: bool
) -> None:
    """By whatever name a command has for the folders of this Python."""
    module = load_pips_changes(monkeypatch)
    assert module.installs_here(command, SimpleNamespace(**options)) == here


@pytest.mark.parametrize(
    ("before", "after"),
    [("{}", None), ("/tmp/own.txt {}", "/tmp/own.txt"), ("{} /tmp/own.txt", "/tmp/own.txt"), (None, None)],
)
def test_what_pip_starts_has_the_bounds_of_its_user_alone(
    monkeypatch: pytest.MonkeyPatch, before: "str | None", after: "str | None"
) -> None:
    """Environments in which packages are built, and other Pythons, may have any PyTorch."""
    module = load_pips_changes(monkeypatch)
    monkeypatch.delenv("PIP_CONSTRAINT", raising=False)
    if before is not None:
        monkeypatch.setenv("PIP_CONSTRAINT", before.format(module.BOUNDS))
    module.unbound_environment()
    assert os.environ.get("PIP_CONSTRAINT") == after


class Factory:
    """What pip's factory of candidates has for requirements: told by what it was told."""

    def __init__(self, forced: bool, installed: "dict[str, Any]") -> None:
        self._force_reinstall, self._installed_dists = forced, installed
        self.torchdev_kept = {"uv": SimpleNamespace(canonical_name="uv", version="0.13.9")}

    def _iter_found_candidates(self, ireqs: "list[Any]", specifier: str, **_: Any) -> tuple[bool, list[str], str]:
        return self._force_reinstall, sorted(self._installed_dists), specifier


@pytest.mark.parametrize(("forced", "installed"), [(True, {"six": 1}), (False, {}), (False, {"six": 1})])
def test_what_is_kept_is_installed_whatever_pip_is_told(
    monkeypatch: pytest.MonkeyPatch, forced: bool, installed: "dict[str, Any]"
) -> None:
    """For its own requirements alone: those of others see what pip was told (--ignore-installed, --force-reinstall)."""
    module = load_pips_changes(monkeypatch)
    told = type("Told", (Factory,), {"_iter_found_candidates": Factory._iter_found_candidates})
    module.change_factory(SimpleNamespace(Factory=told))
    factory = told(forced, installed)

    def found(*names: str) -> tuple[bool, list[str], str]:
        ireqs = [SimpleNamespace(req=SimpleNamespace(name=name)) for name in names]
        return factory._iter_found_candidates(ireqs, "==1", hashes=None)

    assert found("UV") == (False, ["uv"], "==1")
    assert found("six") == found() == (forced, sorted(installed), "==1")


@pytest.mark.parametrize(
    ("forced", "installed", "is_installed", "refused"),
    [
        (True, {"uv": 1}, False, True),
        (False, {}, False, True),
        (False, {"uv": 1}, False, False),
        (True, {"uv": 1}, True, False),
    ],
)
def test_a_file_of_what_is_kept_is_refused_where_pip_would_write_it(
    monkeypatch: pytest.MonkeyPatch, forced: bool, installed: "dict[str, Any]", is_installed: bool, refused: bool
) -> None:
    """Where it is told so; else pip says itself that it has that release."""
    module = load_pips_changes(monkeypatch)
    six, uv = (SimpleNamespace(project_name=name, is_installed=is_installed) for name in ("six", "uv"))
    said = module.installed_again(Factory(forced, installed), [six, uv])
    assert bool(said) == refused
    assert not said or "uv 0.13.9" in said
