"""The Debian packages of images: what the layer `debian` installs."""

from torchdev.catalog.bases import suite_of

TOOLS = (
    *("g++", "gcc", "libc6-dev"),  # torch.compile and C++ extensions
    *("ca-certificates", "git", "openssh-client", "tini"),  # TLS, sources, one process that reaps the others
)
"""Debian packages of every image, beside the libraries that CPython loads."""


def packages(python: str) -> tuple[str, ...]:
    """All of them for a Python series, with the libraries of the Debian release that its images stand on."""
    return (*TOOLS, *suite_of(python).libraries)
