"""Modules of torchdev-doctor, as images have them: they lie side by side, and import each other by bare names."""

import importlib
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
    yield importlib.import_module
    for name in set(sys.modules) - before:
        del sys.modules[name]
