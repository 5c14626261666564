"""Settings of this machine for package downloads: proxies, CA bundle, indexes, wheel folders, logins.

The settings of pip and uv are read and used for resolution and builds. In builds they are secrets: they never reach a
layer, an ARG, the history of an image, a command line or a file. A setting that can't be read is an error.
"""

import hashlib
import os
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlparse, urlsplit

from torchdev.util import redact, texts
from torchdev.util.errors import InputError, TorchdevError
from torchdev.wheels import logins, pip_settings, uv_settings, variables
from torchdev.wheels.logins import Login
from torchdev.wheels.settings import PYPI_INDEX, Location, Settings, refusal

PYTORCH_INDEX = "https://download.pytorch.org/whl"
PYTORCH_VARIABLE = "TORCHDEV_PYTORCH_INDEX"
PIP_HEAD = "[global]\n"
SECRET_VARIABLE = "TORCHDEV_SECRET_"
"""The prefix of the variables that pass a build's secrets to buildx."""


@dataclass(frozen=True, repr=False, kw_only=True)
class Host:
    """Download settings of this machine; `folders` hold wheels or package folders on its own disk.

    `logins` are for the hosts of the indexes only; `notes` are for the owner of the settings.
    """

    proxies: tuple[tuple[str, str], ...] = ()
    ca_bundle: "Path | None" = None
    index: "str | None" = None
    extra_indexes: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    logins: tuple[Login, ...] = ()
    pytorch_index: str = PYTORCH_INDEX
    no_index: bool = False
    trusted: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __repr__(self) -> str:
        """Without secrets, so that it can be printed."""
        values = (f"{part.name}={getattr(self, part.name)!r}" for part in fields(self))
        return self.clean(f"Host({', '.join(values)})")

    @property
    def verify(self) -> "str | bool":
        """The `verify` setting of requests: the CA bundle, or its own."""
        return str(self.ca_bundle) if self.ca_bundle else True

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs of all indexes and pages that may be asked for wheels."""
        own = [self.index] if self.index else []
        return (*own, *self.extra_indexes, *self.find_links, self.pytorch_index)

    @cached_property
    def clean(self) -> redact.Redactor:
        """The redactor of this machine's secrets."""
        proxies = (value for name, value in self.proxies if name != "NO_PROXY")
        passwords = (login.password for login in self.logins)
        return redact.redactor((url for url in self.urls if url not in (PYPI_INDEX, PYTORCH_INDEX)), proxies, passwords)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Remove secrets from the texts of errors that leave this block."""
        try:
            yield
        except TorchdevError as error:
            error.what = self.clean(error.what)
            error.args = (error.what,)
            error.steps = tuple(self.clean(step) if isinstance(step, str) else step for step in error.steps)
            raise

    def private(self, *only: str) -> redact.Private:
        """Variables with all secrets, or some, for buildx, and the redactor for its output."""
        found = {name: text for name, text in self.secrets().items() if name in only or not only}
        return redact.Private({_variable(name): text for name, text in found.items()}, self.clean)

    def secret_options(self, *only: str) -> "list[str]":
        """Options of buildx for a build's secrets, all or some: by variables of its environment, the CA by its file."""
        found = [f"id={name},env={_variable(name)}" for name in self.secrets() if name in only or not only]
        return [*found, *([f"id=ca,src={self.ca_bundle}"] if self.ca_bundle else [])]

    def secrets(self) -> dict[str, str]:
        """The texts that bring these settings into a build; none for settings at their default."""
        found = {}
        if (settings := self.pip_conf()) != PIP_HEAD:
            found["pip.conf"] = settings
        if self.pytorch_index != PYTORCH_INDEX:
            found["pytorch-index"] = self.pytorch_index
        if self.logins:
            found["netrc"] = logins.as_netrc(self.logins)
        if self.proxies:
            found["proxies"] = self._proxies_text()
        return found

    def _proxies_text(self) -> str:
        """The proxies as a shell reads them, in upper and lower case, because tools differ in which they use."""
        lines = (f"export {key}={shlex.quote(value)}\n" for name, value in self.proxies for key in (name, name.lower()))
        return "".join(lines)

    def uv_variables(self, folders: "tuple[Path, ...]" = ()) -> dict[str, str]:
        """Variables for uv with the remote indexes, and with these folders instead of this machine's own."""
        found = {"UV_NO_CONFIG": "1"}
        if self.index:
            found["UV_DEFAULT_INDEX"] = self.index
        if self.extra_indexes:
            found["UV_INDEX"] = " ".join(self.extra_indexes)
        if links := [*(url.replace(",", "%2C") for url in self.find_links), *map(str, folders)]:
            found["UV_FIND_LINKS"] = ",".join(links)
        if self.trusted:
            found["UV_INSECURE_HOST"] = " ".join(self.trusted)
        return found

    def uv_toml(self) -> str:
        """A uv configuration with the remote indexes and without local folders."""
        lines = ["no-index = true"] if self.no_index else []
        if self.index:
            lines.append(f"index-url = {_toml(self.index)}")
        if self.extra_indexes:
            lines.append(f"extra-index-url = {_toml_list(self.extra_indexes)}")
        if self.find_links:
            lines.append(f"find-links = {_toml_list(self.find_links)}")
        if self.trusted:
            lines.append(f"allow-insecure-host = {_toml_list(self.trusted)}")
        return "".join(f"{line}\n" for line in lines)

    def pip_conf(self) -> str:
        """A pip configuration with the same."""
        lines = []
        if self.no_index:
            lines.append("no-index = true")
        if self.index:
            lines.append(f"index-url = {self.index}")
        if self.extra_indexes:
            lines.append("extra-index-url = " + " ".join(self.extra_indexes))
        if self.find_links:
            lines.append("find-links = " + " ".join(self.find_links))
        if trusted := sorted({*self.trusted, *self._plain()}):
            lines.append("trusted-host = " + " ".join(trusted))
        return PIP_HEAD + "".join(f"{line}\n" for line in lines)

    def _plain(self) -> "list[str]":
        """Hosts with http URLs: uv accepts them as they are, pip only if they are trusted."""
        return [urlparse(url).netloc.rpartition("@")[2] for url in self.urls if url.startswith("http://")]


def _variable(secret: str) -> str:
    return SECRET_VARIABLE + re.sub(r"[^A-Z]", "_", secret.upper())


def read_host(environment: "Mapping[str, str]" = os.environ) -> Host:
    """Read this machine's settings; uv's override pip's; InputError for settings that can't be read."""
    folder = Path.cwd()  # first, because pip has no clear message for a folder that is gone
    pip, uv = pip_settings.read(environment), uv_settings.read(environment, folder)
    return host_of(environment, pip, uv, variables.netrc(environment))


def host_of(environment: Mapping[str, str], pip: Settings, uv: Settings, netrc: "Path | None") -> Host:
    """Combine the settings of pip and uv with the environment's, which hold for all tools."""
    nearer = uv if uv.index or uv.extra or uv.links or uv.no_index else pip
    index, extra, links = uv.index or pip.index, uv.extra or pip.extra, uv.links or pip.links
    if nearer.no_index:
        index, extra = None, ()
    if index and index.folder:
        what = "it names a folder of this machine, and a build would ask PyPI for what is not in it"
        step = "name the folder by extra-index-url or find-links, and an index that builds reach, or no-index, here"
        raise refusal(what, index.where, step)
    folders, missing = _folders((*extra, *links), lenient=pip.lenient if not (uv.extra or uv.links) else uv.lenient)
    remote = [tuple(location.text for location in some if not location.folder) for some in (extra, links)]
    pytorch = _pytorch_index(environment)
    asked = (index.text if index else PYPI_INDEX, *remote[0], *remote[1], pytorch)
    return Host(
        proxies=tuple(variables.proxies(environment)),
        ca_bundle=variables.ca_bundle(environment, pip),
        index=index.text if index else None,
        extra_indexes=remote[0],
        find_links=remote[1],
        folders=folders,
        logins=logins.read(netrc, asked) if netrc else (),
        pytorch_index=pytorch,
        no_index=nearer.no_index,
        trusted=tuple(dict.fromkeys((*uv.trusted, *pip.trusted))),
        notes=(*missing, *_notes(netrc)),
    )


def _folders(locations: "Iterable[Location]", *, lenient: bool) -> "tuple[tuple[Path, ...], tuple[str, ...]]":
    """The local folders among some locations, and a note on each that does not exist, which pip ignores."""
    named = [(location, folder) for location in locations if (folder := location.folder)]
    missing = [(location, folder) for location, folder in named if not folder.is_dir()]
    if missing and not lenient:
        location, folder = missing[0]
        raise refusal(f"there is no folder {texts.shown(folder)}, and uv refuses that", location.where)
    notes = (
        f"{location.where} names {texts.shown(folder)}, and there is no such folder" for location, folder in missing
    )
    return tuple(dict.fromkeys(folder for _, folder in named if folder.is_dir())), tuple(notes)


def _notes(netrc: "Path | None") -> "Iterator[str]":
    if netrc and logins.open_to_others(netrc):
        yield f"other users can read the passwords in {netrc}: chmod 600 {netrc}"


def _pytorch_index(environment: Mapping[str, str]) -> str:
    """The URL of the PyTorch index, or of a mirror that a variable names."""
    if PYTORCH_VARIABLE not in environment:
        return PYTORCH_INDEX
    url = environment[PYTORCH_VARIABLE].strip()
    if not url:
        raise refusal("it is empty", PYTORCH_VARIABLE, f"unset {PYTORCH_VARIABLE}, or name a mirror of {PYTORCH_INDEX}")
    if Location(url, PYTORCH_VARIABLE).checked().folder or urlsplit(url).query:
        raise refusal(f"{texts.quoted(redact.urls(url))} is not {texts.INDEX_URL.words}", PYTORCH_VARIABLE)
    return url.rstrip("/")


def find_wheels(host: Host, wanted: "Iterable[tuple[str, str, str | None]]") -> dict[str, Path]:
    """Wheel file name to its path in local folders, for those of (project, file name, sha256) that are there."""
    found = {}
    for project, file, sha256 in wanted:
        for candidate in local_wheels(host, project):
            if candidate.name == file and sha256_of(candidate) == sha256:
                found[file] = candidate
    return found


def link_or_copy(source: Path, target: Path) -> None:
    """Link or copy a file to a path, replacing a file that is there; no copy is made on one file system."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def local_wheels(host: Host, project: str) -> "list[Path]":
    """The wheels of a project in local folders, whether flat or laid out as an index."""
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
    """Files that a project page (PEP 503) of a local index links to."""
    page = folder / "index.html"
    if not page.is_file():
        return []
    links = re.findall(r'href="([^"#]+)', page.read_text(encoding="utf-8"))
    return [(folder / unquote(link)).resolve() for link in links if not urlparse(link).scheme and "%00" not in link]


def _toml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _toml_list(texts: "Iterable[str]") -> str:
    return "[" + ", ".join(_toml(text) for text in texts) + "]"
