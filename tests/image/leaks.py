"""What would give this machine away inside an image: texts to search it for, each with what it is.

Names of public package indexes are in many packages' own files, so they are no trace; nor are certificates of the
public authorities.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from torchdev.wheels.host import PYTORCH_INDEX, Host
from torchdev.wheels.settings import PYPI_INDEX

PUBLIC = {
    str(urlsplit(PYPI_INDEX).hostname),
    str(urlsplit(PYTORCH_INDEX).hostname),
    "download-r2.pytorch.org",
    "pypi.nvidia.com",
    "localhost",
    "127.0.0.1",
    "::1",
}
"""Hosts that an image's packages name by themselves."""
SHORTEST = 6
"""Characters; a shorter word may stand anywhere by chance."""
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s+(.+?)\s+-----END CERTIFICATE-----", re.DOTALL)
PUBLIC_FOLDER = Path("/usr/share/ca-certificates/mozilla")
"""Where Debian's package has the public authorities, which may be newer than the ones that requests comes with."""


def leak_words(host: Host) -> dict[str, str]:
    """Text to what it is: addresses and credentials of indexes and proxies, paths of wheels, certificates."""
    urls = [*(url for url in (host.index, host.pytorch_index) if url), *host.extra_indexes, *host.find_links]
    found = dict(_of_urls("the address of a package index", urls))
    found |= _of_urls("a proxy", (value for name, value in host.proxies if name != "NO_PROXY"))
    # One right below the root, such as /wheels, has a name that may stand anywhere.
    found |= {str(folder): "a folder of wheels" for folder in host.folders if len(folder.parts) > 2}
    found |= {login.password: "a password of .netrc" for login in host.logins}
    found |= dict.fromkeys(host.clean.tokens, "a token of an index's address")
    if host.ca_bundle:
        found |= dict.fromkeys(private_certificates(host.ca_bundle), "a certificate of this machine's CA bundle")
    return {text: what for text, what in found.items() if len(text) >= SHORTEST}


def _of_urls(what: str, urls: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The hosts of URLs, with their port, and the passwords that stand in them."""
    for url in urls:
        parts = urlsplit(url if "://" in url else f"//{url}")
        if parts.hostname and parts.hostname not in PUBLIC:
            yield parts.netloc.rpartition("@")[2], what
        if parts.password:
            yield parts.password, f"a password of {what}"
            yield unquote(parts.password), f"a password of {what}"


def private_certificates(bundle: Path) -> "list[str]":
    """A line out of the middle of each certificate that is none of a public authority."""
    public = set(_bodies(Path(DEFAULT_CA_BUNDLE_PATH)))
    for path in PUBLIC_FOLDER.glob("*.crt"):
        public |= set(_bodies(path))
    return [body[len(body) // 2] for body in _bodies(bundle) if body not in public]


def _bodies(path: Path) -> "list[tuple[str, ...]]":
    """The lines of each certificate of a file, without its first and last."""
    return [tuple(body.split()) for body in CERTIFICATE.findall(path.read_text(encoding="utf-8", errors="replace"))]
