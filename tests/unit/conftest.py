"""Shared makings of the unit tests: no Docker, no network, no clock."""

import dataclasses
import hashlib
import os
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from torchdev.catalog import builds
from torchdev.catalog.bases import bases_of
from torchdev.image.plan import Plan, make_plan
from torchdev.matrix.load import Cell, Matrix, load
from torchdev.util.positions import Position
from torchdev.wheels import pip_settings, remote
from torchdev.wheels.lock import Lock, Package, inputs_digest

ROOT = Path(__file__).parents[2]

MATRIX = """\
image: torchdev
packages: [numpy]
rows:
  - {python: ["3.11", "3.13"], cuda: cu130, torch: ["2.13.0"]}
"""

# How many inputs each property test makes up: few while one works, the same each time; 500 others each time in CI.
# What they find wrong is kept as a line @example, since nothing else is: there is no database.
COMMON = settings(
    database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.register_profile("few", COMMON, max_examples=25, derandomize=True)
settings.register_profile("ci", COMMON, max_examples=500, derandomize=False, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "few"))


MOST_PROCESSES = 4
"""More would begin for longer than they run tests."""


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Whole folders are tested by a process a core, as `-n auto` does; some tests, or with `-n 0` all, by this one."""
    option = config.option
    shared = config.pluginmanager.hasplugin("xdist") and not hasattr(config, "workerinput")
    chosen = option.keyword or getattr(option, "lf", False) or not all(Path(name).is_dir() for name in config.args)
    alone = option.usepdb or option.collectonly or option.capture == "no" or chosen
    if shared and not alone and option.numprocesses is None:
        option.numprocesses, option.maxprocesses = "auto", option.maxprocesses or MOST_PROCESSES


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for an index to answer at the second try, or for a disk to hold what a power cut would take."""
    monkeypatch.setattr(remote, "RETRIES", 0)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def forked_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pip say in a fork of this process how it is configured: it takes as long to start as a test may run."""
    from tests.unit.forked import Pip

    monkeypatch.setattr(pip_settings, "_start", Pip)


@pytest.fixture
def load_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Load a program below templates/ that works on site-packages, as a module whose SITE is the test's own folder."""

    def make(name: str) -> Any:
        monkeypatch.setattr("sys.dont_write_bytecode", True)
        monkeypatch.syspath_prepend(str(ROOT / "templates" / "scripts"))
        loader = SourceFileLoader(Path(name).name.replace("-", "_"), str(ROOT / "templates" / name))
        spec = spec_from_loader(loader.name, loader)
        assert spec
        module = module_from_spec(spec)
        loader.exec_module(module)
        monkeypatch.setattr(module, "SITE", tmp_path, raising=False)
        return module

    return make


@pytest.fixture
def matrix_of(tmp_path: Path) -> Callable[[str], Matrix]:
    """Load a matrix from its text."""

    def make(text: str) -> Matrix:
        path = tmp_path / "matrix.yaml"
        path.write_text(text, encoding="utf-8")
        return load(path)

    return make


def make_package(name: str, version: str = "1.0", tags: str = "py3-none-manylinux_2_27_x86_64") -> Package:
    """A package with made-up hash and sizes (10 bytes to fetch, 20 unpacked)."""
    return Package(
        name=name,
        version=version,
        file=f"{name.replace('-', '_')}-{version}-{tags}.whl",
        sha256="ab" * 32,
        size=10,
        installed=20,
    )


@pytest.fixture(scope="session")
def small_catalog() -> str:
    """The text of a catalog that has of each project one build of each kind: what is wrong in it is found fast."""
    known = builds.load()
    kinds = {(build.project, build.origin, build.source, build.arch): build for build in known.builds}
    return builds.to_text(dataclasses.replace(known, builds=tuple(kinds.values())))


@pytest.fixture
def cell() -> Cell:
    """A cell on CUDA 13.0."""
    return Cell(
        python="3.11",
        flavour="cu130",
        torch="2.13.0",
        requirements=("torch==2.13.0", "filelock"),
        position=Position("matrix.yaml", 6, 5),
    )


def make_lock(cell: Cell, packages: tuple[Package, ...]) -> Lock:
    """A lock of a cell, of packages that are right for it."""
    return Lock(
        cell=cell.id,
        python=cell.python,
        platform="linux/amd64",
        inputs=inputs_digest(cell),
        uv=make_package("uv", "0.13.9"),
        packages=packages,
    )


@pytest.fixture
def lock(cell: Cell) -> Lock:
    """A small lock with one package of each kind."""
    own = "cp311-cp311-manylinux_2_28_x86_64"
    packages = (
        make_package("cuda-bindings", "13.5.0", own),
        make_package("filelock", "4.2", "py3-none-any"),
        make_package("nvidia-cublas", "13.1.1.3"),
        make_package("nvidia-cuda-runtime", "13.0.96"),
        make_package("nvidia-cudnn-cu13", "9.20.0.48"),
        make_package("nvidia-nccl-cu13", "2.29.7"),
        make_package("nvidia-nvshmem-cu13", "3.4.5"),
        make_package("torch", "2.13.0", own),
        make_package("triton", "3.7.1", own),
    )
    return make_lock(cell, packages)


@pytest.fixture
def plan(cell: Cell, lock: Lock) -> Plan:
    """The plan of the small lock, with known base digests."""
    names = ("debian:bookworm-slim", "python:3.11-slim-bookworm")
    digests = {name: f"sha256:{number * 64}" for number, name in zip("12", names, strict=True)}
    return make_plan("torchdev", cell, lock, bases_of("3.11", digests), ("py311-cu130",))


def distinct(package: Package) -> Package:
    """A wheel with a hash of its own; the small lock has one for all."""
    return dataclasses.replace(package, sha256=hashlib.sha256(package.file.encode()).hexdigest())


@pytest.fixture
def first(plan: Plan) -> Plan:
    """The plan of the small lock, with nothing left out of the layers: more than they have would be."""
    layers = tuple(dataclasses.replace(x, packages=tuple(map(distinct, x.packages)), slim=False) for x in plan.layers)
    return dataclasses.replace(plan, layers=layers)


@pytest.fixture
def second(first: Plan, cell: Cell) -> Plan:
    """The same on another Python."""
    python = dataclasses.replace(first.python, name="python:3.13-slim-bookworm")
    return dataclasses.replace(first, cell=dataclasses.replace(cell, python="3.13"), python=python)
