"""The images that are broken on purpose, as cases.yaml has them, and what is made of a case."""

import subprocess
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from torchdev.image.contract import PACKAGES, SITE_PACKAGES

FILE = Path(__file__).parent / "cases.yaml"
EXCLUDED = ("test_workloads.py", "test_cnn.py", "test_devel.py", "test_users.py")
"""Modules of tests/image that run only for cases that name them: their checks have controls of their own, need another
image, or start a container each."""
OF_WHEELS = "test_records_are_those_of_the_locked_wheels"
"""A check that is not-run where no folder of this machine has the locked wheels."""
SLOW = (
    "test_compile_has_a_compiler",
    "test_torch_in_a_nested_environment",
    "test_an_activated_environment_is_honoured",
    "test_an_environment_in_a_parent_folder_is_honoured",
    "test_install_and_uninstall_leave_torch_whole",
    "test_an_environment_of_ones_own_may_have_any_torch",
    "test_any_user_has_a_home",
    "test_caches_have_a_place",
)
"""Checks that only cases which touch Python, pip, uv, variables or users run: two thirds of the time."""


LISTS: "dict[str, Callable[[list[str]], Collection[str]]]" = {"red": frozenset, "fetch": tuple, "modules": tuple}
"""What the file has as a list, and a case as something that does not change."""


@dataclass(frozen=True)
class Case:
    """An image broken on purpose: of which one, by which lines of a Dockerfile, and the checks that must turn red.

    `modules` are the only ones that are run, where there are any.
    """

    name: str
    red: frozenset[str]
    image: str = "cpu"
    steps: str = ""
    fetch: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    slow: bool = False
    in_check: bool = False


def read_cases() -> "list[Case]":
    """Every case, in the order of the file."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["cases"]
    return [
        Case(name, **{key: LISTS[key](value) if key in LISTS else value for key, value in case.items()})
        for name, case in found.items()
    ]


def dockerfile(case: Case, image: str) -> str:
    """The Dockerfile of a case, on top of a sound image; it runs as the image's own user, unless its steps say else."""
    user = "" if "\nUSER " in f"\n{case.steps}" else "USER 1000\n"
    text = f"FROM {image}\nUSER 0\n{case.steps.rstrip()}\n{user}"
    return text.replace("SITE", SITE_PACKAGES).replace("PACKAGES", PACKAGES)


def options(case: Case) -> "list[str]":
    """What pytest is told: the case's own modules, or all checks but those that take long and are not asked for."""
    if case.modules:
        return [f"tests/image/{name}" for name in case.modules]
    excluded = [f"--ignore=tests/image/{name}" for name in EXCLUDED]
    modules = [f"tests/image/{module}.py" for module in ("test_use", "test_runs")]
    slow = [] if case.slow else [f"--deselect={module}::{name}" for module in modules for name in SLOW]
    return ["tests/image", *excluded, *slow]


def fetch(case: Case, python: str, folder: Path) -> str:
    """Download a case's wheels, as this machine's pip finds them, to a folder; pip's last line if it can't."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", python, "--platform", "manylinux_2_28_x86_64", "--dest", str(folder)]
    done = subprocess.run([*command, *case.fetch], capture_output=True, text=True, check=False)
    return (done.stderr.strip().splitlines() or ["pip failed"])[-1] if done.returncode else ""
