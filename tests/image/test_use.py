"""The image in use: Python found from everywhere, pip and uv that leave torch whole, any user at home."""

import base64
import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from testinfra.backend.base import CommandResult
from testinfra.host import Host

from tests.image.conftest import compiles
from torchdev.image.contract import PACKAGES, SITE_PACKAGES, make_contract
from torchdev.image.plan import Plan

IMPORT = "python -c 'import torch; print(torch.__version__)'"


def wheel(name: str, version: str, files: "Mapping[str, str] | None" = None, requires: "Sequence[str]" = ()) -> bytes:
    """A pure wheel of one empty module, or of files by path, that requires others."""
    info = f"{name}-{version}.dist-info"
    held = {
        **({f"{name}.py": ""} if files is None else files),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {line}\n" for line in requires),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    held[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in (*held, f"{info}/RECORD"))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in held.items():
            archive.writestr(path, text)
    return buffer.getvalue()


def put_wheel(
    host: Host, folder: str, name: str, version: str, files: "Sequence[str]" = (), requires: "Sequence[str]" = ()
) -> str:
    """Path, in the container, of a new wheel: of an empty module, or of the named files, which hold nonsense."""
    path = f"{folder}/{name}-{version}-py3-none-any.whl"
    known = (host.backend.hostname, path, tuple(files), tuple(requires))
    if known not in _put:
        nonsense = dict.fromkeys(files, "raise OSError('replaced')\n")
        encoded = base64.b64encode(wheel(name, version, nonsense or None, requires)).decode()
        host.check_output(f"mkdir -p {folder} && echo {encoded} | base64 -d > {path}")
        _put.add(known)
    return path


_put: "set[tuple[str, str, tuple[str, ...], tuple[str, ...]]]" = set()
"""Wheels that containers have, by the container, path and files; no check removes one."""


@pytest.fixture(scope="module")
def tiny(host: Host) -> str:
    """Path, in the container, of a wheel that depends on nothing."""
    return put_wheel(host, "/tmp", "tiny", "1.0")


PROGRAMS = ("python", "python3", "torchrun", "pip", "uv", "uvx", "git", "ssh", "gcc", "g++")
SHELLS = ("sh -c", "bash -lc")


@pytest.fixture(scope="module")
def programs(host: Host) -> "dict[str, list[str]]":
    """Those of PROGRAMS that each shell finds."""
    ask = f"for program in {' '.join(PROGRAMS)}; do if command -v $program > /dev/null; then echo $program; fi; done"
    return {shell: host.run(f"{shell} '{ask}'").stdout.split() for shell in SHELLS}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("shell", SHELLS)
def test_programs_are_found(programs: "dict[str, list[str]]", shell: str, program: str) -> None:
    """Programs are found by a plain shell (with the PATH of exec) and by a login shell."""
    assert program in programs[shell]


def test_torch_without_any_environment(host: Host) -> None:
    """Torch is found by `env -i`, without any variable."""
    assert host.run('env -i /usr/local/bin/python -c "import torch"').rc == 0
    assert host.run("env -i /usr/local/bin/torchrun --help").rc == 0


def test_torch_in_a_nested_environment(host: Host, facts: dict[str, Any]) -> None:
    """`python -m venv --system-site-packages` sees the image's torch."""
    host.check_output("python -m venv --system-site-packages /tmp/nested")
    assert host.check_output(f"/tmp/nested/bin/{IMPORT}") == facts["torch"]


@pytest.mark.parametrize("install", ["pip install --no-index --find-links /tmp", "uv pip install --offline --no-index"])
def test_an_activated_environment_is_honoured(host: Host, tiny: str, install: str) -> None:
    """Pip and uv install into an activated plain environment, not into the image's Python."""
    folder = f"/tmp/plain-{install.split()[0]}"
    host.check_output(f"python -m venv {folder} && . {folder}/bin/activate && {install} {tiny}")
    assert host.run(f"{folder}/bin/python -c 'import tiny'").rc == 0
    assert host.run("python -c 'import tiny'").rc != 0


def test_an_environment_in_a_parent_folder_is_honoured(host: Host, tiny: str) -> None:
    """Uv finds .venv in a folder above, as it does outside the image."""
    host.check_output("mkdir -p /tmp/project/deep && python -m venv /tmp/project/.venv")
    host.check_output(f"cd /tmp/project/deep && uv pip install --offline --no-index {tiny}")
    assert host.run("/tmp/project/.venv/bin/python -c 'import tiny'").rc == 0
    assert host.run("python -c 'import tiny'").rc != 0


@pytest.mark.parametrize(("install", "uninstall"), [
    ("pip install --no-index", "pip uninstall --yes"),
    ("uv pip install --offline --no-index", "uv pip uninstall"),
])  # fmt: skip
def test_install_and_uninstall_leave_torch_whole(
    host: Host, tiny: str, facts: dict[str, Any], install: str, uninstall: str
) -> None:
    """A package is installed into the image's own Python and removed; torch stays unchanged."""
    host.check_output(f"cd / && {install} {tiny} && python -c 'import tiny'")
    host.check_output(f"cd / && {uninstall} tiny")
    assert host.run("python -c 'import tiny'").rc != 0
    assert host.check_output(IMPORT) == facts["torch"]


@pytest.mark.parametrize("check", ["pip check", "uv pip check"])
def test_dependencies_agree(host: Host, check: str) -> None:
    """No installed package misses a requirement, or has it in a version it does not accept."""
    done = host.run(f"cd / && {check}")
    assert done.rc == 0, done.stdout + done.stderr


def whole(host: Host, plan: Plan) -> bool:
    """Whether the one torch that is installed is the locked one, and its modules are there."""
    modules = f"{SITE_PACKAGES}/torch/__init__.py {SITE_PACKAGES}/torch/version.py"
    version = make_contract(plan.cell, plan.lock)["torch"]["version"]
    found = host.check_output(f"ls {modules} > /dev/null && cd {PACKAGES} && ls -d torch-*.dist-info")
    return found == f"torch-{version}.dist-info"


@pytest.mark.parametrize("install", ["pip install --no-index", "uv pip install --offline --no-index"])
def test_torch_is_not_replaced(host: Host, plan: Plan, install: str) -> None:
    """Another torch is refused in the image's own Python; the message names the installed version."""
    put_wheel(host, "/tmp/other", "torch", "0.0.1")
    done = host.run(f"cd / && {install} --find-links /tmp/other torch==0.0.1")
    assert whole(host, plan)
    assert done.rc != 0
    assert plan.lock.version("torch") in done.stdout + done.stderr


UV = "uv pip install --offline --no-index --find-links /tmp/other"


@pytest.mark.parametrize("install", ["pip install --no-index --find-links /tmp/other", UV])
def test_another_flavour_of_the_same_version_is_refused(host: Host, plan: Plan, install: str) -> None:
    """If torch is 2.9.1+cu130, 2.9.1+cpu is refused, which would satisfy torch==2.9.1."""
    version = str(plan.lock.version("torch")).partition("+")[0]
    put_wheel(host, "/tmp/other", "torch", f"{version}+other")
    done = host.run(f"cd / && {install} torch=={version}+other")
    assert whole(host, plan)
    assert done.rc != 0


@pytest.mark.parametrize("command", [
    f"cd /tmp/free && {UV} --system torch==0.0.1",
    f"cd /tmp/free && UV_SYSTEM_PYTHON=1 {UV} torch==0.0.1",
    f"cd /tmp/free && {UV} --python /usr/local/bin/python3 torch==0.0.1",
    f"cd /tmp/free && {UV.replace('uv pip', 'uv --directory / pip')} torch==0.0.1",
    f"cd / && {UV.replace('uv pip', 'uv --quiet pip')} torch==0.0.1",
    "cd / && echo tiny > /tmp/list && uv pip sync --offline --no-index --find-links /tmp /tmp/list",
])  # fmt: skip
def test_uv_is_guarded_however_it_is_told_of_the_image(host: Host, tiny: str, plan: Plan, command: str) -> None:
    """The guard holds for uv by option, variable, path or folder, within a project, and for sync."""
    put_wheel(host, "/tmp/other", "torch", "0.0.1")
    host.check_output("mkdir -p /tmp/free && (test -e /tmp/free/.venv || python -m venv --without-pip /tmp/free/.venv)")
    done = host.run(command)
    assert done.rc != 0
    assert "python -m venv" in done.stderr or "uv venv" in done.stderr
    assert whole(host, plan)


@pytest.mark.parametrize("command", [
    f"cd /tmp/own && {UV} torch==0.0.1",
    f"cd / && {UV} --python /tmp/own/.venv torch==0.0.1",
    f"cd / && {UV} -p /tmp/own/.venv/bin/python torch==0.0.1",
    f"cd / && {UV.replace('uv pip', 'uv --directory /tmp/own pip')} torch==0.0.1",
    "cd / && . /tmp/own/.venv/bin/activate && python -m pip install --no-index --find-links /tmp/other torch==0.0.1",
])  # fmt: skip
def test_an_environment_of_ones_own_may_have_any_torch(host: Host, command: str) -> None:
    """The image's guard does not reach into environments."""
    put_wheel(host, "/tmp/other", "torch", "0.0.1")
    bare = "" if "python -m pip" in command else "--without-pip"
    host.check_output(f"python -m venv --clear {bare} /tmp/own/.venv && {command}")
    assert host.run("test -e /tmp/own/.venv/lib/python3*/site-packages/torch-0.0.1.dist-info").rc == 0


def test_uv_ends_in_a_folder_that_is_gone(host: Host) -> None:
    """In a removed folder, the search of uv for an environment in parent folders ends."""
    done = host.run("mkdir -p /tmp/gone && cd /tmp/gone && rmdir /tmp/gone && timeout 10 uv pip list")
    assert done.rc not in (0, 124)


BARE = """
import importlib.util, pathlib, sysconfig, torch
def parses(source):
    try:
        compile(source.read_bytes(), source, "exec")
    except SyntaxError:
        return False
    return True
sites = [pathlib.Path(torch.__file__).parent.parent, pathlib.Path(sysconfig.get_path("purelib"))]
own = lambda s: "tests" in s.parts or "torch/testing/_internal" in s.as_posix()
sources = [s for site in sites for s in site.rglob("*.py") if not own(s)]
bare = [s for s in sources if not pathlib.Path(importlib.util.cache_from_source(s)).exists() and parses(s)]
print(len(sources) > 2000, [str(s) for s in bare])
"""


def test_modules_have_bytecode(host: Host, forks: str) -> None:
    """Every parseable module has bytecode, except packages' own tests and PyTorch's helpers for them."""
    assert host.check_output(f"{forks} -c '{BARE}'") == "True []"


@pytest.mark.compile
def test_compile_has_a_compiler(compiled: CommandResult) -> None:
    """torch.compile works on the CPU: it generates C++, compiles it and gets the same numbers."""
    assert compiled.rc == 0, compiled.stdout + compiled.stderr
    measured = json.loads(compiled.stdout)["measured"]
    assert min(measured["compiled"]) >= 1
    assert max(measured["error"]) <= 1e-5


MINE = f"{os.getuid()}:{os.getgid()}"
"""As in docker run -u $(id -u):$(id -g)."""


@pytest.mark.parametrize("user", dict.fromkeys(["1000", "12345:0", "12345:12345", MINE, "0:0"]))
def test_any_user_has_a_home(engine: Any, image: str, plan: Plan, user: str) -> None:
    """Under any uid and gid, torch and its compiler import and HOME is a folder that can be written."""
    program = "import torch; torch._dynamo" if compiles(plan.cell) else "import torch"
    command = ["sh", "-c", f'touch "$HOME/here" && python -c "{program}"']
    status, output = engine.run(image, command, user=user)
    assert status == 0, output


def test_process_one_reaps(host: Host) -> None:
    """Tini is process 1, so that orphans are reaped and signals arrive."""
    assert "tini" in host.check_output("cat /proc/1/cmdline | tr '\\0' ' '")
