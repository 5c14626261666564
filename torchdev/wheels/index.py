"""Reads package indexes for the catalog: which wheels they list, and what the wheels declare.

Only the needed parts of a wheel are fetched, by range requests. What an index sends is validated: a page of another
project, a redirect to another host, or a wheel that names itself differently is an Untrue. All results are of a kind of
torchdev/util/texts.py; anything else on a page makes the page Forged.
"""

import re
import zipfile
from dataclasses import dataclass
from email.message import Message
from urllib.parse import unquote, urlsplit

from bs4.exceptions import ParserRejectedMarkup
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion
from pypi_simple import (
    PYPI_SIMPLE_ENDPOINT,
    DistributionPackage,
    NoSuchProjectError,
    ProjectPage,
    PyPISimple,
    UnsupportedContentTypeError,
    UnsupportedRepoVersionError,
)

from torchdev.catalog.builds import Wheel
from torchdev.catalog.versions import order, same_release
from torchdev.catalog.wheel_name import ARCHITECTURES, parsed
from torchdev.util import texts
from torchdev.util.texts import NotOfKind, quoted, shown
from torchdev.wheels import archives, remote
from torchdev.wheels.archives import CODE
from torchdev.wheels.host import Host
from torchdev.wheels.remote import Silent, Untrue, session

LIBRARY = "torch/lib/libtorch_python.so"
"""The library with the answer of torch.cuda.get_arch_list()."""
SMALL = re.compile(r"torch/lib/lib(c10\.so|gomp)")
"""More libraries whose glibc is read: in older wheels they need a newer one."""
FLAGS = re.compile(rb"(?:sm|compute)_\d+[a-z]?(?: (?:sm|compute)_\d+[a-z]?)+\x00|(?:sm|compute)_\d+[a-z]?\x00")
LINUX = re.compile(rf"linux\w*_({'|'.join(ARCHITECTURES)})\.whl$")
GLIBC = re.compile(rb"\x00GLIBC_2\.(\d+)(?=[\x00.])")

_NO_PAGE = (
    UnsupportedContentTypeError,
    UnsupportedRepoVersionError,
    ParserRejectedMarkup,
    ValueError,
    KeyError,
    RecursionError,
)
"""Errors of reading a page that is invalid: another type or version, or markup that the parser gives up on."""


class Forged(Untrue):
    """An index lists something impossible: a file whose name is no wheel's, a malformed hash, an odd address."""


@dataclass(frozen=True)
class Listed:
    """A wheel on an index page, and its URL."""

    project: str
    version: str
    wheel: Wheel
    url: str

    @property
    def server(self) -> str:
        """Its host, with the port."""
        return urlsplit(self.url).netloc.rpartition("@")[2]


@dataclass(frozen=True)
class Inside:
    """What a wheel declares: Requires-Dist without extras, and its CUDA variant.

    If its library was read, also the GPU architectures it is compiled for, and the newest glibc it needs (2.28).
    """

    requires: tuple[str, ...]
    flavour: str
    architectures: tuple[str, ...] = ()
    glibc: "str | None" = None


def list_wheels(host: Host, endpoint: "str | None", project: str) -> "list[Listed] | None":
    """The Linux wheels of a project that an index (PEP 503, 691) lists, without yanked ones; None if there are none.

    `endpoint` None is the index that this machine's pip uses.
    """
    location = endpoint or host.index or PYPI_SIMPLE_ENDPOINT
    try:
        whom = f"the page of {project} of {host.clean(location)}"
        page = remote.within(remote.PAGE_SECONDS, lambda: _page(host, location, project), whom)
    except (Silent, Untrue) as error:
        raise type(error)(f"{location}: {error}") from None
    if page is None:
        return None
    if canonicalize_name(page.project) != project:
        raise Untrue(f"{location}: asked for {project}, it sends the page of {shown(page.project)}")
    try:
        for package in page.packages:
            kind = texts.WHEEL if ".whl" in package.filename.lower() else texts.FILE
            kind.of(package.filename)
        linux = (package for package in page.packages if LINUX.search(package.filename) and not package.is_yanked)
        return [_listed(project, package) for package in linux]
    except ValueError as error:
        raise Forged(f"{location}: the page of {project} lists what no index has: {error}") from None


def _page(host: Host, location: str, project: str) -> "ProjectPage | None":
    try:
        with session(host, stays=True) as made, PyPISimple(location, session=made) as client:
            return client.get_project_page(project)
    except NoSuchProjectError:
        return None
    except _NO_PAGE as error:
        raise Untrue(f"what it sends for {project} is not an index page: {shown(error)}") from None


def _listed(project: str, package: DistributionPackage) -> Listed:
    """A wheel of a page; NotOfKind if anything that the page says about it is invalid."""
    file, address = texts.WHEEL.of(package.filename), urlsplit(texts.ADDRESS.of(package.url))
    if unquote(address.path.rpartition("/")[2]) != file:
        raise NotOfKind(f"{file} at {quoted(package.url)}, which is the address of another file")
    name = parsed(file)
    if name.project != project:
        raise NotOfKind(f"{file}, which is of {name.project}")
    sha256 = package.digests.get("sha256")
    wheel = Wheel(file, sha256 and texts.SHA256.of(sha256.lower()), package.size)
    return Listed(project, texts.VERSION.of(name.version), wheel, package.url)


def read_wheel(host: Host, listed: Listed, *, library: bool) -> Inside:
    """Read what a wheel declares, by range requests."""
    whom = f"{listed.wheel.file} of {listed.server}"
    return remote.read_wheel(host, listed.url, lambda archive: _inside(archive, listed, library=library), whom)


def _inside(archive: zipfile.ZipFile, listed: Listed, *, library: bool) -> Inside:
    requires = archives.requirements(_metadata(archive, listed), extras=False)
    flavour = _flavour(archives.text(archive, f"{listed.project}/version.py"), listed)
    code = archives.content(archive, LIBRARY, CODE) if library else b""
    beside = [archives.content(archive, name, CODE) for name in archive.namelist() if library and SMALL.match(name)]
    return Inside(requires, flavour, _flags(code), _glibc(b"".join([code, *beside])))


def _metadata(archive: zipfile.ZipFile, listed: Listed) -> "Message[str, str]":
    found = archives.metadata(archive)
    name, version = str(found["Name"]), str(found["Version"])
    if canonicalize_name(name) != listed.project or not _same(version, listed.version):
        raise Untrue(f"it says that it is {shown(name)} {shown(version)}")
    return found


def _flavour(text: str, listed: Listed) -> str:
    """The CUDA variant in a project's version.py: torch has it by its CUDA version, others by their local version."""
    version = re.search(r"^__version__[^=]*= *'([^']*)'", text, re.MULTILINE)
    cuda = re.search(r"^cuda[^=]*= *'([0-9.]+)'", text, re.MULTILINE)
    if not version or not _same(version[1], listed.version):
        said = shown(version[1]) if version else "no version"
        raise Untrue(f"its version.py says {said}")
    if listed.project == "torch":
        return texts.FLAVOUR.of(f"cu{cuda[1].replace('.', '')}" if cuda else "cpu")
    return texts.FLAVOUR.of(order(version[1]).local or "cpu")


def _same(said: str, version: str) -> bool:
    """Whether a text is the same version but for the CUDA variant, which not all parts of a wheel name."""
    try:
        return same_release(said, version)
    except InvalidVersion:
        return False


def _flags(library: bytes) -> tuple[str, ...]:
    found = FLAGS.findall(library)
    return tuple(max(found, key=len).rstrip(b"\x00").decode().split()) if found else ()


def _glibc(library: bytes) -> "str | None":
    found = [int(minor) for minor in GLIBC.findall(library)]
    return f"2.{max(found)}" if found else None


def pin(requires: "tuple[str, ...]", prefix: str, machine: str) -> "str | None":
    """The exact version that is required, on a machine (x86_64), of the project whose name begins with `prefix`."""
    environment = {"platform_system": "Linux", "platform_machine": machine, "sys_platform": "linux"}
    for text in requires:
        requirement = Requirement(text)
        wanted = requirement.marker is None or requirement.marker.evaluate(environment)
        if requirement.name.startswith(prefix) and wanted:
            return next((s.version for s in requirement.specifier if s.operator == "=="), None)
    return None
