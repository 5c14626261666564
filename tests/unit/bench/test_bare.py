"""A machine with nothing, and what is typed on it."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import bare, baseline, job, measure
from bench.contenders import Setting
from bench.engine import Workspace
from bench.measure import Measured
from bench.results import EARLIER, Results
from tests.unit.bench.conftest import SUBJECT, cost
from torchdev.util.errors import EngineError
from torchdev.wheels.host import Host
from torchdev.wheels.logins import Login


@pytest.fixture
def debian(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's files without Debian: the folders that a root has."""

    def make(workspace: Workspace, root: Path) -> None:
        for name in ("etc/ssl/certs", "root", "var/tmp"):
            (root / name).mkdir(parents=True)

    monkeypatch.setattr(bare, "_debian", make)
    monkeypatch.setattr(bare, "settle", lambda: None)
    monkeypatch.setattr(bare, "name_servers", lambda: "nameserver 192.0.2.1\n")


def test_mirrors_are_those_of_this_machine() -> None:
    """Of whatever release they are known here; else all are mmdebstrap's own, also if one's address has a password."""
    sites = {"bookworm": "http://a", "bookworm-security": "http://b", "bookworm-updates": "http://c"}
    assert bare.sources(sites) == [
        f"deb http://a {bare.SUITE} main",
        f"deb http://c {bare.SUITE}-updates main",
        f"deb http://b {bare.SUITE}-security main",
    ]
    assert bare.sources({**sites, bare.SUITE: "http://d"})[0] == f"deb http://d {bare.SUITE} main"
    assert bare.sources({**sites, "bookworm-updates": "http://u:p@c"}) == []
    assert bare.sources({}) == []


def test_the_machine_has_what_reaches_a_network(debian: None, setting: Setting, tmp_path: Path) -> None:
    """Name servers, certificates, passwords for their owner alone, the network's MTU; nothing of it stays."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text("certificates")
    login = Login("index.invalid", "me", "secret")
    host = replace(Host(), ca_bundle=bundle, logins=(login,), proxies=(("HTTPS_PROXY", "http://proxy.invalid"),))
    with bare.machine(setting.workspace, host, "bare") as found:
        assert (found.root / "etc" / "resolv.conf").read_text() == "nameserver 192.0.2.1\n"
        assert (found.root / bare.CERTIFICATES.lstrip("/")).read_text() == "certificates"
        netrc = found.root / "root" / ".netrc"
        assert "secret" in netrc.read_text()
        assert netrc.stat().st_mode & 0o77 == 0
        assert json.loads((found.root / "etc" / "docker" / "daemon.json").read_text()) == {"mtu": 1400}
        assert found.variables["PIP_INDEX_URL"] == "https://index.invalid/simple"
        assert found.variables["https_proxy"] == found.variables["HTTPS_PROXY"] == "http://proxy.invalid"
        assert found.variables["PIP_CERT"] == bare.CERTIFICATES
        assert "LS_COLORS" not in found.variables
        assert (found.root / found.bring(bundle).lstrip("/")).read_text() == "certificates"
    assert not found.root.parent.exists()


def test_folders_of_wheels_are_refused(setting: Setting, tmp_path: Path) -> None:
    """They are on this machine, and a machine with nothing has none."""
    with (
        pytest.raises(EngineError, match="no folders of wheels"),
        bare.machine(setting.workspace, replace(Host(), folders=(tmp_path,)), "bare"),
    ):
        pass


def test_a_machine_that_can_not_be_had_is_told(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the tool that is missing, or by the last words of mmdebstrap."""
    monkeypatch.setattr(bare.shutil, "which", lambda name: None if name == "mmdebstrap" else name)
    with pytest.raises(EngineError, match="missing: mmdebstrap"), bare.machine(setting.workspace, Host(), "bare"):
        pass

    def failed(command: "list[str]", **more: Any) -> "subprocess.CompletedProcess[str]":
        assert command[:2] == ["nsenter", "mmdebstrap"]
        return subprocess.CompletedProcess(command, 1, "", "E: no network\n")

    monkeypatch.setattr(bare.shutil, "which", lambda name: name)
    monkeypatch.setattr(bare, "KEYRING", Path(__file__))
    monkeypatch.setattr(bare, "debian_sites", dict)
    monkeypatch.setattr(bare.subprocess, "run", failed)
    with pytest.raises(EngineError, match="no network"), bare.machine(setting.workspace, Host(), "bare"):
        pass


def test_a_script_runs_apart(debian: None, setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the bench's network, with mounts and processes of its own that end with it, and no other variables."""
    commands = []

    def run(command: measure.Command, log: Path, **more: Any) -> Measured:
        commands.append(command)
        return cost(1.0)

    monkeypatch.setattr(measure, "run", run)
    with bare.machine(setting.workspace, Host(), "bare") as found:
        found.run("script", "word")
    [command] = commands
    assert command.words[:2] == ["nsenter", "unshare"]
    assert {"--mount", "--pid", "--fork", "--kill-child"} <= set(command.words)
    assert command.words[-6:] == [str(found.root), "sh", "-ec", "script", "sh", "word"]
    assert command.env == found.variables
    subprocess.run(["sh", "-n", "-c", bare.ENTER], check=True)


TOOL = '#!/bin/sh\necho "${0##*/} $*" >> "$LOG"\ncase "$*" in "clone "*) mkdir torchdev ;; esac\nexit "${FAILS:-0}"\n'


@pytest.fixture
def typed(tmp_path: Path) -> "Iterator[Any]":
    """Runs the script with tools that only note how they were called."""
    for name in ("git", "python3", "docker"):
        (tmp_path / name).write_text(TOOL)
        (tmp_path / name).chmod(0o755)
    log = tmp_path / "log"

    def run(**more: str) -> "tuple[int, list[str]]":
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LOG": str(log), **more}
        command = ["sh", "-ec", job.SCRIPT, "sh", "/bundle", "abc", "py311"]
        status = subprocess.run(command, cwd=tmp_path, env=environment, check=False).returncode
        return status, log.read_text().splitlines()

    return run


def test_what_is_typed(typed: Any, tmp_path: Path) -> None:
    """The clone, the quickstart of the cell, the CNN in its image."""
    status, said = typed()
    assert status == 0
    assert said == [
        "git clone --quiet --no-checkout /bundle torchdev",
        "git checkout --quiet --detach abc",
        "python3 build.py quickstart --yes py311",
        f"docker run --rm -v {tmp_path}/torchdev/workloads:/opt/workloads:ro -w /opt torchdev:py311 "
        "python -m workloads.cnn",
    ]


def test_what_fails_ends_it(typed: Any) -> None:
    """Nothing is measured of a machine on which a step failed."""
    assert typed(FAILS="3") == (3, ["git clone --quiet --no-checkout /bundle torchdev"])


@pytest.mark.parametrize(("who", "commit"), [(EARLIER, EARLIER), ("torchdev", "HEAD")])
def test_each_quickstart_has_a_machine(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, who: str, commit: str
) -> None:
    """Both clone the same history, and check out what is measured."""
    ran = []

    class Bare:
        def bring(self, file: Path) -> str:
            return f"/brought/{file.name}"

        def run(self, script: str, *words: str) -> Measured:
            ran.append(words)
            return cost(300.0)

    @contextmanager
    def machine(workspace: Workspace, host: Host, name: str) -> Iterator[Bare]:
        yield Bare()

    monkeypatch.setattr(job, "machine", machine)
    monkeypatch.setattr(baseline, "bundle", lambda workspace, root: tmp_path / "b")
    results = Results()
    job.quickstart(results, setting, SUBJECT, who)
    assert ran == [("/brought/b", commit, SUBJECT.id)]
    assert results.get("quickstart", "seconds", who, 1) == 300.0
