"""Other builders and the other image store, on a second engine of the tests' own with containerd's store."""

import dataclasses
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import registry as registries
from tests.engine.conftest import Second
from tests.image.saved import search
from tests.unit.conftest import ROOT
from tests.unit.fake_engine import session_of
from torchdev.catalog.bases import Base
from torchdev.docgen.project import Project
from torchdev.engine import buildx, outputs
from torchdev.engine.client import Engine
from torchdev.engine.outputs import BuilderConfig
from torchdev.image.paths import Paths
from torchdev.image.plan import Plan
from torchdev.matrix.load import load
from torchdev.pipeline import batches
from torchdev.pipeline.push import push, remotes
from torchdev.pipeline.report import State
from torchdev.pipeline.session import BuildSession, Options, builder_config
from torchdev.util.errors import BuildError, EngineError
from torchdev.wheels.lock import Lock, inputs_digest

MATRIX = """\
image: {image}
rows:
  - {{python: ["3.11", "3.13"], cuda: cu130, torch: "2.13.0"}}
"""
DOCKERFILE = """\
FROM {base} AS shared
RUN head -c 100000 /dev/urandom > /shared # {mark}
FROM shared AS interpreter
FROM interpreter
RUN head -c 100000 /dev/urandom > /own # {mark} {python}
"""


@pytest.fixture(scope="session")
def base(tiny: str) -> str:
    """What is handed from one engine to another is small."""
    return tiny


@pytest.fixture
def cells(
    engine: Engine, project: Project, base: str, tmp_path: Path
) -> Iterator[tuple[BuildSession, tuple[Plan, ...]]]:
    """Two cells that share a step, on a substitute of their own for whatever base there is; a session for one engine.

    So no builder needs a registry.
    """
    image, mark = f"torchdev-test-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    own = Base(f"debian:bookworm-slim-{image}", None)
    engine.tag(base, own.substitute)
    first = dataclasses.replace(project.plans(project.matrix.cells[:1])[0], debian=own, python=own, tool=own)
    (tmp_path / "matrix.yaml").write_text(MATRIX.format(image=image))
    small = Project(Paths(ROOT, tmp_path / "matrix.yaml"), load(tmp_path / "matrix.yaml"))
    plans = []
    for cell in small.matrix.cells:
        lock = Lock(
            cell=cell.id,
            python=cell.python,
            platform="linux/amd64",
            inputs=inputs_digest(cell),
            uv=first.lock.uv,
            packages=(),
        )
        plans.append(dataclasses.replace(first, image=image, cell=cell, lock=lock, aliases=()))
        (small.images / cell.id).mkdir(parents=True)
        text = DOCKERFILE.format(base=first.debian.ref, python=cell.python, mark=mark)
        (small.images / cell.id / "Dockerfile").write_text(text)
    (tmp_path / "turns").mkdir()
    how = Options(test=False, jobs=2)
    session = session_of(engine, small.paths, made=(own,), options=how, lock_dir=tmp_path / "turns")
    yield session, tuple(plans)
    for name in (own.substitute, *(name for plan in plans for name in (plan.tags[0], plan.candidate))):
        engine.untag(name)


def log_of(session: BuildSession, plan: Plan) -> str:
    """BuildKit's log of a cell."""
    return (session.paths.work / "logs" / f"{plan.cell.id}.log").read_text()


def test_remote_builder(cells: tuple[BuildSession, tuple[Plan, ...]], second: Second, tmp_path: Path) -> None:
    """It knows no image of the engine: the substitute gets there as a layout, and what is built comes back."""
    session, plans = cells
    options = dataclasses.replace(session.options, builder=second.builder)
    builder, platforms = builder_config(session.engine, options, tmp_path)
    assert (builder.driver, platforms[0]) == ("remote", session.engine.platform())
    session = dataclasses.replace(session, options=options, builder=builder, platforms=platforms)
    results = batches.run(session, plans)
    assert [result.state for result in results] == [State.BUILT] * 2, results
    chains = [[name for name, _ in session.engine.layer_sizes(plan.tags[0])] for plan in plans]
    assert chains[0][:2] == chains[1][:2] != chains[0][1:]
    base = session.engine.image(plans[0].debian.substitute)
    assert base
    assert chains[0][0] == base.layers[0]
    assert "docker-image://" not in log_of(session, plans[0])
    assert [result.state for result in batches.run(session, plans)] == [State.SKIPPED] * 2


def test_unknown_builder_is_refused(engine: Engine, tmp_path: Path) -> None:
    """Before anything is built."""
    with pytest.raises(EngineError, match="no builder torchdev-test-none"):
        builder_config(engine, Options(builder="torchdev-test-none"), tmp_path)


def test_classic_store_writes_no_cache(engine: Engine, tmp_path: Path) -> None:
    """The engine's own builder can't; that is said before it is tried."""
    if outputs.containerd_store(engine.info()):
        pytest.skip("this engine has containerd's store, which can")
    with pytest.raises(EngineError, match="can't write its cache"):
        builder_config(engine, Options(cache_to="127.0.0.1:5000/cache"), tmp_path)


@pytest.mark.full
def test_containerd_store_gets_zstd(
    cells: tuple[BuildSession, tuple[Plan, ...]], second: Second, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every layer that was built is packed by zstd, and the second run finds nothing to do."""
    session, plans = cells
    substitutes = {base.substitute for base in plans[0].bases}
    archive = tmp_path / "base.tar"
    subprocess.run(["docker", "save", "--output", str(archive), *substitutes], check=True)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{second.socket}")
    subprocess.run(["docker", "load", "--input", str(archive)], check=True, stdout=subprocess.DEVNULL)
    own = Engine()
    builder, platforms = builder_config(own, session.options, tmp_path)
    assert builder == BuilderConfig(containerd=True)
    session = dataclasses.replace(session, engine=own, builder=builder, platforms=platforms)
    assert [result.state for result in batches.run(session, plans)] == [State.BUILT] * 2
    image = own.image(plans[0].tags[0])
    assert image
    folder = Path(own.layout(image.id, tmp_path / "oci").partition("@")[0])
    assert [kind.rpartition("+")[2] for kind in layer_types(folder)[1:]] == ["zstd", "zstd"]
    assert [size for _, size in own.layer_sizes(image)][1:] != [0, 0]
    assert [result.state for result in batches.run(session, plans)] == [State.SKIPPED] * 2


SECRET = "hunter2-hunter2"


def scratch(tmp_path: Path, *tags: str) -> None:
    """An image of two layers, by the docker command's engine: the second has another file in the place of a secret."""
    for name, text in {"secret": SECRET, "clean": "nothing"}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY secret /etc/file\nCOPY clean /etc/file\n")
    command = ["docker", "build", "--quiet", "--provenance=false", *(f"--tag={tag}" for tag in tags), str(tmp_path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.full
def test_layers_of_containerds_store_are_searched(
    second: Second, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not say where they are unpacked, but sends them: what a later layer hides is found, in its layer."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{second.socket}")
    scratch(tmp_path, "torchdev-test:searched")
    own = Engine()
    image = own.image("torchdev-test:searched")
    assert image
    assert own.layer_folders(image.id) == []
    found = search(own.saved(image.id), ["none", SECRET])
    assert (found["layers"], found["files"]) == (len(image.layers), 2)
    assert [[number, path] for number, _, path in found["texts"]] == [[1, "etc/file"]]


@pytest.mark.full
def test_push_from_containerds_store(
    cells: tuple[BuildSession, tuple[Plan, ...]],
    second: Second,
    registry: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ids are of manifests there; what arrives is compared all the same, and a name that is moved is noticed."""
    session, (plan, other) = cells
    monkeypatch.setenv("DOCKER_HOST", f"unix://{second.socket}")
    scratch(tmp_path, *plan.tags)
    session = dataclasses.replace(session, engine=Engine())
    image = session.engine.image(plan.tags[0])
    assert image
    target = f"{registry}-pushed"
    push(session, plan, image.id, target, keep=True)
    (remote,) = remotes(plan, target)
    again = session.engine.image(image.id)
    assert again
    assert f"{target}@{session.engine.registry_digest(remote)}" in again.pushed
    scratch_of_other = tmp_path / "other"
    scratch_of_other.mkdir()
    monkeypatch.setattr(sys.modules[__name__], "SECRET", "another")
    scratch(scratch_of_other, *other.tags)
    moved = session.engine.image(other.tags[0])
    assert moved
    real = session.engine.push
    monkeypatch.setattr(session.engine, "push", lambda name: (session.engine.tag(moved.id, name), real(name))[1])
    with pytest.raises(BuildError, match=r"is not the image that was checked|the registry was sent"):
        push(session, plan, image.id, target, keep=True)


def layer_types(folder: Path) -> "list[str]":
    """The media types of an image's layers, lowest first, from its layout."""
    entry = json.loads((folder / "index.json").read_text())["manifests"][0]
    while True:
        found = json.loads((folder / "blobs" / entry["digest"].replace(":", "/")).read_text())
        if "layers" in found:
            return [layer["mediaType"] for layer in found["layers"]]
        entry = found["manifests"][0]


REGISTRY = """\
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:5000"}}
"""


@pytest.fixture
def registry(second: Second, tmp_path: Path) -> Iterator[str]:
    """A registry in the second engine's network."""
    try:
        program = registries.program(SimpleNamespace(work=tmp_path))  # type: ignore[arg-type]
    except EngineError as error:
        pytest.skip(error.what)
    (tmp_path / "registry.yml").write_text(REGISTRY.format(folder=tmp_path / "registry"))
    command = ["nsenter", f"--net=/proc/{second.process}/ns/net", program, "serve", str(tmp_path / "registry.yml")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        time.sleep(2)
        yield "127.0.0.1:5000/cache"
        process.terminate()


@pytest.mark.full
def test_cache_by_way_of_a_registry(
    cells: tuple[BuildSession, tuple[Plan, ...]], second: Second, registry: str, tmp_path: Path
) -> None:
    """Another machine, here the same builder without its own cache, runs no step again."""
    session, plans = cells
    options = dataclasses.replace(session.options, builder=second.builder, cache_to=registry, cache_from=(registry,))
    builder, platforms = builder_config(session.engine, options, tmp_path)
    session = dataclasses.replace(session, options=options, builder=builder, platforms=platforms)
    assert [result.state for result in batches.run(session, plans)] == [State.BUILT] * 2
    before = [session.engine.image(plan.tags[0]) for plan in plans]
    assert "exporting cache to registry" in log_of(session, plans[0])
    tags = {path.name for path in (tmp_path / "registry").rglob("tags/*")}
    assert tags == {*(plan.cell.id for plan in plans), outputs.shared_tag(plans[0].shared)}
    buildx.run(["prune", f"--builder={second.builder}", "--all", "--force"], tmp_path / "prune")
    again = dataclasses.replace(session, options=dataclasses.replace(options, rebuild=True))
    assert [result.state for result in batches.run(again, plans)] == [State.BUILT] * 2
    for plan, old in zip(plans, before, strict=True):
        new = session.engine.image(plan.tags[0])
        assert old
        assert new
        # Each step writes random bytes: a layer is the same only if its step did not run again. How many steps the
        # log calls CACHED says less: of one whose result is known by what stands on it, BuildKit tells nothing.
        assert new.layers == old.layers


def test_layout_is_one(engine: Engine, base: str, tmp_path: Path) -> None:
    """What is handed to other builders names a manifest that is there; it is written once."""
    image = engine.image(base)
    assert image
    folder, _, digest = engine.layout(image.id, tmp_path).partition("@")
    assert (Path(folder) / "blobs" / digest.replace(":", "/")).is_file()
    stamp = (Path(folder) / "index.json").stat().st_mtime_ns
    assert engine.layout(image.id, tmp_path) == f"{folder}@{digest}"
    assert (Path(folder) / "index.json").stat().st_mtime_ns == stamp
