"""pip's settings, as pip itself prints them; settings that pip can't read, or that builds can't use, are errors."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from torchdev.util import redact
from torchdev.util.errors import InputError
from torchdev.wheels.settings import TIMEOUT, Location, Settings, hosts, locations, refusal

PIP = (sys.executable, "-P", "-m", "pip", "config")
"""Runs pip without the current folder on its path, which could contain a module named pip."""
SHOW = "python -m pip config debug  # names every file, and what is in it"
INDEXES = ("index-url", "extra-index-url", "find-links", "no-index", "trusted-host")
"""Settings of where pip looks, which must not differ between its commands."""
TRUE, FALSE = ("y", "yes", "t", "true", "on", "1"), ("n", "no", "f", "false", "off", "0")
"""pip's values for true and false."""


def read(environment: Mapping[str, str]) -> Settings:
    """Read pip's configuration by running pip; InputError if there is no pip, or it can't read its files."""
    named = environment.get("PIP_CONFIG_FILE")
    if named and named != os.devnull and not Path(named).is_file():
        raise refusal("there is no such file, and pip would go on without it", f"PIP_CONFIG_FILE={named}")
    children = [_start(word, environment) for word in ("list", "debug")]
    listing, files = (_said(child) for child in children)
    for path in unreadable(files):
        raise refusal("this user can't read it, and pip would go on without it", path)
    return parse(listing, environment)


def _start(word: str, environment: Mapping[str, str]) -> "subprocess.Popen[str]":
    pipe, none = subprocess.PIPE, subprocess.DEVNULL
    command, own = [*PIP, word], dict(environment)
    try:
        return subprocess.Popen(command, env=own, stdin=none, stdout=pipe, stderr=pipe, text=True, errors="replace")
    except OSError as error:
        raise refusal(f"pip can't be asked for its settings: {error.strerror}", sys.executable) from None


def _said(child: "subprocess.Popen[str]") -> str:
    """The output of a pip command; InputError with its reason if it fails."""
    try:
        output, errors = child.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise refusal(f"pip does not answer within {TIMEOUT} s", "pip config list", SHOW) from None
    if child.returncode:
        told = [line for line in output.splitlines() if line.startswith("An error occurred")]  # pip's standard output
        raise failure("\n".join([errors, *told]))
    return output


def failure(errors: str) -> InputError:
    """Why pip fails to print its configuration; secrets are removed, because pip may repeat a line."""
    if "No module named pip" in errors:
        what = "this Python has no pip, so pip's settings, such as a private index, can't be known"
        return refusal(what, sys.executable, f"{sys.executable} -m ensurepip, or: uv pip install pip")
    lines = [line.strip() for line in errors.splitlines() if line.strip() and not line.strip().startswith(("'", '"'))]
    found = re.search(r"(?:file: |from |source contains parsing errors: )'([^']+)'|(?:in|read) (/\S+?)\.?$", errors,
                      re.MULTILINE | re.IGNORECASE)  # fmt: skip
    file = next(filter(None, found.groups()), "") if found else ""
    safe = [re.sub(r": '.*", "", line) for line in lines if "Traceback" not in line][-3:]
    what = redact.urls(" ".join(safe)) or "pip config list fails"
    step = "mend that file" if file else "mend what it names; torchdev goes on only with all of pip's settings"
    return refusal(f"pip can't read its configuration: {what}", file or "pip config list", step)


def unreadable(debug: str) -> "list[str]":
    """The files that `pip config debug` lists and this user can't read."""
    there = re.findall(r"^  (.+), exists: True$", debug, re.MULTILINE)
    return [path for path in there if path != os.devnull and not (Path(path).is_file() and os.access(path, os.R_OK))]


def parse(listing: str, environment: Mapping[str, str]) -> Settings:
    """The settings that `pip config list` prints: those of install override global ones, the environment overrides
    both.
    """
    table = _table(listing)
    found: dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        found |= {key: value for key, value in table.get(section, {}).items() if value.strip() or section != ":env:"}
    _refuse_others(table, found)
    _refuse_unsupported(found, environment)
    index = [value] if (value := found.get("index-url", "").strip()) else []
    if "index-url" in found and not index:
        raise refusal("it is empty, and pip would ask PyPI", _where("index-url"), SHOW)
    return Settings(
        index=next(iter(locations(index, _where("index-url"))), None),
        extra=locations(found.get("extra-index-url", "").split(), _where("extra-index-url")),
        links=locations(map(_expanded, found.get("find-links", "").split()), _where("find-links")),
        no_index=_switch(found.get("no-index", "")),
        trusted=hosts(found.get("trusted-host", "").split(), _where("trusted-host")),
        cert=Location(_expanded(found["cert"].strip()), _where("cert")) if found.get("cert", "").strip() else None,
        lenient=True,
    )


def _table(listing: str) -> dict[str, dict[str, str]]:
    """Section to key to value; a key that is no option's name is a typing mistake, which pip ignores."""
    table: dict[str, dict[str, str]] = {}
    for line in listing.splitlines():
        match = re.fullmatch(r"(:env:|[^.]+)\.(.+?)=(['\"].*)", line)
        if not match:
            continue
        section, key, value = match.groups()
        if not re.fullmatch(r"[a-z0-9-]+", key) and section != ":env:":
            what = f"pip knows no option {redact.urls(key.split()[0])!r} as it is written there, and ignores it"
            raise refusal(f"{what}; is a = missing?", f"pip's section {section}", SHOW)
        table.setdefault(section, {})[key] = str(ast.literal_eval(value))
    return table


def _refuse_others(table: dict[str, dict[str, str]], found: Mapping[str, str]) -> None:
    """Refuse different indexes for single pip commands: builds run pip download, which would not use those of pip
    install.
    """
    for section in ("download", "wheel"):
        for key in INDEXES:
            value = table.get(section, {}).get(key)
            if value and value.split() != found.get(key, "").split():
                what = f"pip {section} and pip install look at different places, and a build can have only one of them"
                raise refusal(what, f"pip's setting {section}.{key}", "move it to [global]; " + SHOW)


def _refuse_unsupported(found: Mapping[str, str], environment: Mapping[str, str]) -> None:
    """Refuse settings that pip obeys and builds can't use."""
    if found.get("client-cert", "").strip():
        what = "a client certificate can't be handed to builds"
        raise refusal(what, _where("client-cert"), "take it away; have a mirror without one, or a proxy that adds it")
    proxy = found.get("proxy", "").strip()
    names = ("HTTPS_PROXY", "HTTP_PROXY")
    if proxy and any((environment.get(name.lower()) or environment.get(name)) != proxy for name in names):
        what = "it holds for pip alone, and torchdev, uv and Debian's apt need the proxy, too"
        raise refusal(what, _where("proxy"), "set HTTPS_PROXY and HTTP_PROXY to the same")


def _switch(text: str) -> bool:
    word = text.strip().lower()
    if word and word not in (*TRUE, *FALSE):
        raise refusal(f"{word!r} is neither true nor false", _where("no-index"), SHOW)
    return word in TRUE


def _expanded(path: str) -> str:
    """A path with ~ expanded as pip does; without a home it stays as it is."""
    try:
        return str(Path(path).expanduser()) if path.startswith("~") else path
    except RuntimeError:
        return path


def _where(key: str) -> str:
    return f"pip's setting {key}"
