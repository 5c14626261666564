"""Modules of torchdev-doctor, as images have them: they lie side by side, and import each other by bare names."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from tests.unit.conftest import ROOT


@pytest.fixture
def of_doctor(monkeypatch: pytest.MonkeyPatch) -> "Iterator[Callable[[str], ModuleType]]":
    """Import a module of the doctor by its name; it and what it imports are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(ROOT / "templates" / "files" / "doctor"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield lambda name: program() if name == "__main__" else importlib.import_module(name)
    for name in set(sys.modules) - before:
        del sys.modules[name]


def program() -> ModuleType:
    """The doctor's __main__, whose name is pytest's here."""
    spec = importlib.util.spec_from_file_location("doctor_main", ROOT / "templates/files/doctor/__main__.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made
