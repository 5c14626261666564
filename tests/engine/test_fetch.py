"""A wheel is fetched once per machine: what another build has fetched is taken from the builder's cache."""

import dataclasses
import hashlib
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.fake_engine import session_of
from tests.unit.fake_index import FakeIndex, make_wheel, serving
from torchdev.catalog.bases import Base
from torchdev.docgen.project import Project
from torchdev.engine.client import Engine
from torchdev.image import render
from torchdev.image.paths import Paths
from torchdev.image.plan import Plan, make_plan
from torchdev.pipeline import bake
from torchdev.pipeline.inventory import Inputs
from torchdev.util.errors import BuildError
from torchdev.wheels.host import read_host
from torchdev.wheels.lock import Package

GATEWAY = "172.17.0.1"
"""This machine as containers of Docker's default network see it."""


@pytest.fixture
def index(engine: Engine) -> Iterator[FakeIndex]:
    """An index that builds can reach, with two wheels whose names no other run has used."""
    try:
        with serving(FakeIndex(), GATEWAY) as index:
            for number in (1, 2):
                name = f"torchdev_test_{uuid.uuid4().hex[:12]}_{number}"
                index.put(f"simple/{name.replace('_', '-')}", f"{name}-1.0-py3-none-any.whl", make_wheel(name, "1.0"))
            yield index
    except OSError as error:
        pytest.skip(f"the engine's network is not at {GATEWAY}: {error.strerror}")


def packages_of(index: FakeIndex) -> "list[Package]":
    """The wheels of the index, as a lock has them."""
    found = []
    for page, files in index.pages.items():
        for file, content in files.items():
            sha256 = hashlib.sha256(content).hexdigest()
            found.append(
                Package(
                    name=page.partition("/")[2],
                    version="1.0",
                    file=file,
                    sha256=sha256,
                    size=len(content),
                    installed=len(content),
                )
            )
    return found


def fetch(
    engine: Engine,
    project: Project,
    plan: Plan,
    index: FakeIndex,
    packages: "list[Package]",
    to: Path,
    made: "tuple[Base, ...]",
    stage: str = "fetch-packages",
) -> None:
    """Build the stage that fetches the layer `packages` of a cell that has just these wheels, or another stage."""
    lock = dataclasses.replace(plan.lock, packages=tuple(packages))
    own = make_plan("torchdev-test-fetch", plan.cell, lock, plan.bases, ())
    paths = Paths(project.paths.checkout, to / "matrix.yaml")
    render.write_cell(own, paths.templates, paths.images)
    own_host = dataclasses.replace(
        read_host(), index=f"{index.url}/simple", extra_indexes=(), find_links=(), folders=(), proxies=()
    )
    bake.build(session_of(engine, paths, host=read_host(), made=made), Inputs(paths), own, "tool")
    bake.build(session_of(engine, paths, host=own_host, made=made), Inputs(paths), own, stage)


def test_wheels_are_fetched_once_and_broken_downloads_go_on(
    engine: Engine, project: Project, plan: Plan, index: FakeIndex, tmp_path: Path, made: "tuple[Base, ...]"
) -> None:
    """The first download breaks off and goes on from there; the second build asks for the second wheel alone."""
    first, second = packages_of(index)
    file = f"files/simple/{first.name}/{first.file}"
    index.broken[file] = "once"
    fetch(engine, project, plan, index, [first], tmp_path / "first", made)
    assert index.fetched.count(file) == 2
    index.fetched.clear()
    fetch(engine, project, plan, index, [first, second], tmp_path / "second", made)
    assert [path for path in index.fetched if path.startswith("files/")] == [
        f"files/simple/{second.name}/{second.file}"
    ]


def test_a_wheel_with_another_hash_is_refused(
    engine: Engine, project: Project, plan: Plan, index: FakeIndex, tmp_path: Path, made: "tuple[Base, ...]"
) -> None:
    """Neither fetched nor kept: the build fails."""
    first, _ = packages_of(index)
    with pytest.raises(BuildError):
        fetch(engine, project, plan, index, [dataclasses.replace(first, sha256="0" * 64)], tmp_path, made)


def test_wheels_that_the_cache_has_lost_are_fetched_again(
    engine: Engine,
    project: Project,
    plan: Plan,
    index: FakeIndex,
    tmp_path: Path,
    made: "tuple[Base, ...]",
    base: str,
) -> None:
    """BuildKit still knows that they were fetched, so the stage that fetches does not run again by itself."""
    first, _ = packages_of(index)
    fetch(engine, project, plan, index, [first], tmp_path, made)
    mount = "--mount=type=cache,id=torchdev-wheels,target=/cache"
    stage = f"FROM {base}\nRUN {mount} rm /cache/wheels/{first.file}"
    command = ["docker", "buildx", "build", "--quiet", "--output=type=cacheonly", "-"]
    subprocess.run(command, input=f"{stage} # {uuid.uuid4().hex}\n", text=True, check=True)
    index.fetched.clear()
    fetch(engine, project, plan, index, [first], tmp_path, made, "made-packages")
    assert [path for path in index.fetched if path.startswith("files/")] == [f"files/simple/{first.name}/{first.file}"]
