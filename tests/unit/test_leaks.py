"""What would give the builder away: each of its settings is searched for, and nothing that is public."""

import dataclasses
from pathlib import Path

import pytest
from pypi_simple import PYPI_SIMPLE_ENDPOINT
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from tests.image.leaks import leak_words
from torchdev.wheels.host import Host
from torchdev.wheels.logins import Login
from torchdev.wheels.settings import PYPI_INDEX

PRIVATE = "-----BEGIN CERTIFICATE-----\nfirstline\nmiddleline\nlastline\n-----END CERTIFICATE-----\n"


def test_a_machine_with_nothing_of_its_own_leaves_no_trace() -> None:
    """The public indexes are named by many packages, and so are public authorities' certificates."""
    host = Host(index=PYPI_SIMPLE_ENDPOINT, ca_bundle=Path(DEFAULT_CA_BUNDLE_PATH))
    assert leak_words(host) == {}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"index": "https://pypi.corp.example/simple"}, {"pypi.corp.example"}),
        (
            {"extra_indexes": ("https://me:s3cr%21et@mirror.corp:8443/x",)},
            {"mirror.corp:8443", "s3cr%21et", "s3cr!et"},
        ),
        ({"find_links": ("http://files.corp/wheels/",)}, {"files.corp"}),
        ({"pytorch_index": "https://torch.corp/whl"}, {"torch.corp"}),
        ({"proxies": (("HTTPS_PROXY", "proxy.corp:3128"), ("NO_PROXY", "a.b.c.d"))}, {"proxy.corp:3128"}),
        ({"proxies": (("HTTP_PROXY", "http://localhost:3128"),)}, set()),
        ({"folders": (Path("/opt/wheels"), Path("/wheels"))}, {"/opt/wheels"}),
    ],
)
def test_addresses_and_passwords_are_traces(settings: dict[str, object], expected: set[str]) -> None:
    """Of every kind of setting that a build is given."""
    assert set(leak_words(dataclasses.replace(Host(), **settings))) == expected  # type: ignore[arg-type]


def test_passwords_of_netrc_are_traces() -> None:
    """Names of users are not: they are words like any other."""
    assert set(leak_words(Host(logins=(Login("pypi.corp", "reader", "hunter2hunter2"),)))) == {"hunter2hunter2"}


def test_tokens_in_paths_are_traces() -> None:
    """Other parts of a path are not."""
    host = Host(index="https://pypi.corp/artifactory/api/T0ken-in-path/simple")
    assert set(leak_words(host)) == {"pypi.corp", "T0ken-in-path"}


def test_a_certificate_of_ones_own_is_a_trace(tmp_path: Path) -> None:
    """In a bundle beside the public ones; by a line from its middle, since first lines are much alike."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text(Path(DEFAULT_CA_BUNDLE_PATH).read_text(encoding="utf-8") + PRIVATE)
    assert set(leak_words(Host(ca_bundle=bundle))) == {"middleline"}


def test_the_own_name_of_pypi_is_the_librarys() -> None:
    """It stands in settings.py too, since importing the library for it takes longer than most of a stage."""
    assert PYPI_INDEX == PYPI_SIMPLE_ENDPOINT
