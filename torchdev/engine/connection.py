"""Finds the engine to use: that of DOCKER_HOST or of a docker context, as the docker command does; never another."""

import functools
import hashlib
import json
import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import docker
from docker.errors import APIError, DockerException
from docker.tls import TLSConfig
from requests import RequestException

from torchdev.engine.refusals import short
from torchdev.util import files, texts
from torchdev.util.commands import build_py
from torchdev.util.errors import EngineError
from torchdev.wheels import variables
from torchdev.wheels.settings import refusal

T = TypeVar("T")
LIST = "docker context ls"
SHAPES = (Exception, KeyError, IndexError, TypeError, AttributeError, ValueError, UnicodeDecodeError, RecursionError)
"""What reading JSON of another shape raises, here and in docker-py; no type that derives from these counts."""
DEFAULT = "default"
OWN = ("", "unix:///var/run/docker.sock", "unix:///run/docker.sock")
"""Addresses of a machine's own engine; the empty one stands for no setting."""
START = ("start it (systemctl start docker), or install one: ", build_py("quickstart"))


@dataclass(frozen=True)
class Endpoint:
    """An engine's address and TLS files; an empty address is docker's default."""

    host: str = ""
    tls: "TLSConfig | None" = None


def client(environment: Mapping[str, str], timeout: int) -> docker.DockerClient:
    """A client of the configured engine; it has not asked the engine anything yet. InputError for a wrong setting."""
    where, named = endpoint(environment)
    try:
        if not named.host:
            return docker.from_env(timeout=timeout, environment=dict(environment), use_context=False)
        return docker.DockerClient(
            base_url=named.host, tls=named.tls or False, timeout=timeout, use_ssh_client=named.host.startswith("ssh:")
        )
    except (DockerException, ValueError) as error:
        if not where or _silent(error):
            raise
        raise refusal(f"names no engine: {_address(str(error))}", where, LIST) from None


def _silent(error: BaseException) -> bool:
    """Whether an engine was configured correctly and does not answer."""
    return "Error while fetching server API version" in str(error)


def unanswered(environment: Mapping[str, str], why: str) -> EngineError:
    """The error for an engine that does not answer; it names the setting, unless it is this machine's own engine."""
    where, named = endpoint(environment)
    address = environment.get("DOCKER_HOST") or named.host
    if address in OWN:
        return EngineError(f"no Docker Engine answers: {why}", next_step=START)
    what = f"no Docker Engine answers at {_address(address)}: {why}"
    variable = next((name for name in ("DOCKER_HOST", "DOCKER_CONTEXT") if environment.get(name)), "")
    own = f"unset {variable}" if variable else f"docker context use {DEFAULT}"
    return EngineError(what, where=where, next_step=("correct that setting, or go without it: ", own))


def _address(host: str) -> str:
    """An engine's address without the user, so that it can be shown."""
    return texts.shown(re.sub(r"//[^/]*@", "//", host))


def endpoint(environment: Mapping[str, str]) -> "tuple[str, Endpoint]":
    """The setting that chooses the engine, and its value: DOCKER_HOST, DOCKER_CONTEXT or the current context."""
    if host := environment.get("DOCKER_HOST"):
        return f"DOCKER_HOST={_address(host)}", Endpoint()
    folder = _folder(environment)
    if name := environment.get("DOCKER_CONTEXT"):
        where = f"DOCKER_CONTEXT={texts.shown(name)}"
    else:
        name, where = _current(folder / "config.json")
    return where, _context(folder, name, where) if name != DEFAULT else Endpoint()


def _folder(environment: Mapping[str, str]) -> Path:
    """The folder of the docker command's configuration."""
    if named := environment.get("DOCKER_CONFIG"):
        return Path(named)
    return (variables.home_folder(environment) or Path("/nonexistent")) / ".docker"


def _current(file: Path) -> "tuple[str, str]":
    """The current context, and the file that names it."""
    if not file.exists():
        return DEFAULT, ""
    name = _read(file).get("currentContext") or DEFAULT
    if not isinstance(name, str):
        raise refusal(f"its currentContext is no name: {texts.shown(name)}", str(file), LIST)
    return name, f"{file}, currentContext {texts.quoted(name)}"


def _context(folder: Path, name: str, where: str) -> Endpoint:
    """A context by name, from the files that `docker context create` writes."""
    key = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
    file = folder / "contexts" / "meta" / key / "meta.json"
    if not file.exists():
        raise refusal("docker has no context of that name", where, LIST)
    meta = _read(file)
    try:
        named = meta["Endpoints"]["docker"]
        host, unverified = named["Host"], bool(named.get("SkipTLSVerify"))
    except (KeyError, TypeError, AttributeError):
        raise refusal("names no engine's address", str(file), LIST) from None
    if not isinstance(host, str) or "://" not in host:
        raise refusal(f"{texts.quoted(host)} is no engine's address", str(file), LIST)
    return Endpoint(host, _tls(folder / "contexts" / "tls" / key / "docker", unverified=unverified))


def _tls(folder: Path, *, unverified: bool) -> "TLSConfig | None":
    """The TLS files of a context, if it has any."""
    if not folder.is_dir():
        return None
    files = (folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
    ca, cert, key = (str(path) if path.is_file() else None for path in files)
    return TLSConfig(client_cert=(cert, key) if cert and key else None, ca_cert=ca, verify=not unverified)


def _read(file: Path) -> dict[str, Any]:
    """A JSON object from a file of the docker command."""
    try:
        table = json.loads(files.read(file).decode("utf-8"))
    except json.JSONDecodeError as error:
        where = f"{file}:{error.lineno}:{error.colno}"
        raise refusal(f"can't be read: not JSON: {error.msg}", where, f"mend it; {LIST}") from None
    except UnicodeDecodeError as error:
        where = f"{file}:{texts.line_not_utf8(error)}"
        raise refusal("can't be read: it is not text in UTF-8", where, f"mend it; {LIST}") from None
    except (OSError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise refusal(f"can't be read: {why}", str(file), f"mend it; {LIST}") from None
    if not isinstance(table, dict):
        raise refusal("is no JSON object", str(file), f"mend it; {LIST}")
    return table


def said(error: APIError) -> str:
    """An engine's message, safe for a terminal."""
    return texts.shown(error.explanation or error, 1000)


FAILURES = (DockerException, RequestException)
"""What docker-py raises of an engine that fails."""


def told(cls: "type[T]") -> "type[T]":
    """Make every method of a class raise EngineError when the engine fails, unless it handles the failure itself."""
    for name, method in list(vars(cls).items()):
        if callable(method) and not name.startswith("__"):
            setattr(cls, name, _telling(method))
    return cls


def _telling(method: "Callable[..., Any]") -> "Callable[..., Any]":
    @functools.wraps(method)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            return method(*arguments, **options)
        except FAILURES as error:
            raise failed(error) from None

    return call


def reads(method: "Callable[..., T]") -> "Callable[..., T]":
    """Make a method that reads an engine's answer raise EngineError when the answer has another shape."""

    @functools.wraps(method)
    def call(*arguments: Any, **options: Any) -> T:
        try:
            return method(*arguments, **options)
        except Exception as error:
            if type(error) not in SHAPES:
                raise
            raise strange(error) from error

    return call


def strange(error: Exception) -> EngineError:
    """Convert an error of reading an answer that is not of the shape that the engine's interface has."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    what = f"{type(error).__name__} ({Path(last.filename).name}:{last.lineno}): {texts.shown(error)}"
    step = ("see what answers there: docker info; ", build_py("doctor"))
    return EngineError(f"the engine's answer is not one that Docker gives: {what}", next_step=step)


def failed(error: Exception) -> EngineError:
    """Convert an unexpected error of docker-py, such as an HTTP status or a lost connection."""
    if isinstance(error, APIError):
        what = f"the engine refuses: {said(error)}"
    else:
        what = f"the engine does not answer any more: {texts.shown(short(error), 400)}"
    return EngineError(what, next_step=build_py("doctor"))
