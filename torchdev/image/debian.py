"""The Debian packages of images: what the layer `debian` installs."""

from torchdev.catalog.bases import suite_of

TOOLS = (
    *("g++", "gcc", "libc6-dev"),  # torch.compile and C++ extensions
    *("ca-certificates", "git", "openssh-client", "tini"),  # TLS, sources, one process that reaps the others
)
"""Debian packages of every image, beside the libraries that CPython loads."""


def packages(python: str) -> tuple[str, ...]:
    """All Debian packages for a Python series, including the libraries of its Debian release."""
    return (*TOOLS, *suite_of(python).libraries)
