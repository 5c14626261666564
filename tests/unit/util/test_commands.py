"""Next commands work as they are typed: whatever the matrix file is called, and whichever message names them."""

import ast
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.unit import forked
from tests.unit.conftest import ROOT
from torchdev.cli import arguments
from torchdev.util import commands
from torchdev.util.commands import STARTED, Started, build_py, written
from torchdev.util.errors import InputError

BUILD = ROOT / "build.py"
MATRIX = 'image: t\nrows:\n  - {python: "3.11", cuda: cpu, torch: "2.13.0"}\n'
PROSE = {"cli/arguments", "catalog/builds", "docgen/checkpage", "docgen/fullcheck", "docgen/pages", "image/render"}
"""Modules that may write `python build.py`: in --help, and in files that are the same however they were made."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """How this process was started, to be changed by a test."""
    monkeypatch.setattr(STARTED, "matrix_file", "")
    return STARTED


def test_a_command_names_the_matrix_file_where_it_is_read(started: Started) -> None:
    """Behind the stage, before a container's own words; not for stages that read none."""
    assert str(build_py("build", "py311-cpu")) == "python build.py py311-cpu"
    started.matrix_file = "a b/new.yaml"
    assert str(build_py("lock", "py311-cpu")) == "python build.py lock --matrix-file 'a b/new.yaml' py311-cpu"
    assert str(build_py("build", "py311-cpu")) == "python build.py --matrix-file 'a b/new.yaml' py311-cpu"
    assert str(build_py("doctor")) == "python build.py doctor"
    assert str(build_py("explain", "--help")) == "python build.py explain --help"
    started.matrix_file = "-x.yaml"
    assert str(build_py("render")) == "python build.py render --matrix-file=-x.yaml"


@pytest.mark.parametrize(
    "name",
    ["a b", "it's", "é", "*", 'a"b', "a\\x", r"\g<0>", "-x", "--check", "new\nline", "$(id)", "`id`", "t\x1b[31m",
     "tab\t", "a'\n\\'b", "\udcff\udcfe", "\udcffab", "~", "#x", "a;b", "!x", "\u202e"],
)  # fmt: skip
def test_every_word_survives_a_shell(name: str) -> None:
    """In one line of printable text, which a shell reads back as the same bytes."""
    line = written(["printf", "%s", name])
    assert line.isprintable()
    shell = shutil.which("bash")
    assert shell
    assert subprocess.run([shell, "-c", line], capture_output=True, check=True).stdout == os.fsencode(name)


@pytest.mark.parametrize("name", ["a b's.yaml", r"\g<0>.yaml", "-x.yaml", "n\nl.yaml", "\udcff.yaml"])
def test_the_next_command_of_a_message_runs(name: str, tmp_path: Path) -> None:
    """Typed into a shell, where build.py was started, it does not fail for its own words."""
    (tmp_path / name).write_text(MATRIX)
    done = forked.build_py("nosuch", f"--matrix-file={name}", folder=tmp_path)
    assert done.returncode == 2, done.stderr
    step = done.stderr.partition("next: ")[2]
    split = subprocess.run(["bash", "-c", f"printf '%s\\0' {step}"], cwd=tmp_path, capture_output=True, check=True)
    python, program, *words = map(os.fsdecode, split.stdout.split(b"\0")[:-1])
    assert [(tmp_path / python).resolve(), (tmp_path / program).resolve()] == [Path(sys.executable).resolve(), BUILD]
    again = forked.build_py(*words, folder=tmp_path)
    assert again.returncode == 0, (step, again.stderr)
    assert "py311-cpu-torch2.13.0" in again.stdout


def test_the_next_command_of_a_message_runs_in_a_shell(tmp_path: Path) -> None:
    """Where it starts the Python that was typed, and build.py."""
    (tmp_path / "a b's.yaml").write_text(MATRIX)
    done = forked.build_py("nosuch", "--matrix-file=a b's.yaml", folder=tmp_path)
    assert done.returncode == 2, done.stderr
    step = done.stderr.partition("next: ")[2]
    again = subprocess.run(["bash", "-c", step], cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0, (step, again.stderr)
    assert "py311-cpu-torch2.13.0" in again.stdout


@cache
def syntax_trees() -> "dict[Path, ast.Module]":
    """Every module of the package."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "torchdev").rglob("*.py")}


def named_commands() -> "Iterator[tuple[str, list[str]]]":
    """Every call of build_py in the package: its module, and its words, with an id for each that is not written out."""
    for path, tree in syntax_trees().items():
        for node in ast.walk(tree):
            own = path.stem == "arguments"  # which names the stage that refuses
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("build_py") and not own:
                yield f"{path.stem}:{node.lineno}", [_word(argument) for argument in node.args]


def test_a_command_ends_its_sentence() -> None:
    """So that a line's end, marked with a mouse, is what is to be typed."""
    for path, tree in syntax_trees().items():
        for node in ast.walk(tree) if "build_py(" in path.read_text(encoding="utf-8") else ():
            if isinstance(node, ast.Tuple):
                assert not any(ast.unparse(part).startswith("build_py(") for part in node.elts[:-1]), (
                    f"{path}:{node.lineno}"
                )


def _word(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    return "--python-prefix" if ast.unparse(node) == "prefix.OPTION" else "py311-cu130-torch2.13.0"


def test_every_command_that_a_message_names_parses() -> None:
    """By the real parser, with and without another matrix file."""
    found = dict(named_commands())
    assert len(found) > 20
    top, stages = arguments.parser(ROOT / "matrix.yaml")
    for place, words in found.items():
        assert words[0] in stages, place
        for matrix in ("", "a b.yaml", "-x.yaml"):
            STARTED.matrix_file, text = matrix, ""
            try:
                text = str(build_py(*words))
            finally:
                STARTED.matrix_file = ""
            _, _, *typed = shlex.split(text)
            typed = typed if typed[0] in stages else ["build", *typed]
            if "--help" not in typed:
                top.parse_args(typed)


def test_commands_are_no_text() -> None:
    """No other module spells one out, so that none can be without the matrix file."""
    for path, tree in syntax_trees().items():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and f"{path.parent.name}/{path.stem}" not in PROSE
            ):
                assert "python build.py" not in node.value, f"{path.name}:{node.lineno}"
                assert "python3 build.py" not in node.value, f"{path.name}:{node.lineno}"


def test_a_next_step_may_have_several_parts(started: Started) -> None:
    """Sentences stay as they are."""
    error = InputError("what", where="here", next_step=("do this, then ", build_py("render")))
    started.matrix_file = "my.yaml"
    assert str(error) == "here: what\n  next: do this, then python build.py render --matrix-file my.yaml"
    assert str(InputError("what")) == "what"
    assert commands.WITHOUT_MATRIX
