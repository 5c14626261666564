"""The host's download settings: read from pip's and uv's, and written for builds."""

import hashlib
import tomllib
from pathlib import Path

import pytest

from torchdev import host as hosts
from torchdev.host import Host, find_wheels, read_host


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, dict[str, object]]:
    """What pip and uv are made to say; a home without a .netrc."""
    said: dict[str, dict[str, object]] = {"pip": {}, "uv": {}}
    monkeypatch.setattr(hosts, "_pip_settings", lambda: said["pip"])
    monkeypatch.setattr(hosts, "_uv_settings", lambda environment: said["uv"])
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return said


def test_pips_indexes_are_taken_over(settings: dict[str, dict[str, object]], tmp_path: Path) -> None:
    """Remote ones as they are, folders and file: URLs as folders of wheels."""
    settings["pip"] |= {
        "index-url": "https://mirror.example/simple",
        "extra-index-url": f"https://own.example/simple file://{tmp_path}",
        "find-links": str(tmp_path),
    }
    found = read_host({})
    assert found.index == "https://mirror.example/simple"
    assert found.extra_indexes == ("https://own.example/simple",)
    assert found.find_links == ()
    assert found.folders == (tmp_path,)


def test_uv_wins_over_pip(settings: dict[str, dict[str, object]]) -> None:
    """Uv resolves and installs, so its own settings are the nearer ones."""
    settings["pip"]["index-url"] = "https://pip.example/simple"
    settings["uv"]["index-url"] = "https://uv.example/simple"
    assert read_host({}).index == "https://uv.example/simple"


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_proxies_are_read_in_either_case(settings: dict[str, dict[str, object]], name: str) -> None:
    """And given on in upper case, as BuildKit knows them."""
    assert read_host({name: "http://proxy:3128"}).proxies == (("HTTPS_PROXY", "http://proxy:3128"),)


def test_ca_bundle_is_the_first_named_that_exists(settings: dict[str, dict[str, object]], tmp_path: Path) -> None:
    """A variable that names no file is passed over."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text("x")
    assert read_host({"SSL_CERT_FILE": "/nowhere", "REQUESTS_CA_BUNDLE": str(bundle)}).ca_bundle == bundle


def test_uv_toml_is_toml_whatever_the_url_holds() -> None:
    """Quotes and backslashes are escaped."""
    written = Host(index='https://u:p"\\@x/simple', extra_indexes=("https://a", "https://b")).uv_toml()
    assert tomllib.loads(written) == {
        "index-url": 'https://u:p"\\@x/simple',
        "extra-index-url": ["https://a", "https://b"],
    }


def test_wheels_of_a_folder_or_a_local_index_are_found_by_hash(tmp_path: Path) -> None:
    """The right name with other bytes is not taken."""
    index = tmp_path / "simple"
    (index / "b").mkdir(parents=True)
    (index / "b" / "index.html").write_text('<a href="../../files/b-1%2Bcpu-py3-none-any.whl#sha256=0">b</a>')
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "b-1+cpu-py3-none-any.whl").write_bytes(b"b")
    (tmp_path / "a-1-py3-none-any.whl").write_bytes(b"a")
    wanted = [
        ("a", "a-1-py3-none-any.whl", hashlib.sha256(b"a").hexdigest()),
        ("b", "b-1+cpu-py3-none-any.whl", hashlib.sha256(b"b").hexdigest()),
        ("a", "a-1-py3-none-any.whl", hashlib.sha256(b"other").hexdigest()),
    ]
    found = find_wheels(Host(folders=(tmp_path, index)), wanted)
    assert {name: path.read_bytes() for name, path in found.items()} == {
        "a-1-py3-none-any.whl": b"a",
        "b-1+cpu-py3-none-any.whl": b"b",
    }
    assert find_wheels(Host(folders=(tmp_path,)), wanted[2:]) == {}


def test_pip_takes_mirrors_without_tls_as_uv_does() -> None:
    """Their hosts are trusted, with port and without password; others are not."""
    host = Host(index="http://me:secret@mirror:8080/simple", extra_indexes=("https://other/simple",))
    assert "trusted-host = mirror:8080\n" in host.pip_conf()
    assert "trusted-host" not in Host(index="https://other/simple").pip_conf()
