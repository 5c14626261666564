"""Where wheels come from: the same place for every contender."""

import os
from dataclasses import replace
from pathlib import Path

from torchdev.util.errors import InputError
from torchdev.wheels.host import Host, read_host

REMOTE = {"PIP_CONFIG_FILE": os.devnull}
"""What makes pip, and torchdev, which asks it, forget configuration files."""
OWN = ("PIP_", "UV_", "DOCKER_", "BUILDX_", "BUILDKIT_", "XDG_CACHE_HOME")
"""Variables that are the user's and would change what is measured."""
PATIENT = {"PIP_DEFAULT_TIMEOUT": "300", "UV_HTTP_TIMEOUT": "300", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def variables(host: Host, *, local: bool) -> dict[str, str]:
    """The variables of all commands: the host's remote indexes; its own folders of wheels only if `local`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OWN)} | dict(host.proxies)
    if local:
        kept |= {n: v for n, v in os.environ.items() if n.startswith(("PIP_", "UV_"))}
        return kept | PATIENT
    found = kept | REMOTE | PATIENT
    if host.index:
        found["PIP_INDEX_URL"] = host.index
    if host.extra_indexes:
        found["PIP_EXTRA_INDEX_URL"] = " ".join(host.extra_indexes)
    if host.find_links:
        found["PIP_FIND_LINKS"] = " ".join(host.find_links)
    if host.ca_bundle:
        found["PIP_CERT"] = found["SSL_CERT_FILE"] = str(host.ca_bundle)
    return found


def settings(*, local: bool) -> Host:
    """Settings of this machine for package downloads, without its own folders of wheels unless they are wanted."""
    host = read_host()
    if not local and host.folders and _by_uv():
        what = "uv's own configuration names folders of wheels, which can't be left out"
        raise InputError(what, where="uv.toml", next_step="add --local-wheels: every contender then has them")
    return host if local else replace(host, folders=())


def _by_uv() -> bool:
    """Whether uv has a configuration file of the system or the user that could name folders."""
    user = Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config"), "uv", "uv.toml")
    return any(path.is_file() and "file:" in path.read_text() for path in (Path("/etc/uv/uv.toml"), user))
