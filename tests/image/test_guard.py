"""PyTorch and CUDA stay what the tag says, whatever installs, upgrades or removes packages, as whatever user."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

from tests.image.conftest import PATIENT
from tests.image.test_use import put_wheel, whole
from torchdev.catalog.releases import COMPANIONS
from torchdev.engine.client import Engine
from torchdev.image.contract import PACKAGES, SITE_PACKAGES, make_contract
from torchdev.image.plan import Plan

USERS = {"dev": "1000:1000", "root": "0:0", "another uid": "12345:0"}
"""Who may install into the image's own Python; the groups are those that Docker gives, and group 0 for dev."""
REAL = "/usr/local/libexec/torchdev/uv"
FREED = "--system --break-system-packages"
"""What uv must be told before it touches a Python that is externally managed."""
OFFLINE = "--offline --no-index --find-links /tmp/wheels"
SERVING = OFFLINE.replace("wheels", "serving")
INSTALLERS = (
    "pip install --no-index",
    "python3 -m pip install --no-index --ignore-installed --no-deps",
    f"uv pip install {OFFLINE}",
    f"uv pip install --link-mode copy --reinstall {OFFLINE}",
    f"{REAL} pip install {FREED} {OFFLINE}",
    f"{REAL} pip install {FREED} --link-mode symlink {OFFLINE}",
)
REMOVERS = (
    "pip uninstall --yes",
    "python3 -m pip uninstall --yes",
    "uv pip uninstall",
    "python3 -m uv pip uninstall",
    f"{REAL} pip uninstall {FREED}",
)
ROGUE = ("torch/__init__.py", "torch/version.py", "torch/lib/libtorch_cpu.so", "nvidia/nccl/lib/libnccl.so.2")
"""Files of PyTorch and CUDA that another project has, too, as nvidia-nccl-cu12 has some of nvidia-nccl-cu13."""


CHANGED = """
import json, sys
sys.path.insert(0, "/usr/local/libexec/torchdev/doctor")
import guard
contract = json.load(open("/usr/local/share/torchdev/contract.json"))
found = guard.read_files(contract)
assert found["count"] > 1000, found
print(found["changed"])
"""
"""What the doctor looks at, without the time after which it gives up on a busy machine."""


def started(engine: Engine, image: str, user: str) -> "Iterator[Host]":
    """A container of its own for a user, without a network."""
    own = "1000" if user == USERS["dev"] else user
    with engine.container(image, user=own, network_mode="none", environment={"HOME": "/tmp"}) as running:
        yield testinfra.get_host(f"docker://{own}@{running.id}")


@pytest.fixture(params=USERS.values(), ids=USERS.keys())
def anyone(request: pytest.FixtureRequest, engine: Engine, image: str) -> "Iterator[Host]":
    """A container for one test, for each kind of user."""
    yield from started(engine, image, request.param)


@pytest.fixture
def root(engine: Engine, image: str) -> "Iterator[Host]":
    """A container for one test, as root, whom no mode of a file stops."""
    yield from started(engine, image, USERS["root"])


class Lasting:
    """Containers for tests that leave one as they found it: one after another has the same, until one of them fails.

    At the end nothing may have changed in the last of them.
    """

    def __init__(self, engine: Engine, image: str, user: str) -> None:
        self._new = partial(started, engine, image, user)
        self._running: "Iterator[Host] | None" = None
        self._host: "Host | None" = None

    @contextmanager
    def host(self) -> "Iterator[Host]":
        """The container, for one test; it is removed if that fails."""
        if not self._host:
            self._running = self._new()
            self._host = next(self._running)
        try:
            yield self._host
        except BaseException:
            self.remove()
            raise

    def end(self, plan: Plan) -> None:
        """Look at the container for the last time."""
        try:
            if self._host:
                kept(self._host, plan)
        finally:
            self.remove()

    def remove(self) -> None:
        """Remove the container, if there is one."""
        if self._running:
            next(self._running, None)
        self._running = self._host = None


@pytest.fixture(scope="module")
def lasting(engine: Engine, image: str, plan: Plan) -> "Iterator[Lasting]":
    """A container for tests that, as root, change something and change it back."""
    shared = Lasting(engine, image, USERS["root"])
    yield shared
    shared.end(plan)


@pytest.fixture(scope="module", params=[USERS["dev"], USERS["root"]], ids=["dev", "root"])
def refusing(request: pytest.FixtureRequest, engine: Engine, image: str, plan: Plan) -> "Iterator[Host]":
    """A container for tests that try what must be refused; at the end nothing may have changed."""
    for host in started(engine, image, request.param):
        yield host
        kept(host, plan)


def kept(host: Host, plan: Plan) -> None:
    """Torch is imported in the version of the tag, installers see that one alone, and no file of it has changed."""
    version = make_contract(plan.cell, plan.lock)["torch"]["version"]
    ask = "import torch; from torch.version import __version__; print(__version__, torch.ones(2).sum().item())"
    assert host.check_output(f'cd / && python -c "{ask}"') == f"{version} 2.0"
    assert host.check_output(f"python3 -IBS -c '{CHANGED}'") == "[]"


@pytest.mark.parametrize("install", INSTALLERS)
def test_another_package_with_files_of_torch_leaves_them_alone(lasting: Lasting, plan: Plan, install: str) -> None:
    """A package with files of torch's names is installed and removed; its own files are elsewhere."""
    with lasting.host() as root:
        path = put_wheel(root, "/tmp/wheels", "rogue", "1.0", [*ROGUE, "rogue.py"])
        root.check_output(f"cd / && {install} {path}")
        kept(root, plan)
        assert root.run(f"test -e {PACKAGES}/rogue.py").rc == 0
        root.check_output("cd / && pip uninstall --yes rogue")
        assert root.run(f"test -e {PACKAGES}/rogue.py").rc != 0
        assert whole(root, plan)


@pytest.mark.parametrize("remove", REMOVERS)
def test_torch_cannot_be_removed(refusing: Host, plan: Plan, remove: str) -> None:
    """Installers refuse to remove torch and its companions."""
    names = [name for name in ("torch", "triton", "nvidia-nccl-cu13") if plan.lock.version(name)]
    for name in names:
        done = refusing.run(f"cd / && {remove} {name}")
        assert (done.rc != 0, "RECORD" in done.stdout + done.stderr) == (True, True), done.stdout + done.stderr
    assert whole(refusing, plan)


PROJECT = '[project]\nname = "p"\nversion = "0"\nrequires-python = ">=3.6"\ndependencies = []\n'
SYNCS = {
    "UV_PROJECT_ENVIRONMENT": "UV_PROJECT_ENVIRONMENT=/usr/local {uv} sync --offline",
    "VIRTUAL_ENV": "VIRTUAL_ENV=/usr/local {uv} sync --offline --active",
    "relative": "cd /usr/share && UV_PROJECT_ENVIRONMENT=../../usr/local {uv} sync --offline --directory /tmp/p",
    "link": "ln -sfn /usr/local .venv && cd / && {uv} sync --offline --project /tmp/p",
}
"""A project's environment that is the image's own Python: by variables, from another folder, by a link."""


@pytest.mark.parametrize(("uv", "sync"), [
    ("uv", "UV_PROJECT_ENVIRONMENT"), ("uv", "VIRTUAL_ENV"), ("uv", "relative"), ("uv", "link"),
    (REAL, "UV_PROJECT_ENVIRONMENT"), (REAL, "link"),
])  # fmt: skip
def test_torch_outlives_a_sync(
    request: pytest.FixtureRequest, lasting: Lasting, plan: Plan, uv: str, sync: str
) -> None:
    """The image's uv refuses to sync. The real uv removes everything that a project does not list, except PyTorch."""
    script = f"mkdir -p /tmp/p && cd /tmp/p && printf '{PROJECT}' > pyproject.toml && {SYNCS[sync].format(uv=uv)}"
    if uv == "uv":
        with lasting.host() as root:
            done = root.run(f"{script}; status=$?; rm -r /tmp/p; exit $status")
            assert done.rc != 0
            assert "would remove" in done.stderr
            assert root.run(f"test -e {PACKAGES}/numpy").rc == 0
            assert whole(root, plan)
    else:
        root = request.getfixturevalue("root")
        root.run(script)
        assert whole(root, plan)
        kept(root, plan)


@pytest.mark.parametrize("command", [
    f"uv pip install --python python3 --system {OFFLINE}",
    f"uv pip install -p /usr/local/bin/python {OFFLINE}",
    f"uv pip install --python=/usr/local {OFFLINE}",
    f"uv --no-config pip install --system --python-preference only-system {OFFLINE}",
    f"UV_PYTHON=/usr/local/bin/python3 uv pip install {OFFLINE}",
    f"UV_CONSTRAINT= uv pip install {OFFLINE}",
    f"UV_BREAK_SYSTEM_PACKAGES=1 uv pip install {OFFLINE}",
    f"uv pip install {FREED} {OFFLINE}",
    f"VIRTUAL_ENV=/usr/local uv pip install {OFFLINE}",
    f"python -m uv pip install {OFFLINE}",
    f"{REAL} pip install --system {OFFLINE}",
    f"{REAL} pip install --python /usr/local/bin/python3 {OFFLINE}",
    "pip install --no-index --find-links /tmp/wheels --ignore-installed",
    "PIP_CONSTRAINT= pip install --no-index --find-links /tmp/wheels",
    "PIP_CONSTRAINT=/tmp/none.txt pip3 install --no-index --find-links /tmp/wheels",
    "PIP_CONFIG_FILE=/dev/null python3 -m pip install --no-index --find-links /tmp/wheels",
    "python -c 'import sys, runpy; runpy.run_module(\"pip\", run_name=\"__main__\")' install --no-index -f /tmp/wheels",
])  # fmt: skip
def test_another_torch_is_refused_however_it_is_asked_for(refusing: Host, plan: Plan, command: str) -> None:
    """Another torch is refused in every way by which Python, pip and uv can address the image's own Python."""
    put_wheel(refusing, "/tmp/wheels", "torch", "0.0.1")
    done = refusing.run(f": > /tmp/none.txt; cd / && {command} torch==0.0.1")
    assert done.rc != 0
    assert whole(refusing, plan)


@pytest.mark.parametrize("command", [
    f"uv pip install --exact {OFFLINE} tiny",
    f"uv --quiet pip install --system --exact {OFFLINE} tiny",
    f"python -m uv pip install --exact {OFFLINE} tiny",
    f"echo tiny > /tmp/list && uv pip sync {OFFLINE} /tmp/list",
])  # fmt: skip
def test_nothing_is_removed_for_not_being_listed(refusing: Host, plan: Plan, command: str) -> None:
    """Syncing the image's own Python is refused; the message names an environment as the place for it."""
    put_wheel(refusing, "/tmp/wheels", "tiny", "1.0")
    before = refusing.check_output(f"ls -d {PACKAGES}/*.dist-info")
    done = refusing.run(f"cd / && {command}")
    assert (done.rc != 0, "python -m venv" in done.stderr) == (True, True), done.stdout + done.stderr
    assert refusing.check_output(f"ls -d {PACKAGES}/*.dist-info") == before
    assert whole(refusing, plan)


@pytest.mark.parametrize("own", [
    "PIP_CONSTRAINT=/tmp/own.txt pip install --no-index --find-links /tmp/wheels",
    "mkdir -p ~/.config/pip && printf '[install]\\nconstraint = /tmp/own.txt\\n' > ~/.config/pip/pip.conf && "
    "pip install --no-index --find-links /tmp/wheels",
    "pip install --constraint /tmp/own.txt --no-index --find-links /tmp/wheels",
    f"UV_CONSTRAINT=/tmp/own.txt uv pip install {OFFLINE}",
    f"uv pip install --constraint /tmp/own.txt {OFFLINE}",
])  # fmt: skip
def test_bounds_of_ones_own_are_added(refusing: Host, plan: Plan, own: str) -> None:
    """The user's own bounds hold, and so does the guard."""
    for name, version in (("tiny", "1.0"), ("tiny", "2.0"), ("torch", "0.0.1")):
        put_wheel(refusing, "/tmp/wheels", name, version)
    refusing.check_output(f"echo 'tiny<2' > /tmp/own.txt && cd / && {own} tiny")
    assert refusing.run(f"test -e {PACKAGES}/tiny-1.0.dist-info").rc == 0
    assert refusing.run(f"cd / && {own} torch==0.0.1").rc != 0
    assert whole(refusing, plan)


@pytest.mark.parametrize(("install", "remove"), [
    ("pip install --no-index", "pip uninstall --yes"), (f"uv pip install {OFFLINE}", "uv pip uninstall"),
])  # fmt: skip
def test_other_packages_come_and_go(anyone: Host, plan: Plan, install: str, remove: str) -> None:
    """Other packages are installed, upgraded and removed, including those that came with the image."""
    for version in ("1.0", "2.0"):
        anyone.check_output(f"cd / && {install} {put_wheel(anyone, '/tmp/wheels', 'tiny', version)}")
        assert anyone.run(f"test -e {PACKAGES}/tiny-{version}.dist-info").rc == 0
    anyone.check_output(f"cd / && {install} {put_wheel(anyone, '/tmp/wheels', 'numpy', '999.0')}")
    anyone.check_output(f"cd / && {remove} tiny numpy")
    assert anyone.run("cd / && python -c 'import tiny'").rc != 0
    assert anyone.run("cd / && python -c 'import numpy'").rc != 0
    assert whole(anyone, plan)
    kept(anyone, plan)


@pytest.mark.parametrize("install", ["pip install --no-index --find-links /tmp/wheels", f"uv pip install {OFFLINE}"])
def test_what_torch_needs_stays_within_its_bounds(refusing: Host, install: str) -> None:
    """Packages that torch's METADATA requires, if any, stay within its bounds."""
    metadata = refusing.check_output(f"cat {PACKAGES}/torch-*.dist-info/METADATA")
    for name in re.findall(r"(?m)^Requires-Dist: ([a-z-]+) ?\(?>=(?!.*extra ==)", metadata)[:2]:
        put_wheel(refusing, "/tmp/wheels", name.replace("-", "_"), "0.0.1")
        assert refusing.run(f"cd / && {install} {name}==0.0.1").rc != 0


def test_torch_goes_on_without_what_it_needs(root: Host, plan: Plan) -> None:
    """Without a package that torch needs, the doctor notes it and torch uses another copy; a replacement is used."""
    root.check_output("cd / && pip uninstall --yes typing_extensions")
    kept(root, plan)
    path = put_wheel(root, "/tmp/wheels", "typing_extensions", "999.0")
    root.check_output(f"cd / && pip install --no-index {path}")
    found = root.check_output("cd / && python -c 'import typing_extensions as t; print(t.__file__)'")
    assert "/python/needed/" not in found


@pytest.mark.cuda
@pytest.mark.parametrize("beside", ["nvidia/__init__.py", "nvidia/added/more.py"])
def test_users_modules_of_nvidia_are_found_beside_the_images(root: Host, plan: Plan, beside: str) -> None:
    """Users' nvidia modules are found with or without nvidia/__init__.py; the image's stay as they are."""
    if not any(package.name.startswith("nvidia-") for package in plan.lock.packages):
        pytest.skip("CUDA is part of this PyTorch's own wheel")
    path = put_wheel(root, "/tmp/wheels", "added", "1.0", ["nvidia/added/__init__.py", beside])
    root.check_output(f"cd / && pip install --no-index {path}")
    ask = "import os, nvidia; print(*map(os.path.realpath, nvidia.__path__))"
    folders = root.check_output(f'cd / && python -c "{ask}"').split()
    assert folders == [f"{SITE_PACKAGES}/nvidia", f"{PACKAGES}/nvidia"]
    ask = "import importlib.util; print(importlib.util.find_spec('nvidia.added').origin)"
    assert root.check_output(f'cd / && python -c "{ask}"').endswith("/nvidia/added/__init__.py")
    kept(root, plan)


@pytest.mark.parametrize("install", ["pip install --no-index", f"uv pip install {OFFLINE}"])
@pytest.mark.parametrize("name", ["torch", *COMPANIONS])
def test_the_version_that_torch_says_is_accepted(host: Host, contract: dict[str, Any], name: str, install: str) -> None:
    """torch==2.14.1+cu130 and torch==2.14.1 are accepted as the image's own; so are its companions' versions."""
    if name not in contract["packages"]:
        pytest.skip(f"the cell has no {name}")
    said = contract["packages"][name]
    assert host.check_output(f"cd / && python -c 'import {name}; print({name}.__version__)'") == said
    public = said.partition("+")[0]
    for requirement in (f"{name}=={said}", f"{name}=={public}", f"{name}>={public}"):
        host.check_output(f"cd / && {install} --no-deps '{requirement}'")


@pytest.mark.parametrize("install", ["pip install --no-index --find-links /tmp/serving", f"uv pip install {SERVING}"])
def test_no_release_from_before_is_taken_for_want_of_bounds(refusing: Host, plan: Plan, install: str) -> None:
    """If the newest release wants another PyTorch, installers refuse; a named older release is installed.

    vllm's releases want one PyTorch each, but for the oldest, which name none and do not import beside a new one.
    """
    for name, version, requires in (("serve", "1.0", "torch>=0.1"), ("serve", "2.0", "torch==0.0.1")):
        put_wheel(refusing, "/tmp/serving", name, version, requires=[requires])
    put_wheel(refusing, "/tmp/serving", "deeper", "1.0", requires=["serve"])
    put_wheel(refusing, "/tmp/serving", "torch", "0.0.1")
    for name in ("serve", "deeper"):
        done = refusing.run(f"cd / && {install} {name}")
        said = done.stdout + done.stderr
        assert done.rc != 0, said
        assert re.search(r"serve( |==)2\.0", said), said
        assert "torch==0.0.1" in said, said
        assert "python -m venv" in said, said
        assert refusing.run(f"ls -d {PACKAGES}/serve-*").rc != 0
    refusing.check_output(f"cd / && {install} 'serve<2' deeper")
    refusing.check_output("cd / && pip uninstall --yes serve deeper")
    assert whole(refusing, plan)


@pytest.mark.parametrize("elsewhere", [
    "pip install --target /tmp/else --no-index --find-links /tmp/wheels",
    "pip install --root /tmp/else --no-index --find-links /tmp/wheels --ignore-installed",
    "pip install --prefix /tmp/else --no-index --find-links /tmp/wheels --ignore-installed",
    "pip download --dest /tmp/else --no-index --find-links /tmp/wheels",
    "pip wheel --wheel-dir /tmp/else --no-index --find-links /tmp/wheels",
    "pip --python /tmp/free/bin/python install --no-index --find-links /tmp/wheels",
    f"uv pip install --target /tmp/else {OFFLINE}",
    f"uv pip install --prefix /tmp/else {OFFLINE}",
    f"uv pip install --python /tmp/free {OFFLINE}",
])  # fmt: skip
def test_the_bounds_are_for_the_images_own_python_alone(
    root: Host, plan: Plan, contract: dict[str, Any], elsewhere: str
) -> None:
    """Another torch can be installed into another folder or Python, or downloaded."""
    if elsewhere.startswith("pip --python") and int(contract["python"]["pip"].split(".")[0]) < 23:
        pytest.skip("the pip of this Python does not know --python")
    put_wheel(root, "/tmp/wheels", "torch", "0.0.1")
    root.check_output(
        f"python -m venv --without-pip /tmp/free && mkdir -p /tmp/else && cd / && {elsewhere} torch==0.0.1"
    )
    assert root.check_output("find /tmp/else /tmp/free -name 'torch-0.0.1*' | wc -l") == "1"
    kept(root, plan)
    assert whole(root, plan)


@pytest.mark.parametrize("here", [
    f"pip install --target {PACKAGES} --no-index --find-links /tmp/wheels",
    "pip install --prefix /usr/local --no-index --find-links /tmp/wheels",
    "pip install --root / --no-index --find-links /tmp/wheels",
    "pip install --user --no-index --find-links /tmp/wheels",
    "pip --python /usr/local/bin/python install --no-index --find-links /tmp/wheels",
    f"uv pip install --target {PACKAGES} {OFFLINE}",
    f"uv pip install --target {PACKAGES}/../site-packages {OFFLINE}",
    f"uv pip install --prefix /usr/local {OFFLINE}",
    f"cd /tmp && printf '[pip]\ntarget = \"{PACKAGES}\"\n' > uv.toml && RUST_LOG=off uv pip install {OFFLINE}",
])  # fmt: skip
def test_the_bounds_hold_for_other_names_of_the_images_own_python(refusing: Host, plan: Plan, here: str) -> None:
    """The bounds hold if the image's own Python is named by folder, prefix or program."""
    put_wheel(refusing, "/tmp/wheels", "torch", "0.0.1")
    assert refusing.run(f"cd / && {here} torch==0.0.1").rc != 0
    assert whole(refusing, plan)


@pytest.mark.parametrize("version", ["999.0", "0.1"])
def test_uv_stays_guarded_when_uv_is_installed(refusing: Host, plan: Plan, version: str) -> None:
    """Installing uv does not replace the image's guarded uv."""
    put_wheel(refusing, "/tmp/wheels", "uv", version, [f"uv-{version}.data/scripts/uv"])
    refusing.check_output("cd / && pip install --no-index --find-links /tmp/wheels --upgrade uv || true")
    assert refusing.check_output("head -c 2 $(command -v uv)") == "#!"
    assert refusing.check_output("uv --version").split()[1] == plan.lock.uv.version
    found = refusing.check_output(f"cd {PACKAGES} && ls -d uv-*.dist-info")
    assert found == f"uv-{plan.lock.uv.version}.dist-info"


def test_uv_stays_guarded_whatever_installs_or_removes_its_program(root: Host, plan: Plan) -> None:
    """An installer that knows no guard replaces or removes /usr/local/bin/uv; PATH names another folder before it."""
    version = plan.lock.uv.version
    path = put_wheel(root, "/tmp/wheels", "uv", version, [f"uv-{version}.data/scripts/uv"])
    for command in (f"install {FREED} {OFFLINE} --reinstall {path}", f"uninstall {FREED} uv"):
        root.check_output(f"cd / && {REAL} pip {command}")
        assert root.check_output("head -c 2 $(command -v uv)") == "#!"
        assert root.check_output("uv --version").split()[1] == version


@pytest.mark.parametrize("install", [
    "pip install --no-index --find-links /tmp/again --ignore-installed",
    "pip install --no-index --find-links /tmp/again --force-reinstall",
    f"uv pip install {OFFLINE.replace('wheels', 'again')} --reinstall",
])  # fmt: skip
def test_what_is_kept_is_not_installed_again(root: Host, plan: Plan, install: str) -> None:
    """What the image keeps stays its own if pip and uv are told to install it again: by name, file or other package.

    Nor do they take an old release of the other package, from before it required what is kept.
    """
    version = plan.lock.uv.version
    path = put_wheel(root, "/tmp/again", "uv", version, [f"uv-{version}.data/scripts/uv"])
    put_wheel(root, "/tmp/again", "needy", "0.1")
    put_wheel(root, "/tmp/again", "needy", "1.0", requires=["uv"])
    for what in ("uv", path, "needy"):
        root.run(f"cd / && {install} {what}")
        assert root.run(f"ls {PACKAGES}/uv-*.dist-info/RECORD {PACKAGES}/needy-0.1.dist-info").stdout == ""
    assert root.run("cd / && pip uninstall --yes uv").rc != 0


def test_an_upgrade_takes_what_goes_with_the_images_torch(refusing: Host, plan: Plan) -> None:
    """An upgrade by uv leaves the image's torch, where an index has a newer one and newer releases of its needs."""
    for name in ("torch", "typing_extensions"):
        put_wheel(refusing, "/tmp/newer", name, "999.0", requires=["typing_extensions"] * (name == "torch"))
    put_wheel(refusing, "/tmp/newer", "needy", "1.0", requires=["torch"])
    upgrades = "--upgrade-package torch --upgrade-package typing_extensions"
    done = refusing.run(
        f"cd / && uv pip install --dry-run {OFFLINE.replace('wheels', 'newer')} {upgrades} needy typing_extensions"
    )
    said = done.stdout + done.stderr
    assert (done.rc, "needy==1.0" in said, "typing-extensions==999.0" in said) == (0, True, True), said
    assert "torch==999.0" not in said


def test_the_guard_can_be_taken_away(engine: Engine, image: str, plan: Plan) -> None:
    """A program removes the guard and says so; another torch is then installed and imported, as the doctor notes."""
    with engine.container(image, user="0", network_mode="none") as running:
        host = testinfra.get_host(f"docker://0@{running.id}")
        path = put_wheel(host, "/tmp/wheels", "torch", "999.0")
        assert host.run(f"cd / && pip install --no-index --no-deps {path}").rc != 0
        host.check_output("torchdev-unguard")
        host.check_output(f"cd / && uv pip install {OFFLINE} --no-deps {path}")
        assert not whole(host, plan)
        assert host.run("cd / && python -c 'import torch; torch.__version__'").rc != 0
        assert "taken away by torchdev-unguard" in host.run(" ".join(PATIENT)).stdout


def test_nothing_names_the_kept_folder_as_a_place_to_install(host: Host) -> None:
    """Installers write to sysconfig's folder, which Python searches after the kept folder."""
    ask = "import site, sys, sysconfig; print(sysconfig.get_path('purelib'), sysconfig.get_path('platlib'))"
    for path in host.check_output(f'cd / && python -c "{ask}"').split():
        assert host.check_output(f"realpath {path}") == PACKAGES
    ask = "import os, sys; print(*[os.path.realpath(path) for path in sys.path if path])"
    order = host.check_output(f'cd / && python -c "{ask}"').split()
    assert order.index(SITE_PACKAGES) < order.index(PACKAGES)
