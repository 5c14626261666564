"""Wheels that only the PyTorch index has: what is known of them, and what the index's own pages say."""

from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlparse

import requests

from torchdev.catalog import PYTORCH, load
from torchdev.host import Host


@dataclass(frozen=True)
class Link:
    """A file that an index page links to, and the sha256 that the page gives for it."""

    file: str
    url: str
    sha256: "str | None"


def known_files(flavour: str) -> dict[str, str]:
    """File name to sha256 of the wheels of a flavour whose hashes the catalog has."""
    builds = (build for build in load().builds if build.origin == PYTORCH and build.flavour == flavour)
    return {wheel.file: wheel.sha256 for build in builds for wheel in build.wheels if wheel.sha256}


def known_requirements(torch: str, flavour: str, python: str, arch: str = "amd64") -> "list[str] | None":
    """What PyTorch of a release and flavour requires; None if the catalog does not have it."""
    wanted = ("torch", torch, flavour, arch, PYTORCH)
    found = (b for b in load().builds if (b.project, b.version, b.flavour, b.arch, b.origin) == wanted)
    requires = next((build.requirements(python) for build in found), None)
    return None if requires is None else list(requires)


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []

    def handle_starttag(self, tag: str, attrs: "list[tuple[str, str | None]]") -> None:
        href = dict(attrs).get("href")
        if tag == "a" and href:
            self.hrefs.append(href)


def parse_page(text: str, url: str) -> "list[Link]":
    """The wheels that a project page of an index (PEP 503) links to."""
    anchors = _Anchors()
    anchors.feed(text)
    links = []
    for href in anchors.hrefs:
        parts = urlparse(urljoin(url, href))
        kind, _, digest = parts.fragment.partition("=")
        file = unquote(parts.path.rsplit("/", 1)[-1])
        if file.endswith(".whl"):
            links.append(Link(file, parts._replace(fragment="").geturl(), digest if kind == "sha256" else None))
    return links


def read_page(host: Host, flavour: str, project: str) -> "list[Link] | None":
    """The wheels of a project on the PyTorch index; None where it does not answer."""
    url = f"{host.pytorch_index}/{flavour}/{project}/"
    try:
        answer = requests.get(url, timeout=20, verify=str(host.ca_bundle) if host.ca_bundle else True)
        answer.raise_for_status()
    except requests.RequestException:
        return None
    return parse_page(answer.text, answer.url) or None
