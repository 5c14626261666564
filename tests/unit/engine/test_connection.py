"""Which engine is meant: a name that stands for none, and files that can't be read, are errors."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from torchdev.engine import client, connection
from torchdev.util.errors import EngineError, Exit, InputError

META = {"Name": "remote", "Endpoints": {"docker": {"Host": "unix:///nowhere/docker.sock", "SkipTLSVerify": False}}}
HOSTLESS = {"Endpoints": {"docker": {"Host": 3}}}


def write(folder: Path, meta: object = META, current: str = "", name: str = "remote") -> "dict[str, str]":
    """A docker configuration with one context; the environment that names its folder."""
    file = folder / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest() / "meta.json"
    file.parent.mkdir(parents=True)
    file.write_text(meta if isinstance(meta, str) else json.dumps(meta))
    if current:
        (folder / "config.json").write_text(json.dumps({"currentContext": current}))
    return {"DOCKER_CONFIG": str(folder)}


def test_a_context_is_found_by_variable_or_as_the_current_one(tmp_path: Path) -> None:
    """DOCKER_HOST comes before both; default is the engine of this machine."""
    environment = write(tmp_path, current="remote")
    assert connection.endpoint(environment)[1].host == "unix:///nowhere/docker.sock"
    assert connection.endpoint({**environment, "DOCKER_CONTEXT": "default"})[1].host == ""
    (tmp_path / "config.json").unlink()
    assert connection.endpoint(environment)[1].host == ""
    assert connection.endpoint({**environment, "DOCKER_CONTEXT": "remote"})[1].host == "unix:///nowhere/docker.sock"
    assert connection.endpoint({**environment, "DOCKER_CONTEXT": "none", "DOCKER_HOST": "unix:///x"})[1].host == ""


@pytest.mark.parametrize("name", ["other", "../remote", "remote ", "-x"])
def test_a_context_that_docker_does_not_have_is_refused(tmp_path: Path, name: str) -> None:
    """By the name of its variable, or by the file that names it; never is another engine taken."""
    environment = write(tmp_path, current=name)
    for given, where in ({"DOCKER_CONTEXT": name}, "DOCKER_CONTEXT="), ({}, str(tmp_path / "config.json")):
        with pytest.raises(InputError, match="docker has no context of that name") as raised:
            connection.client({**environment, **given}, 1)
        assert raised.value.where.startswith(where)
        assert raised.value.code is Exit.INPUT


@pytest.mark.parametrize("text", ["{", "[]", "3", "", '{"currentContext": 3}', "[" * 9000, "\udcff"])
def test_a_configuration_that_can_not_be_read_is_refused(tmp_path: Path, text: str) -> None:
    """It may name an engine."""
    (tmp_path / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=str(tmp_path / "config.json")):
        connection.client({"DOCKER_CONFIG": str(tmp_path)}, 1)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Reading one might not end."""
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(InputError, match="it is not a file"):
        connection.client({"DOCKER_CONFIG": str(tmp_path)}, 1)


@pytest.mark.parametrize("meta", ["{", {}, {"Endpoints": []}, HOSTLESS, {"Endpoints": {"docker": {"Host": "x"}}}])
def test_a_context_without_an_address_is_refused(tmp_path: Path, meta: object) -> None:
    """Its file is named."""
    environment = write(tmp_path, meta)
    with pytest.raises(InputError, match=r"meta\.json"):
        connection.client({**environment, "DOCKER_CONTEXT": "remote"}, 1)


@pytest.mark.parametrize("host", ["nonsense://x", "tcp://", "tcp://h:port", "tcp://h:99999", "http://[::1"])
def test_an_address_that_is_none_is_refused(host: str) -> None:
    """The variable is named."""
    with pytest.raises(InputError, match=r"^DOCKER_HOST="):
        connection.client({"DOCKER_HOST": host}, 1)


@pytest.mark.parametrize("host", ["unix:///nonexist.sock", "tcp://127.0.0.1:9", "http://127.0.0.1:9"])
def test_a_wrong_docker_host_is_named_with_a_way_out(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """To start or install an engine here would not help."""
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(EngineError) as raised:
        client.Engine()
    assert raised.value.where == f"DOCKER_HOST={host}"
    assert raised.value.what.startswith(f"no Docker Engine answers at {host}: ")
    assert raised.value.next_step.endswith("unset DOCKER_HOST")


def test_a_wrong_context_is_named_with_a_way_out(tmp_path: Path) -> None:
    """By its variable, or by the file that names the current one."""
    current = write(tmp_path, current="remote")
    error = connection.unanswered(current, "why")
    assert str(tmp_path / "config.json") in error.where
    assert error.what == "no Docker Engine answers at unix:///nowhere/docker.sock: why"
    assert error.next_step.endswith("docker context use default")
    error = connection.unanswered({**current, "DOCKER_CONTEXT": "remote"}, "why")
    assert error.next_step.endswith("unset DOCKER_CONTEXT")


@pytest.mark.parametrize("environment", [{}, {"DOCKER_HOST": "unix:///var/run/docker.sock"}])
def test_the_machines_own_engine_is_to_be_started(tmp_path: Path, environment: "dict[str, str]") -> None:
    """Or installed."""
    error = connection.unanswered({"DOCKER_CONFIG": str(tmp_path), **environment}, "why")
    assert error.what == "no Docker Engine answers: why"
    assert error.next_step.endswith("quickstart")


@pytest.mark.parametrize("host", ["tcp://u:secret@127.0.0.1:9", "tcp://secret@h", "nonsense://u:sec@secret@h"])
def test_a_password_in_an_address_is_not_shown(host: str) -> None:
    """Neither of the setting, nor in docker's own words."""
    with pytest.raises(InputError, match="DOCKER_HOST") as raised:
        connection.client({"DOCKER_HOST": host}, 1)
    assert "secret" not in str(raised.value)
    assert "secret" not in str(connection.unanswered({"DOCKER_HOST": host}, "why"))
