"""The host's download settings: read from pip's and uv's, and written for builds."""

import dataclasses
import hashlib
import netrc
import os
import re
import tomllib
from pathlib import Path

import pytest
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from torchdev.util.errors import InputError
from torchdev.wheels import variables
from torchdev.wheels.host import Host, find_wheels, host_of
from torchdev.wheels.logins import Login
from torchdev.wheels.settings import Location, Settings, locations

NOTHING = Settings()


def some(**values: str) -> Settings:
    """What pip or uv says, by setting: words for locations."""
    found = {key: locations(value.split(), f"setting {key}") for key, value in values.items()}
    index = found.pop("index", (None,))[0]
    return Settings(index=index, **found, lenient=True)  # type: ignore[arg-type]


def test_pips_indexes_are_taken_over(tmp_path: Path) -> None:
    """Remote ones as they are, folders and file: URLs as folders of wheels."""
    pip = some(
        index="https://mirror.example/simple",
        extra=f"https://own.example/simple file://{tmp_path}",
        links=str(tmp_path),
    )
    found = host_of({}, pip, NOTHING, None)
    assert found.index == "https://mirror.example/simple"
    assert found.extra_indexes == ("https://own.example/simple",)
    assert found.find_links == ()
    assert found.folders == (tmp_path,)


def test_uv_wins_over_pip() -> None:
    """Uv resolves and installs, so its own settings are the nearer ones."""
    pip, uv = some(index="https://pip.example/simple"), some(index="https://uv.example/simple")
    assert host_of({}, pip, uv, None).index == "https://uv.example/simple"


def test_where_no_index_may_be_asked_none_is() -> None:
    """PyPI neither; uv's own index is the nearer setting, as always."""
    none = dataclasses.replace(some(index="https://a.example", extra="https://b.example"), no_index=True)
    found = host_of({}, none, NOTHING, None)
    assert (found.index, found.extra_indexes, found.no_index) == (None, (), True)
    assert "no-index = true\n" in found.pip_conf()
    assert found.secrets().keys() == {"pip.conf"}
    assert host_of({}, none, some(index="https://uv.example"), None).index == "https://uv.example"


def test_an_index_on_this_disk_is_not_replaced_by_pypi(tmp_path: Path) -> None:
    """Builds can't ask it, and what it lacks would come from elsewhere."""
    with pytest.raises(InputError, match="a build would ask PyPI"):
        host_of({}, some(index=f"file://{tmp_path}"), NOTHING, None)


def test_a_folder_that_is_missing_is_told_for_pip_and_refused_for_uv(tmp_path: Path) -> None:
    """As the two do."""
    said = some(links=f"{tmp_path}/none {tmp_path}")
    found = host_of({}, said, NOTHING, None)
    assert found.folders == (tmp_path,)
    assert found.notes == (f"setting links names {tmp_path}/none, and there is no such folder",)
    with pytest.raises(InputError, match="uv refuses"):
        host_of({}, NOTHING, dataclasses.replace(said, lenient=False), None)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_proxies_are_read_in_either_case(name: str) -> None:
    """And given on in both, since tools differ."""
    found = host_of({name: "http://proxy:3128"}, NOTHING, NOTHING, None)
    assert found.proxies == (("HTTPS_PROXY", "http://proxy:3128"),)
    assert found.secrets()["proxies"] == "export HTTPS_PROXY=http://proxy:3128\nexport https_proxy=http://proxy:3128\n"


@pytest.mark.parametrize(
    "value",
    [
        "not a url",
        "http://",
        "http://proxy:port",
        "ftp://proxy:1",
        "http://u:s3cret@pro xy",
        "u:s3cret@pro'xy",
        "-x",
        "a\nb",
    ],
)
def test_a_proxy_that_is_none_is_refused(value: str) -> None:
    """By the name of its variable, and without its password."""
    with pytest.raises(InputError, match=r"HTTPS_PROXY: .* is not a proxy") as raised:
        host_of({"HTTPS_PROXY": value}, NOTHING, NOTHING, None)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("value", ["proxy:3128", "proxy", "http://u:p%40ss@proxy:3128/", "socks5h://10.0.0.1:1080"])
def test_proxies_as_curl_takes_them_are_proxies(value: str) -> None:
    """With a scheme or without."""
    assert host_of({"ALL_PROXY": value}, NOTHING, NOTHING, None).proxies == (("ALL_PROXY", value),)


def test_every_ca_bundle_that_is_named_must_be_one(tmp_path: Path) -> None:
    """The first one is taken; a missing one, a folder, or a file of something else is refused by its variable."""
    (tmp_path / "none.pem").write_text("x")
    comma = tmp_path / "a,b.pem"
    comma.write_text(Path(DEFAULT_CA_BUNDLE_PATH).read_text())
    good = {"REQUESTS_CA_BUNDLE": DEFAULT_CA_BUNDLE_PATH}
    assert host_of(good, NOTHING, NOTHING, None).ca_bundle == Path(DEFAULT_CA_BUNDLE_PATH)
    for name in ("SSL_CERT_FILE", "PIP_CERT", "CURL_CA_BUNDLE"):
        for path in ("/nowhere", str(tmp_path), str(tmp_path / "none.pem"), str(comma)):
            with pytest.raises(InputError, match=f"^{name}: "):
                host_of({**good, name: path}, NOTHING, NOTHING, None)
    with pytest.raises(InputError, match=r"^pip's setting cert: .*names no file"):
        host_of(good, Settings(cert=Location("/nowhere", "pip's setting cert")), NOTHING, None)


@pytest.mark.parametrize(
    "url", ["", " ", "nonsense", "file:///opt", "/opt", "https://", "https://h/whl?x=1", "ftp://h/x"]
)
def test_the_pytorch_index_must_be_one(url: str) -> None:
    """A mirror's address, or no variable at all."""
    with pytest.raises(InputError, match=r"^TORCHDEV_PYTORCH_INDEX: "):
        host_of({"TORCHDEV_PYTORCH_INDEX": url}, NOTHING, NOTHING, None)
    good = {"TORCHDEV_PYTORCH_INDEX": "https://u:p@torch.corp/whl/"}
    assert host_of(good, NOTHING, NOTHING, None).pytorch_index == "https://u:p@torch.corp/whl"


NETRC = """machine pypi.corp login reader password "one two"
machine other.corp login reader password leaves-not
machine torch.corp login t password three#four
"""


def test_a_build_gets_the_logins_of_the_hosts_that_it_asks(tmp_path: Path) -> None:
    """As a .netrc that Python reads, without any other host's."""
    (tmp_path / "netrc").write_text(NETRC)
    said = {"TORCHDEV_PYTORCH_INDEX": "https://torch.corp/whl"}
    found = host_of(said, some(index="https://pypi.corp:8443/simple"), NOTHING, tmp_path / "netrc")
    (tmp_path / "given").write_text(found.secrets()["netrc"])
    assert netrc.netrc(tmp_path / "given").hosts == {
        "pypi.corp": ("reader", "", "one two"),
        "torch.corp": ("t", "", "three#four"),
    }
    assert "chmod 600" in found.notes[0]


def test_the_default_of_a_netrc_is_for_the_hosts_that_are_asked(tmp_path: Path) -> None:
    """Requests takes it for a host without an entry."""
    (tmp_path / "netrc").write_text("default login me password s3cret\n")
    found = host_of({}, some(index="https://pypi.corp/simple"), NOTHING, tmp_path / "netrc")
    assert "machine pypi.corp login me password s3cret\n" in found.secrets()["netrc"]
    assert "default" not in found.secrets()["netrc"]


@pytest.mark.parametrize("text", ["machine", "machine a login b passwort s3cret", "hello s3cret", "machine a\n\0"])
def test_a_broken_netrc_is_refused(tmp_path: Path, text: str) -> None:
    """With its line where that is known, and without its words."""
    (tmp_path / "netrc").write_text(text)
    with pytest.raises(InputError, match=str(tmp_path / "netrc")) as raised:
        host_of({}, some(index="https://a/simple"), NOTHING, tmp_path / "netrc")
    assert "s3cret" not in str(raised.value)


def test_a_netrc_that_is_named_and_missing_is_refused(tmp_path: Path) -> None:
    """The one at home may be missing."""
    assert variables.netrc({"HOME": str(tmp_path)}) is None
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for named in ("/nowhere", "/etc/passwd/x", str(tmp_path / "link"), "nowhere"):
        with pytest.raises(InputError, match=f"NETRC={named}: there is no such file") as caught:
            variables.netrc({"NETRC": named, "HOME": str(tmp_path)})
        assert caught.value.next_step == "mend that setting, or take it away"
    assert variables.netrc({"NETRC": "/dev/null"}) == Path("/dev/null")


def test_a_netrc_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    """Several programs read it, so each but the first would wait for ever; /dev/null has no end to wait for."""
    os.mkfifo(tmp_path / "netrc")
    for path in (tmp_path / "netrc", Path("/dev/zero")):
        with pytest.raises(InputError, match=f"{path}: can't be read: it is not a file"):
            host_of({}, some(index="https://a/simple"), NOTHING, path)
    assert host_of({}, some(index="https://a/simple"), NOTHING, Path("/dev/null")).logins == ()


def test_a_user_without_a_home_has_no_netrc(monkeypatch: pytest.MonkeyPatch) -> None:
    """An id that the system does not know, and no HOME."""

    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    assert variables.netrc({}) is None


def test_settings_are_printed_without_secrets() -> None:
    """Wherever a Host gets into a message or a traceback."""
    host = Host(
        proxies=(("HTTPS_PROXY", "http://u:pr0xyword@proxy:1"),),
        index="https://u:ind3xword@h.example/t0kenpath/simple",
        logins=(Login("h.example", "u", "n3trcword"),),
    )
    assert not re.search("pr0xyword|ind3xword|t0kenpath|n3trcword", f"{host!r} {host} {[host]}")


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
