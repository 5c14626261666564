"""Failures of real builds end in one message that names the cause and the next command."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.fake_engine import session_of
from torchdev.bases import bootstrap
from torchdev.docgen.project import Project
from torchdev.engine.client import Engine
from torchdev.engine.diagnosis import explain
from torchdev.image.context import context_of
from torchdev.image.paths import Paths
from torchdev.image.plan import Plan
from torchdev.pipeline import bake
from torchdev.pipeline.inventory import Inputs
from torchdev.util.errors import BuildError, Exit, GpuError
from torchdev.wheels.host import Host, read_host


@pytest.fixture
def copy(project: Project, plan: Plan, tmp_path: Path) -> Paths:
    """A matrix's images folder, to be damaged."""
    shutil.copytree(project.images, tmp_path / "images")
    return Paths(project.paths.checkout, tmp_path / "matrix.yaml")


def attempt(engine: Engine, plan: Plan, paths: Paths, host: Host) -> BuildError:
    """Build from a damaged copy; the error."""
    made = bootstrap.choose(engine, plan.bases)
    with pytest.raises(BuildError) as caught:
        bake.build(session_of(engine, paths, host=host, made=tuple(made)), Inputs(paths), plan)
    assert caught.value.where == plan.cell.id
    assert caught.value.code is Exit.BUILD
    return caught.value


def test_altered_hash_is_refused(engine: Engine, plan: Plan, copy: Paths) -> None:
    """A wheel that is not the locked one is never installed."""
    sha256 = next(package.sha256 for package in plan.lock.packages if package.name == "filelock") or ""
    for name in ("requirements.txt", "SHA256SUMS"):
        path = copy.images / context_of(plan).wheels["packages"] / name
        path.write_text(path.read_text().replace(sha256, f"{sha256[:-4]}0000"))
    error = attempt(engine, plan, copy, read_host())
    assert "its hash differs" in error.what
    assert f"python build.py lock {plan.cell.id}" in error.next_step


def test_no_network_is_named(engine: Engine, plan: Plan, copy: Paths) -> None:
    """A proxy that refuses every connection stands for a network that is not there."""
    path = copy.images / context_of(plan).wheels["packages"] / "requirements.txt"
    path.write_text(path.read_text() + "# changed, so that the layer is not taken from the cache\n")
    closed = tuple((name, "http://127.0.0.1:9") for name in ("HTTP_PROXY", "HTTPS_PROXY"))
    error = attempt(engine, plan, copy, Host(proxies=closed))
    assert "could not be reached" in error.what


def test_full_disk_is_named(build: Callable[..., Path], base: str, tmp_path: Path) -> None:
    """As a real step says it, on a file system of one megabyte."""
    step = "RUN --mount=type=tmpfs,target=/small,size=1m dd if=/dev/zero of=/small/file bs=1M count=2"
    with pytest.raises(BuildError):
        build(f"FROM {base}\n{step}\n", "torchdev-test:full")
    error = explain("cell", (tmp_path / "log").read_text(), tmp_path / "log")
    assert "the disk is full" in error.what
    assert "docker builder prune" in error.next_step


def test_gpu_where_the_engine_has_none(engine: Engine, plan: Plan) -> None:
    """What `docker run --gpus all` would be refused for, with the remedy."""
    refusal = engine.gpu_refusal(plan.tags[0])
    if refusal is None:
        pytest.skip("this engine gives containers a GPU")
    with pytest.raises(GpuError) as caught, engine.container(plan.tags[0], gpus=True):
        pass
    assert "NVIDIA" in caught.value.what
    assert "nvidia" in caught.value.next_step


def test_unknown_image_names_the_build(engine: Engine) -> None:
    """An image that is not there is no missing GPU."""
    with pytest.raises(Exception, match="has no image") as caught:
        engine.gpu_refusal("torchdev-test:none")
    assert not isinstance(caught.value, GpuError)
