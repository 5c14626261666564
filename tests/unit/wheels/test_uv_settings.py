"""uv's settings are put together as uv does it: held against what the installed uv says of each case."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from uv import find_uv_bin

from torchdev.util.errors import Exit, InputError
from torchdev.util.texts import shown
from torchdev.wheels import uv_settings
from torchdev.wheels.host import host_of
from torchdev.wheels.settings import Settings

FULL = """
index-url = "https://top.example/simple"
extra-index-url = ["https://extra.example/tok/simple"]
find-links = ["https://links.example/page", "wheels"]
[pip]
index-url = "https://pip.example/simple"
extra-index-url = ["https://pipextra.example/simple"]
find-links = ["/usr"]
[[index]]
name = "foo"
url = "https://named.example/simple"
[[index]]
name = "flat"
url = "https://flat.example/simple"
format = "flat"
[[index]]
name = "exp"
url = "https://exp.example/simple"
explicit = true
"""
DEFAULT = '[[index]]\nname = "own"\nurl = "https://own.example/simple"\ndefault = true\n'
USER = 'index-url = "https://user.example"\nextra-index-url = ["https://ux.example"]\n[[index]]\nurl = "https://un.example"\n'
CASES: "dict[str, tuple[dict[str, str], dict[str, str]]]" = {
    "nothing": ({}, {}),
    "whole file": ({"uv.toml": FULL}, {}),
    "default among the named": ({"uv.toml": FULL + DEFAULT}, {}),
    "user's file behind the folder's": ({"uv.toml": FULL, "home/.config/uv/uv.toml": USER}, {}),
    "another configuration folder": ({"etc/uv/uv.toml": USER}, {"XDG_CONFIG_HOME": "{}/etc"}),
    "system's folder": ({"etc/uv/uv.toml": USER}, {"XDG_CONFIG_DIRS": "{}/none:{}/etc"}),
    "relative configuration folder": ({"etc/uv/uv.toml": USER}, {"XDG_CONFIG_HOME": "etc"}),
    "one file alone": ({"uv.toml": FULL, "one.toml": USER}, {"UV_CONFIG_FILE": "{}/one.toml"}),
    "no file": ({"uv.toml": FULL, "home/.config/uv/uv.toml": USER}, {"UV_NO_CONFIG": "1"}),
    "project": ({"pyproject.toml": '[tool.uv]\nindex-url = "https://project.example"\n'}, {}),
    "project of another tool": ({"pyproject.toml": "[tool.ruff]\n", "home/.config/uv/uv.toml": USER}, {}),
    "variables": (
        {"uv.toml": FULL + DEFAULT},
        {"UV_INDEX": "e=https://env.example https://plain.example", "UV_EXTRA_INDEX_URL": "https://ee.example"},
    ),
    "older variable": ({"uv.toml": FULL}, {"UV_INDEX_URL": "https://envurl.example"}),
    "newer before older": ({}, {"UV_DEFAULT_INDEX": "d=https://new.example", "UV_INDEX_URL": "https://old.example"}),
    "empty variables": ({"uv.toml": FULL}, {"UV_INDEX_URL": "", "UV_DEFAULT_INDEX": "", "UV_INDEX": ""}),
    "folders of a variable": ({}, {"UV_FIND_LINKS": "/var,/usr/lib,https://links.example/x"}),
    "no index": ({"uv.toml": "no-index = true\n"}, {}),
    "no index, of pip's part": ({"uv.toml": "[pip]\nno-index = true\n"}, {}),
    "no variable of uv's": ({"uv.toml": FULL}, {"UV_NO_INDEX": "true"}),
    "hosts": (
        {"uv.toml": 'allow-insecure-host = ["a.example", "b.example:8080"]\n'},
        {"UV_INSECURE_HOST": "c.example"},
    ),
}


def prepared(tmp_path: Path, name: str) -> "dict[str, str]":
    """A folder with a case's files, and its environment."""
    files, variables = CASES[name]
    for file, text in files.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    return {"HOME": str(tmp_path / "home"), **{key: value.format(*[tmp_path] * 2) for key, value in variables.items()}}


def said(environment: "dict[str, str]", folder: Path) -> "dict[str, object]":
    """What uv says: URL to whether it is a default, for indexes and flat ones, in their order."""
    command = [find_uv_bin(), "pip", "compile", "--show-settings", "--offline", "requirements.in"]
    text = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout
    part = text[text.index("index_locations: ") :]
    entries = []
    for entry in re.split(r"\n\s+Index \{\n", part)[1:]:
        given = re.search(r'given: Some\(\s+"([^"]*)"', entry)
        assert given
        flags = dict(re.findall(r"^ +(explicit|default|format): (\w+),$", entry, re.M))
        entries.append((given[1], flags))
    simple = [
        (url, f["default"] == "true") for url, f in entries if f["format"] == "Simple" and f["explicit"] != "true"
    ]
    insecure = re.search(r"allow_insecure_host: \[(.*?)\],\n", text, re.S)
    trusted = re.findall(r'host: "([^"]+)",\s+port: (?:Some\(\s+(\d+)|None)', insecure[1] if insecure else "")
    return {
        "index": next((url for url, default in simple if default), None),
        "extra": [url for url, default in simple if not default],
        "links": sorted(url for url, f in entries if f["format"] == "Flat"),
        "no_index": bool(re.search(r"no_index: true", part)),
        "trusted": [f"{host}:{port}" if port else host for host, port in trusted],
    }


@pytest.mark.parametrize("name", list(CASES))
def test_settings_are_those_that_uv_says(tmp_path: Path, name: str) -> None:
    """Index, extra indexes in their order, pages and folders, and whether any index may be asked."""
    environment = prepared(tmp_path, name)
    found, expected = uv_settings.read(environment, tmp_path), said(environment, tmp_path)
    assert (found.index.text if found.index else None) == expected["index"]
    assert [location.text for location in found.extra] == expected["extra"]
    given = {str(tmp_path / str(url)) if "://" not in str(url) else str(url) for url in expected["links"]}  # type: ignore[attr-defined]
    assert {location.text for location in found.links} == given
    assert found.no_index == expected["no_index"]
    assert list(found.trusted) == expected["trusted"]


BROKEN = {
    "index as a text": 'index = "https://x"',
    "number for a URL": "index-url = 3",
    "list for a table": "pip = []",
    "entry without URL": '[[index]]\nname = "a"',
    "text for a switch": '[[index]]\nurl = "https://x.example"\ndefault = "yes"',
    "unknown key": "index-urls = []",
    "unknown key of pip's part": "[pip]\nproxy = 3",
    "no host": 'index-url = "https://"',
    "a port too far": 'extra-index-url = ["https://h.example:99999/"]',
    "no scheme that builds know": 'index-url = "ftp://h.example/simple"',
    "quotes in a password": 'index-url = "https://u:it\'s@h.example/simple"',
    "a line's end": 'index-url = "https://h.example/\\nindex-url = https://evil.example"',
    "folder of no user": 'find-links = ["~nosuchuser/wheels"]',
    "never credentials": '[[index]]\nurl = "https://x.example"\nauthenticate = "never"',
    "a proxy for uv alone": 'https-proxy = "http://proxy.example:3128"',
    "not TOML": "index-url = [",
    "brackets": "index-url = " + "[" * 3000,
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_what_uv_or_a_build_can_not_use_is_refused(tmp_path: Path, name: str) -> None:
    """Exit 2, and the file or the setting is named; nothing is passed over."""
    (tmp_path / "uv.toml").write_text(BROKEN[name] + "\n")
    with pytest.raises(InputError) as raised:
        host_of({}, Settings(), uv_settings.read({"HOME": str(tmp_path)}, tmp_path), None)
    assert raised.value.code is Exit.INPUT
    assert str(tmp_path) in raised.value.where or "uv's" in raised.value.where
    assert raised.value.next_step


VARIABLES = {
    "UV_CONFIG_FILE": "/nowhere/uv.toml",
    "UV_HTTP_TIMEOUT": "soon",
    "UV_INDEX": "a=https://h.example:99999/",
    "UV_INDEX_URL": "gopher://h.example",
    "UV_FIND_LINKS": "/nowhere/at/all",
}


@pytest.mark.parametrize("name", list(VARIABLES))
def test_variables_are_refused_alike(tmp_path: Path, name: str) -> None:
    """The variable is named, or the file that it names."""
    with pytest.raises(InputError, match=f"{name}|{VARIABLES[name]}|uv's --index"):
        host_of({}, Settings(), uv_settings.read({name: VARIABLES[name]}, tmp_path), None)


@pytest.mark.parametrize("named", ["/nowhere", "/nowhere/", "/etc/passwd", "/dev/null", "/proc", "nowhere", "a b\x1b"])
def test_a_folder_for_temporary_files_that_is_none_is_named(tmp_path: Path, named: str) -> None:
    """By the variable that names it, and as a terminal can show it."""
    with pytest.raises(
        InputError, match=r"uv can't write temporary files there: No(t a directory| such file)"
    ) as raised:
        uv_settings.read({"TMPDIR": named}, tmp_path)
    assert raised.value.where == f"TMPDIR={shown(named)}"
    assert raised.value.next_step.startswith("set TMPDIR")


def test_a_file_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    """At once: uv would wait for its writer."""
    os.mkfifo(tmp_path / "uv.toml")
    with pytest.raises(InputError, match=r"UV_CONFIG_FILE=uv\.toml: it is not a file"):
        uv_settings.read({"UV_CONFIG_FILE": "uv.toml"}, tmp_path)
    uv_settings.read({"UV_CONFIG_FILE": "/dev/null"}, tmp_path / "..")


def test_secrets_of_a_broken_file_are_not_repeated(tmp_path: Path) -> None:
    """The message of uv shows the line; it may have a password or a token."""
    for text in ('index-url = "https://u:s3cret@h.example:99999/t0ken-123/simple"', 'index-url = "s3cret\nt0ken-123'):
        (tmp_path / "uv.toml").write_text(text)
        with pytest.raises(InputError) as raised:
            uv_settings.read({}, tmp_path)
        assert not re.search("s3cret|t0ken", str(raised.value))


def test_credentials_of_variables_belong_to_the_index_of_that_name(tmp_path: Path) -> None:
    """UV_INDEX_NAME_USERNAME and _PASSWORD, for files and for UV_INDEX; percent-encoded."""
    (tmp_path / "uv.toml").write_text('[[index]]\nname = "my-own"\nurl = "https://h.example/simple"\n')
    login = {"UV_INDEX_MY_OWN_USERNAME": "me", "UV_INDEX_MY_OWN_PASSWORD": "a/b@c"}
    found = uv_settings.read({**login, "UV_INDEX": "two=https://two.example"}, tmp_path)
    assert [location.text for location in found.extra] == [
        "https://two.example",
        "https://me:a%2Fb%40c@h.example/simple",
    ]
