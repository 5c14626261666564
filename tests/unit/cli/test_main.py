"""The command line is told before anything is installed; each command is a module of its name."""

import importlib
import subprocess
import sys
import tomllib
from collections.abc import Mapping

import pytest

from tests.unit.conftest import ROOT
from torchdev.cli import arguments

_, COMMANDS = arguments.parser(ROOT / "matrix.yaml")
BARE = [sys.executable, "-S", "-I", str(ROOT / "build.py")]
LINES = 40


@pytest.mark.parametrize("words", [["--help"], [], ["lock", "--help"], ["recipe", "--help"]])
def test_help_needs_the_standard_library_alone(words: "list[str]") -> None:
    """No package is there to be imported, and none that would be found by the current folder."""
    done = subprocess.run([*BARE, *words], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: build.py")


def test_the_version_is_told_without_the_environment() -> None:
    """It is the one of pyproject.toml, and that alone is written."""
    done = subprocess.run([*BARE, "--version"], capture_output=True, text=True, timeout=60)
    written = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert (done.returncode, done.stdout, done.stderr) == (0, f"torchdev {written}\n", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_a_module_of_its_name(name: str) -> None:
    """It is registered by that, and imported once the environment is entered."""
    assert isinstance(COMMANDS, Mapping)
    assert COMMANDS[name].get_default("module") == f"torchdev.cli.{name}"
    assert callable(importlib.import_module(f"torchdev.cli.{name}").run)


def test_the_entry_is_short() -> None:
    """It says which Python is needed, and starts the command line."""
    assert len((ROOT / "build.py").read_text().splitlines()) <= LINES
