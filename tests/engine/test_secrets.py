"""Made-up secrets are handed to builds, and looked for: in command lines, logs, messages, files and images."""

import contextlib
import ctypes
import dataclasses
import hashlib
import io
import json
import multiprocessing
import os
import re
import signal
import subprocess
import tarfile
import tempfile
import threading
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import Second
from tests.engine.test_fetch import GATEWAY
from tests.unit.conftest import ROOT
from tests.unit.fake_engine import session_of
from tests.unit.fake_index import FakeIndex, make_wheel, serving
from torchdev.bases import bootstrap
from torchdev.docgen.project import open_project
from torchdev.engine.client import Engine
from torchdev.image import render
from torchdev.image.context import context_of
from torchdev.image.paths import Paths
from torchdev.image.plan import Plan, make_plan
from torchdev.pipeline import bake
from torchdev.pipeline.inventory import Inputs, Substitute, Substitutes, substitutes_for
from torchdev.pipeline.session import BuildSession
from torchdev.util.errors import BuildError
from torchdev.util.terminal import HIDDEN
from torchdev.wheels.host import Host, read_host
from torchdev.wheels.lock import PYTORCH, Package

CLONE_NEWNET = 0x40000000
KINDS = ("user", "password", "index-token", "pytorch-token", "netrc", "netrc-of-others", "proxy")
LARGEST = 50_000_000
"""Bytes of a file that is searched."""


@dataclass
class Site:
    """An index behind secrets, this machine's settings that name it, and the plan of a cell whose wheels it has."""

    engine: Engine
    index: FakeIndex
    secrets: "dict[str, str]"
    home: Path
    paths: Paths
    plan: Plan
    substitutes: Substitutes

    def session(self, host: Host, **more: Any) -> BuildSession:
        """A build session with some settings."""
        return session_of(self.engine, self.paths, self.substitutes, host=host, **more)

    def host(self) -> Host:
        """The settings, as torchdev reads them."""
        return read_host({**os.environ, **self.variables()})

    def variables(self) -> "dict[str, str]":
        """The environment of a user who has all these secrets."""
        mirror = f"{self.index.url}/{self.secrets['pytorch-token']}/whl"
        kept = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "PIP_FIND_LINKS", "PIP_CONFIG_FILE", "NETRC")
        return {
            **dict.fromkeys(kept, ""),
            "HOME": str(self.home),
            "TORCHDEV_PYTORCH_INDEX": mirror,
            "HTTPS_PROXY": f"http://someone:{self.secrets['proxy']}@{GATEWAY}:9",
        }

    def write_settings(self) -> None:
        """Pip's file with a password and a token in the index's URL, and a .netrc with this host and another."""
        address = self.index.url.removeprefix("http://")
        login = f"{self.secrets['user']}:{self.secrets['password']}"
        index = f"http://{login}@{address}/{self.secrets['index-token']}/simple"
        folder = self.home / ".config" / "pip"
        folder.mkdir(parents=True)
        (folder / "pip.conf").write_text(f"[global]\nindex-url = {index}\n")
        machines = {address.partition(":")[0]: self.secrets["netrc"], "other.example": self.secrets["netrc-of-others"]}
        text = "".join(f"machine {host} login me password {word}\n" for host, word in machines.items())
        (self.home / ".netrc").write_text(text)

    @property
    def own_files(self) -> "set[Path]":
        """The settings themselves."""
        return {self.home / ".netrc", self.home / ".config" / "pip" / "pip.conf"}

    def found_in(self, data: "str | bytes") -> "set[str]":
        """The kinds of secrets that a text or a file's content has."""
        content = data.encode() if isinstance(data, str) else data
        return {kind for kind, word in self.secrets.items() if word.encode() in content}


class Watch:
    """Reads the command lines of all processes of this machine, those in containers too, again and again."""

    def __init__(self) -> None:
        """Nothing is seen yet."""
        self.seen: set[bytes] = set()
        self._stop = threading.Event()

    def __enter__(self) -> "Watch":
        """Begin."""
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.01):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    self.seen.add(path.read_bytes())


@contextmanager
def network_of(process: int) -> Iterator[None]:
    """Sockets of this thread are made in another process's network while this holds."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/self/ns/net").open() as own, Path(f"/proc/{process}/ns/net").open() as other:
        assert libc.setns(other.fileno(), CLONE_NEWNET) == 0
        try:
            yield
        finally:
            assert libc.setns(own.fileno(), CLONE_NEWNET) == 0


def site_of(engine: Engine, index: FakeIndex, like: Plan, folder: Path, substitutes: Substitutes) -> Site:
    """Fill an index with two wheels, one of them PyTorch's, and write settings that lead to it."""
    secrets = {kind: f"Zz9{uuid.uuid4().hex[:20]}" for kind in KINDS}
    unique = uuid.uuid4().hex[:10]
    name, torch = f"torchdev_test_{unique}", f"0.{int(unique, 16)}+cpu"  # no other run has used them
    files = {
        f"{secrets['index-token']}/simple/{name.replace('_', '-')}": (name, "1.0"),
        f"{secrets['pytorch-token']}/whl/cpu/torch": ("torch", torch),
    }
    packages = []
    for page, (project, version) in files.items():
        file, content = f"{project}-{version}-py3-none-any.whl", make_wheel(project, version)
        index.put(page, file, content)
        origin = {"origin": PYTORCH} if project == "torch" else {}
        digest = hashlib.sha256(content).hexdigest()
        packages.append(
            Package(
                name=page.rpartition("/")[2],
                version=version,
                file=file,
                sha256=digest,
                size=len(content),
                installed=len(content),
                **origin,
            )
        )
    lock = dataclasses.replace(like.lock, packages=tuple(packages))
    plan = make_plan("torchdev-test-secrets", like.cell, lock, like.bases, ())
    paths = Paths(ROOT, folder / "matrix.yaml")
    render.write_cell(plan, paths.templates, paths.images)
    site = Site(engine, index, secrets, folder / "home", paths, plan, substitutes)
    site.write_settings()
    return site


@pytest.fixture(scope="module")
def cpu() -> Plan:
    """The cell without CUDA of tests/cpu, of which stages are built, and none that has its PyTorch."""
    project = open_project(ROOT, ROOT / "tests" / "cpu" / "matrix.yaml")
    return project.plans(project.matrix.cells[:1])[0]


@pytest.fixture
def classic(engine: Engine, cpu: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """With the engine that is there."""
    substitutes = substitutes_for(engine, cpu, bootstrap.choose(engine, list(cpu.bases)))
    try:
        with serving(FakeIndex(), GATEWAY) as index:
            site = site_of(engine, index, cpu, tmp_path, substitutes)
            bake.build(site.session(read_host()), Inputs(site.paths), site.plan, "tool")
            for name, value in site.variables().items():
                monkeypatch.setenv(name, value)
            yield site
    except OSError as error:
        pytest.skip(f"the engine's network is not at {GATEWAY}: {error.strerror}")


@pytest.fixture
def containerd(
    classic: Site, second: Second, cpu: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """With a second engine of containerd's store, that has the stage `tool` as an image."""
    name = f"torchdev-test-secrets:{uuid.uuid4().hex[:10]}"
    export(classic, "tool", name)
    try:
        archive = subprocess.run(["docker", "save", name], check=True, capture_output=True).stdout
    finally:
        classic.engine.untag(name)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{second.socket}")
    monkeypatch.setenv("BUILDX_BUILDER", "default")
    subprocess.run(["docker", "load"], input=archive, check=True, capture_output=True)
    engine = Engine()
    image = engine.image(name)
    assert image
    substitute = Substitute(name, image.id)
    substitutes = {**dict.fromkeys((base.ref for base in cpu.bases), substitute), "tool": substitute}
    gateway = subprocess.run(
        ["docker", "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    with network_of(second.process), serving(FakeIndex(), gateway) as index:
        yield site_of(engine, index, cpu, tmp_path / "second", substitutes)


def export(site: Site, stage: str, name: str) -> Path:
    """Build a stage with the site's settings into an image; BuildKit's log."""
    folder, host = site.paths.work / "bake", site.host()
    folder.mkdir(parents=True, exist_ok=True)
    file, log = folder / "docker-bake.json", site.paths.work / "logs" / f"{stage}.log"
    file.write_text(json.dumps(bake.bake_file(site.session(host), Inputs(site.paths), (site.plan,), folder)))
    target = site.plan.target
    settings = [f"--set={target}.{word}" for word in (f"target={stage}", "output=type=docker", f"tags={name}")]
    command = ["bake", "--file", str(file), "--provenance=false", *settings, target]
    site.engine.buildx(command, log, None, host.private())
    return log


def files_since(began: float, *folders: Path) -> "Iterator[Path]":
    """Files below some folders that were written since a time."""
    for folder in folders:
        for top, _, names in os.walk(folder, onerror=None):
            for name in names:
                path = Path(top, name)
                with contextlib.suppress(OSError):
                    status = path.lstat()
                    if path.is_file() and not path.is_symlink() and status.st_mtime >= began - 2:
                        yield path


def leaks(site: Site, began: float) -> "dict[str, set[str]]":
    """Files of a run that have secrets: of the working folder, HOME, the folder for temporary files, BuildKit."""
    root = Path(str(site.engine.info()["DockerRootDir"]))
    folders = [site.paths.work.parent, site.home, ROOT / ".torchdev", Path(tempfile.gettempdir())]
    found = {}
    for path in {*files_since(began, *folders), *root.glob("buildkit/*.db"), *root.glob("buildkit/containerdmeta.db")}:
        with contextlib.suppress(OSError):
            own = path in site.own_files or path.stat().st_size > LARGEST
            if not own and (kinds := site.found_in(path.read_bytes())):
                found[str(path)] = kinds
    return found


def leaks_of_image(site: Site, name: str) -> "set[str]":
    """Secrets in an image: its layers, unpacked, its configuration and its history."""
    archive = subprocess.run(["docker", "save", name], check=True, capture_output=True).stdout
    found = site.found_in(json.dumps([site.engine.config(name), site.engine.history(name)], default=str))
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in (member for member in tar if member.isfile()):
            content = tar.extractfile(member)
            data = content.read() if content else b""
            found |= site.found_in(zlib.decompress(data, 47) if data[:2] == b"\x1f\x8b" else data)
    return found


def check_builds(site: Site) -> None:
    """Fetch from both indexes, watching command lines; then search all that is left."""
    began, name, logs = time.time(), f"torchdev-test-secrets:{uuid.uuid4().hex[:10]}", []
    with Watch() as watch:
        try:
            for stage in ("fetch-torch", "fetch-packages"):
                logs.append(export(site, stage, name))
                assert leaks_of_image(site, name) == set()
        finally:
            site.engine.untag(name)
    asked = [path for path in site.index.fetched if path.startswith("files/")]
    assert {path.split("/")[1] for path in asked} == {site.secrets[f"{kind}-token"] for kind in ("index", "pytorch")}
    assert any(b"pip\0download" in line for line in watch.seen), "the watch saw no pip"
    assert [line for line in watch.seen if site.found_in(line)] == []
    assert leaks(site, began) == {}
    assert all(log.read_text() for log in logs)


def check_failures(site: Site) -> None:
    """A wheel whose hash is another makes pip tell where it was: no log, message or line for the display has that."""
    package = next(package for package in site.plan.lock.packages if package.name != "torch")
    requirements = site.paths.images / context_of(site.plan).wheels["packages"] / "requirements.txt"
    sums = requirements.with_name("SHA256SUMS")
    for file in (requirements, sums):
        file.write_text(file.read_text().replace(str(package.sha256), "0" * 64))
    lines: list[str] = []
    host = site.host()
    told = site.session(host, report=lambda event: lines.append(event.text))
    with pytest.raises(BuildError) as raised:
        bake.build(told, Inputs(site.paths), site.plan, "fetch-packages")
    log = (site.paths.work / "logs" / f"{site.plan.cell.id}-fetch-packages.log").read_text()
    assert HIDDEN in log
    assert site.found_in(log + str(raised.value) + "".join(lines) + repr(host)) == set()


def test_no_secret_stays_anywhere(classic: Site) -> None:
    """On the store of the engine that is there."""
    check_builds(classic)
    check_failures(classic)


@pytest.mark.full
def test_no_secret_stays_with_the_other_store(containerd: Site) -> None:
    """On containerd's store."""
    check_builds(containerd)
    check_failures(containerd)


@pytest.mark.full
def test_nothing_stays_of_a_build_that_is_killed(classic: Site) -> None:
    """By kill -9, in the middle of a download: nobody tidies up."""
    began = time.time()
    [file] = [
        f"files/{page}/{name}" for page, files in classic.index.pages.items() if "simple" in page for name in files
    ]
    classic.index.broken[file] = "stall"

    def run() -> None:
        bake.build(classic.session(classic.host()), Inputs(classic.paths), classic.plan, "fetch-packages")

    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    until = time.monotonic() + 120
    while file not in classic.index.fetched and time.monotonic() < until:
        time.sleep(0.1)
    assert file in classic.index.fetched
    left = list(children(child.pid or 0))
    assert left
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()
    try:
        assert leaks(classic, began) == {}
    finally:
        classic.index.released.set()
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
    assert leaks(classic, began) == {}


def children(process: int) -> "Iterator[int]":
    """All that a process has started, and what these have."""
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        for word in path.read_text().split():
            yield int(word)
            yield from children(int(word))


def test_a_secret_that_is_named_and_not_given_stops_the_build(classic: Site) -> None:
    """As when the printed bake file is run alone: PyPI is not asked in its place."""
    host, folder = classic.host(), classic.paths.work / "bake"
    folder.mkdir(parents=True)
    (folder / "bake.json").write_text(
        json.dumps(bake.bake_file(classic.session(host), Inputs(classic.paths), (classic.plan,), folder))
    )
    assert classic.found_in((folder / "bake.json").read_text()) == set()
    command = ["bake", f"--file={folder}/bake.json", "--provenance=false", "--set=*.target=fetch-packages"]
    with pytest.raises(BuildError):
        classic.engine.buildx([*command, "--set=*.output=type=cacheonly", "--set=*.tags="], folder / "log")
    assert re.search(
        r"refused: the bake file names the secret \S+, and buildx was not given it", (folder / "log").read_text()
    )
