"""Variables that all tools obey: proxies, a CA bundle, the path of .netrc; an invalid value is an error."""

import re
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path

from torchdev.util import redact, texts
from torchdev.wheels.settings import Location, Settings, refusal

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY")
CA_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
SYSTEM_CA = Path("/etc/ssl/certs/ca-certificates.crt")


def netrc(environment: Mapping[str, str]) -> "Path | None":
    """The file with logins: the one that NETRC names, or else ~/.netrc, if it exists."""
    if named := environment.get("NETRC"):
        if not Path(named).exists():
            raise refusal("there is no such file, and pip would go on without it", f"NETRC={texts.shown(named)}")
        return Path(named)
    home = home_folder(environment)
    return next((path for name in (".netrc", "_netrc") if home and (path := home / name).is_file()), None)


def home_folder(environment: Mapping[str, str]) -> "Path | None":
    """The home of this user; None without one."""
    if home := environment.get("HOME"):
        return Path(home)
    try:
        return Path.home()
    except RuntimeError:
        return None


def cache_root(environment: Mapping[str, str]) -> Path:
    """The folder of torchdev's cache for this user; InputError if there is no home and no variable names a folder."""
    if (named := environment.get("XDG_CACHE_HOME", "")) and Path(named).is_absolute():
        return Path(named) / "torchdev"
    if home := home_folder(environment):
        return home / ".cache" / "torchdev"
    what = "it is not set, and this user has no home, so there is no folder for run locks"
    raise refusal(what, "HOME", "set HOME or XDG_CACHE_HOME to a folder that this user may write to")


def proxies(environment: Mapping[str, str]) -> "Iterable[tuple[str, str]]":
    """The proxies, by their names in upper case."""
    for name in PROXY_VARIABLES:
        value = (environment.get(name) or environment.get(name.lower()) or "").strip()
        words, kind = [value], texts.PROXY
        if name == "NO_PROXY":
            words, kind = [word for word in re.split(r"[\s,]+", value) if word], texts.UNPROXIED
        for word in words if value else ():
            if not kind.matches(word):
                raise refusal(f"{texts.quoted(redact.urls(_with_scheme(word)))} is not {kind.words}", name)
        if value:
            yield name, value


def _with_scheme(proxy: str) -> str:
    """Refuse a proxy that is not a well-formed URL, because its password could not be recognized."""
    return proxy if "://" in proxy or "@" not in proxy else f"http://{proxy}"


def ca_bundle(environment: Mapping[str, str], pip: Settings) -> "Path | None":
    """The first CA bundle that a variable names, or else the system's; all that are named must be valid."""
    named = [Location(value, name) for name in CA_VARIABLES if (value := environment.get(name))]
    named += [pip.cert] if pip.cert else []
    refused = {
        text: _no_bundle(Path(text)) for text in {location.text for location in named}
    }  # many name the same file
    for location in named:
        if refused[location.text]:
            raise refusal(f"{texts.quoted(location.text)} {refused[location.text]}", location.where)
    found = Path(named[0].text).absolute() if named else SYSTEM_CA
    return found if found.is_file() else None


def _no_bundle(path: Path) -> str:
    """Why a file can't serve builds as a CA bundle; empty if it can."""
    if path.is_dir():
        return "is a folder, and builds can be handed one file alone"
    if not path.is_file():
        return "names no file"
    if re.search(r'[,"\n]', str(path)):
        return "has a character in its name that buildx does not take"
    try:
        ssl.create_default_context(cafile=str(path))
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        return f"is no bundle of certificates: {getattr(error, 'reason', None) or getattr(error, 'strerror', error)}"
    return ""
