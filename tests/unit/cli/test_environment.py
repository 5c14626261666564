"""What stands at .venv: entered if it is an environment, once; else told, and never lost."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit import forked
from tests.unit.conftest import ROOT

Make = Callable[[Path], None]
BARE = [str(Path(sys.executable).resolve()), "-S", "-I"]
"""A Python without any package."""


def bare(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run build.py of a checkout by a Python that lacks all packages; an endless loop is an error."""
    command = [*BARE, str(folder / "build.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=folder)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the command line needs before it has packages."""
    folder = tmp_path / "a b"
    folder.mkdir()
    (folder / "torchdev").symlink_to(ROOT / "torchdev")
    for name in ("build.py", "requirements.txt"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def _file(place: Path) -> None:
    place.write_text("not a folder")


def _broken_link(place: Path) -> None:
    place.symlink_to("nowhere")


def _loop(place: Path) -> None:
    place.symlink_to(".venv")


def _program(text: str, mode: int = 0o755) -> Make:
    def make(place: Path) -> None:
        (place / "bin").mkdir(parents=True)
        (place / "bin" / "python").write_text(text)
        (place / "bin" / "python").chmod(mode)

    return make


def _python(target: str) -> Make:
    def make(place: Path) -> None:
        (place / "bin").mkdir(parents=True)
        (place / "bin" / "python").symlink_to(target)

    return make


def _venv(place: Path) -> None:
    subprocess.run([*BARE[:1], "-m", "venv", "--without-pip", str(place)], check=True)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_file, "not all of torchdev's own Python packages"),
        (Path.mkdir, "not all of torchdev's own Python packages"),
        (_broken_link, "not all of torchdev's own Python packages"),
        (_loop, "not all of torchdev's own Python packages"),
        (_python("python"), "not all of torchdev's own Python packages"),
        (_python("/nowhere/python3"), "not all of torchdev's own Python packages"),
        (_python(BARE[0]), "not all of torchdev's own Python packages"),
        (_venv, "not all of torchdev's own Python packages"),
        (_program("#!/nowhere/python3\n"), "does not start: No such file"),
        (_program("#!/bin/sh\n", 0o644), "does not start: Permission denied"),
        (_program("\x7fELF"), "does not start: Exec format error"),
    ],
)
def test_what_is_no_environment_is_told(make: Make, said: str, checkout: Path) -> None:
    """With exit code 2, a next command, and neither traceback nor loop."""
    make(checkout / ".venv")
    done = bare(checkout, "list")
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "next: " in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error:") == 1


@pytest.mark.parametrize("make", [_file, _broken_link, _python(BARE[0]), _program("#!/bin/sh\n")])
def test_what_torchdev_did_not_make_is_left_alone(make: Make, checkout: Path) -> None:
    """The command refuses, and says how to move it out of the way."""
    make(checkout / ".venv")
    done = bare(checkout, "check", "--quick", "--yes")
    assert done.returncode == 2, done.stderr
    assert "was not made by torchdev" in done.stderr
    assert f"next: mv '{checkout}/.venv' '{checkout}/.venv-old'; then " in done.stderr
    assert os.path.lexists(checkout / ".venv")


def test_the_users_own_words_are_repeated_after_entering(checkout: Path) -> None:
    """Messages from within .venv name the interpreter that was typed."""
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (checkout / ".venv" / "bin" / "python").chmod(0o755)
    (checkout / "m.yaml").write_text('image: t\nrows:\n  - {python: "3.11", cuda: cpu, torch: "2.13.0"}\n')
    done = bare(checkout, "nosuch", "--matrix-file", "m.yaml")
    assert done.returncode == 2
    assert f"next: {BARE[0]} '{checkout}/build.py' list --matrix-file m.yaml\n" in done.stderr


def test_a_variable_of_another_process_changes_nothing() -> None:
    """What says that .venv was entered holds for one process, not for its children."""
    done = forked.build_py("list", TORCHDEV_ENTERED='1 ["x"]')
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["class Foo: ...", "import sys; sys.exit(9)"])
def test_a_module_on_pythonpath_takes_no_packages_place(module: str, checkout: Path) -> None:
    """In torchdev's own environment; what a user keeps there for other programs is not torchdev's."""
    (checkout / "own").mkdir()
    for name in ("yaml", "docker", "pydantic", "requests", "packaging"):
        (checkout / "own" / f"{name}.py").write_text(module)
    (checkout / ".venv").symlink_to(sys.prefix)
    (checkout / "matrix.yaml").write_text(
        'image: x\ncompanions: []\nrows:\n  - {python: "3.11", cuda: cpu, torch: "2.13.0"}\n'
    )
    for program in (sys.executable, str(checkout / ".venv" / "bin" / "python")):
        done = subprocess.run(
            [program, str(checkout / "build.py"), "list"], capture_output=True, text=True, timeout=60,
            env={**os.environ, "PYTHONPATH": f"{checkout / 'own'}{os.pathsep}{ROOT}"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "py311-cpu-torch2.13.0" in done.stdout


def test_what_runs_before_entering_needs_no_package() -> None:
    """The parser loads on the standard library alone."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from torchdev.cli import arguments, environment"
    code += "; from torchdev.util import texts"
    subprocess.run([*BARE, "-c", code], check=True, timeout=60)
