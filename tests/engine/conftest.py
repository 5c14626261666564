"""A real engine; without one these tests are skipped, with the reason."""

import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.engine.bridge import bridge
from tests.unit.conftest import ROOT
from torchdev.bases import bootstrap
from torchdev.catalog.bases import Base
from torchdev.docgen.project import Project, open_project
from torchdev.engine.client import Engine
from torchdev.image.plan import Plan
from torchdev.util.errors import EngineError

PATIENCE = 30
"""Seconds for an engine to start."""
TOGETHER = {
    "cells": ("test_pipeline", "test_push", "test_unchanged", "test_batches"),
    "engines": ("test_bench", "test_builders", "test_podman", "test_secrets"),
}
"""Modules whose tests never run at the same time: those of cells remove steps of builds, and set remembered checks
aside; those of engines start one each."""
TINY = """\
FROM {base} AS debian
RUN mkdir -p /tiny/bin /tiny/lib /tiny/tmp && cd /tiny/bin && cp $(which {programs}) . \\
 && ldd * | grep -o '/[^ ]*\\.so[^ ]*' | sort -u | xargs -I FILE cp --parents FILE /tiny
FROM scratch
COPY --from=debian /tiny /
"""
PROGRAMS = "sh cat echo head mkdir sleep touch true"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where several tests run at once, those of a module stay together, and modules that would disturb each other.

    pytest-xdist's own --dist loadgroup passes its marks over with pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    of = {module: group for group, modules in TOGETHER.items() for module in modules}

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module = Path(nodeid.partition("::")[0]).stem
            return of.get(module, module)

    return Together(config, log)


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The engine, or a skip."""
    try:
        return Engine()
    except EngineError as error:
        pytest.skip(error.what)


@pytest.fixture(scope="session")
def project() -> Project:
    """The checkout that the tests are part of."""
    return open_project(ROOT, ROOT / "matrix.yaml")


@pytest.fixture(scope="session")
def plan(project: Project, engine: Engine) -> Plan:
    """The first cell, whose image must have been built before."""
    plan = project.plans(project.matrix.cells[:1])[0]
    if not engine.image(plan.tags[0]):
        pytest.skip(f"needs {plan.tags[0]}: python build.py {plan.cell.id}")
    return plan


@pytest.fixture(scope="session")
def small(engine: Engine) -> Plan:
    """The cell without CUDA of tests/cpu, whose image must have been built before."""
    project = open_project(ROOT, ROOT / "tests" / "cpu" / "matrix.yaml")
    plan = project.plans(project.matrix.cells[:1])[0]
    if not engine.image(plan.tags[0]):
        own = "--matrix-file tests/cpu/matrix.yaml"
        made = f"python build.py render {own}; python build.py {plan.cell.id} {own}"
        pytest.skip(f"needs {plan.tags[0]}: {made}")
    return plan


@pytest.fixture(scope="session")
def made(engine: Engine, project: Project) -> "tuple[Base, ...]":
    """Those of the first cell's bases that builds take substitutes for, by the code by which builds choose."""
    plan = project.plans(project.matrix.cells[:1])[0]
    found = bootstrap.choose(engine, list(plan.bases))
    if not all(engine.image(base.substitute) for base in found):
        pytest.skip(f"needs bases: python build.py bootstrap {plan.cell.id}")
    return tuple(found)


@pytest.fixture(scope="session")
def debian(engine: Engine, project: Project, made: "tuple[Base, ...]") -> str:
    """A Debian on this engine to build small things on: the official one, which is pulled, or its substitute."""
    wanted = project.plans(project.matrix.cells[:1])[0].debian
    if wanted in made:
        return wanted.substitute
    if not engine.image(wanted.ref):
        subprocess.run(["docker", "pull", "--quiet", wanted.ref], check=True)
    return wanted.ref


@pytest.fixture(scope="session")
def base(debian: str) -> str:
    """What tests build small things on: Debian, unless a module says that less will do."""
    return debian


@pytest.fixture(scope="session")
def tiny(engine: Engine, debian: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image of a few megabytes with a shell, one layer as bases have it, for tests that send images somewhere."""
    name, archive = f"torchdev-test-tiny:{uuid.uuid4().hex[:8]}", tmp_path_factory.mktemp("tiny") / "root.tar"
    text = TINY.format(base=debian, programs=PROGRAMS)
    command = ["docker", "build", "--quiet", f"--output=type=tar,dest={archive}", "-"]
    subprocess.run(command, input=text, text=True, check=True)
    engine.load_root(archive, name, {})
    yield name
    engine.untag(name)


@pytest.fixture
def build(engine: Engine, tmp_path: Path) -> "Callable[..., Path]":
    """Build a Dockerfile's text, without cache, under a tag; the log's path."""

    def run(text: str, tag: str, *options: str, context: Path | None = None) -> Path:
        (tmp_path / "Dockerfile").write_text(text)
        log = tmp_path / "log"
        command = ["build", "--no-cache", "--provenance=false", "--load", "--tag", tag, *options]
        engine.buildx([*command, "--file", str(tmp_path / "Dockerfile"), str(context or tmp_path)], log)
        return log

    return run


@dataclass(frozen=True)
class Second:
    """An engine of the tests' own: its socket, its process, and a builder that leads to its BuildKit."""

    socket: Path
    process: int
    builder: str


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Second]:
    """It runs in a network of its own, and has nothing of the other engine's."""
    if os.geteuid() or not all(map(shutil.which, ("dockerd", "unshare", "ip"))):
        pytest.skip("needs root, dockerd, unshare and ip, for an engine of its own")
    apart = subprocess.run(["unshare", "--net", "ip", "link", "set", "lo", "up"], capture_output=True, text=True)
    if apart.returncode:
        pytest.skip(f"needs a network of its own: {apart.stderr.strip()}")
    folder = tmp_path_factory.mktemp("second")
    (folder / "daemon.json").write_text(json.dumps({"features": {"containerd-snapshotter": True}}))
    paths = f"--config-file={folder}/daemon.json --data-root={folder}/data --exec-root={folder}/exec"
    where = f"--host=unix://{folder}/docker.sock --pidfile={folder}/pid --ip6tables=false"
    name = f"torchdev-test-{uuid.uuid4().hex[:8]}"
    # Where the machine has a containerd of its own, both engines are its clients.
    names = f"--containerd-namespace={name} --containerd-plugins-namespace={name}-plugins"
    command = f"ip link set lo up && exec dockerd {paths} {where} {names}"
    with (folder / "log").open("w") as log, bridge(str(folder / "docker.sock"), folder / "buildkit.sock") as address:
        engine = subprocess.Popen(["unshare", "--net", "sh", "-c", command], stdout=log, stderr=log)
        try:
            until = time.monotonic() + PATIENCE
            while not (folder / "docker.sock").exists():
                if engine.poll() is not None or time.monotonic() > until:
                    pytest.fail(f"a second engine does not start: {(folder / 'log').read_text()[-500:]}")
                time.sleep(0.2)
            subprocess.run(["docker", "buildx", "create", "--name", name, "--driver", "remote", address], check=True)
            yield Second(folder / "docker.sock", engine.pid, name)
        finally:
            subprocess.run(["docker", "buildx", "rm", name], check=False)
            engine.terminate()
            engine.wait(PATIENCE)
