"""What this machine's owner has set for package downloads: proxies, CA bundle, indexes, wheel folders.

pip's and uv's own settings are read, and given on to resolution and to builds. In builds they are secrets:
they never reach a layer, an ARG or the history of an image.
"""

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from torchdev import texts
from torchdev.errors import InputError

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY")
CA_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PYTORCH_INDEX = "https://download.pytorch.org/whl"
PYTORCH_VARIABLE = "TORCHDEV_PYTORCH_INDEX"
SYSTEM_CA = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Host:
    """Download settings of this machine; `folders` holds wheels or package folders on its own disk."""

    proxies: tuple[tuple[str, str], ...] = ()
    ca_bundle: "Path | None" = None
    index: "str | None" = None
    extra_indexes: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    netrc: "Path | None" = None
    pytorch_index: str = PYTORCH_INDEX

    @property
    def verify(self) -> "str | bool":
        """What requests is told of certificates: the CA bundle, or its own."""
        return str(self.ca_bundle) if self.ca_bundle else True

    def uv_toml(self) -> str:
        """A uv configuration with the remote indexes; local folders are no part of it."""
        lines = []
        if self.index:
            lines.append(f"index-url = {_toml(self.index)}")
        if self.extra_indexes:
            lines.append(f"extra-index-url = {_toml_list(self.extra_indexes)}")
        if self.find_links:
            lines.append(f"find-links = {_toml_list(self.find_links)}")
        return "".join(f"{line}\n" for line in lines)

    def pip_conf(self) -> str:
        """The same for pip."""
        lines = ["[global]"]
        if self.index:
            lines.append(f"index-url = {self.index}")
        if self.extra_indexes:
            lines.append("extra-index-url = " + " ".join(self.extra_indexes))
        if self.find_links:
            lines.append("find-links = " + " ".join(self.find_links))
        if plain := self._plain():
            lines.append("trusted-host = " + " ".join(plain))
        return "".join(f"{line}\n" for line in lines)

    def _plain(self) -> "list[str]":
        """Hosts that are named with http: uv takes them as they are, and pip only if it is told to."""
        urls = [*([self.index] if self.index else []), *self.extra_indexes, *self.find_links, self.pytorch_index]
        return sorted({urlparse(url).netloc.rpartition("@")[2] for url in urls if url.startswith("http://")})


def read_host(environment: "Mapping[str, str]" = os.environ) -> Host:
    """Read this machine's settings; uv's win over pip's, the environment over files."""
    pip, uv = _pip_settings(), _uv_settings(environment)
    indexes = _words(uv.get("extra-index-url")) or _words(pip.get("extra-index-url"))
    links = _words(uv.get("find-links")) or _words(pip.get("find-links"))
    index = uv.get("index-url") or pip.get("index-url")
    places = [*(_words(index)), *indexes, *links]
    netrc = Path(environment.get("NETRC", Path.home() / ".netrc"))
    return Host(
        proxies=tuple(_proxies(environment)),
        ca_bundle=_ca_bundle(environment, pip),
        index=index if index and _folder(index) is None else None,
        extra_indexes=tuple(url for url in indexes if _folder(url) is None),
        find_links=tuple(url for url in links if _folder(url) is None),
        folders=tuple(dict.fromkeys(folder for place in places if (folder := _folder(place)) and folder.is_dir())),
        netrc=netrc if netrc.is_file() else None,
        pytorch_index=environment.get(PYTORCH_VARIABLE, PYTORCH_INDEX).rstrip("/"),
    )


def find_wheels(host: Host, wanted: "Iterable[tuple[str, str, str | None]]") -> dict[str, Path]:
    """Wheel file name to its path in the host's own folders, for (project, file name, sha256) found there."""
    found = {}
    for project, file, sha256 in wanted:
        for candidate in local_wheels(host, project):
            if candidate.name == file and sha256_of(candidate) == sha256:
                found[file] = candidate
    return found


def link_or_copy(source: Path, target: Path) -> None:
    """Put a file elsewhere, in the place of one that is there: without copying, where both are on one file system."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def local_wheels(host: Host, project: str) -> "list[Path]":
    """The wheels of a project in the host's own folders, be they flat or laid out as an index."""
    prefix = project.replace("-", "_") + "-"
    found: list[Path] = []
    for folder in host.folders:
        flat = (path for path in folder.iterdir() if path.name.startswith(prefix))
        wheels = [path for path in (*flat, *_linked(folder / project)) if path.suffix == ".whl" and path.is_file()]
        for path in wheels:
            if refusal := texts.WHEEL.refusal(path.name):
                raise InputError(refusal, where=str(folder), next_step="rename it, or take it out of that folder")
        found += wheels
    return found


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _linked(folder: Path) -> "list[Path]":
    """Files that a project page (PEP 503) of an index on this disk links to."""
    page = folder / "index.html"
    if not page.is_file():
        return []
    links = re.findall(r'href="([^"#]+)', page.read_text(encoding="utf-8"))
    return [(folder / unquote(link)).resolve() for link in links if not urlparse(link).scheme and "%00" not in link]


def _pip_settings() -> dict[str, str]:
    """Pip's merged settings, by pip itself; `global.` and `install.` and the environment, last one wins."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    found: dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        for key, value in re.findall(rf"^{section}\.([a-z-]+)=(.+)$", listing, re.MULTILINE):
            found[key] = str(ast.literal_eval(value))
    return found


def _uv_settings(environment: Mapping[str, str]) -> dict[str, Any]:
    """Uv's index settings from its system and user files and its environment variables."""
    found: dict[str, Any] = {}
    user = Path(environment.get("XDG_CONFIG_HOME", Path.home() / ".config"), "uv", "uv.toml")
    for path in (Path("/etc/uv/uv.toml"), user):
        if path.is_file():
            try:
                table = tomllib.loads(path.read_text(encoding="utf-8"))
            except tomllib.TOMLDecodeError as error:
                raise InputError(
                    f"not TOML: {error}", where=str(path), next_step="mend it, or uv can't read it either"
                ) from None
            found |= {**table.get("pip", {}), **{k: v for k, v in table.items() if k != "pip"}}
    for entry in found.pop("index", []):
        key = "index-url" if entry.get("default") else "extra-index-url"
        found[key] = entry["url"] if key == "index-url" else [*_words(found.get(key)), entry["url"]]
    names = {
        "index-url": ("UV_INDEX_URL", "UV_DEFAULT_INDEX"),
        "extra-index-url": ("UV_EXTRA_INDEX_URL", "UV_INDEX"),
        "find-links": ("UV_FIND_LINKS",),
    }
    for key, variables in names.items():
        for variable in variables:
            if environment.get(variable):
                # uv allows NAME=URL
                found[key] = re.sub(r"(^|\s)\w+=(?=\w+://)", r"\1", environment[variable])
    return found


def _proxies(environment: Mapping[str, str]) -> "Iterable[tuple[str, str]]":
    for name in PROXY_VARIABLES:
        value = environment.get(name) or environment.get(name.lower())
        if value:
            yield name, value


def _ca_bundle(environment: Mapping[str, str], pip: Mapping[str, str]) -> "Path | None":
    named = [environment.get(name) for name in CA_VARIABLES] + [pip.get("cert"), str(SYSTEM_CA)]
    return next((Path(path) for path in named if path and Path(path).is_file()), None)


def _folder(place: str) -> "Path | None":
    """The folder on this disk that a path or file: URL names; None for a remote one."""
    parts = urlparse(place)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(place).expanduser() if not parts.scheme else None


def _words(value: "str | list[str] | None") -> "list[str]":
    if isinstance(value, list):
        return value
    return re.split(r"[\s,]+", value.strip()) if value else []


def _toml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _toml_list(texts: "Iterable[str]") -> str:
    return "[" + ", ".join(_toml(text) for text in texts) + "]"
