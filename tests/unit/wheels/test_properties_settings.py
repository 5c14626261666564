"""Settings of the machine, made up: what is handed on to uv and pip is what was set, in a form that they read."""

import configparser
import tomllib

from hypothesis import example, given
from hypothesis import strategies as st

from torchdev.wheels.host import Host

WORDS = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Z")), min_size=1, max_size=20)
URLS = st.builds("https://{}.example/{}".format, st.from_regex(r"[a-z]{1,8}", fullmatch=True), WORDS)


@given(index=URLS, extra=st.lists(URLS, max_size=3), links=st.lists(URLS, max_size=3))
@example(index='https://a.example/"', extra=["https://b.example/\\"], links=["https://c.example/'''"])
def test_uv_reads_the_indexes_that_were_set(index: str, extra: "list[str]", links: "list[str]") -> None:
    """Quotes and backslashes included."""
    host = Host(index=index, extra_indexes=tuple(extra), find_links=tuple(links))
    found = tomllib.loads(host.uv_toml())
    assert found["index-url"] == index
    assert found.get("extra-index-url", []) == extra
    assert found.get("find-links", []) == links


@given(index=URLS, extra=st.lists(URLS, max_size=3))
def test_pip_reads_the_indexes_that_were_set(index: str, extra: "list[str]") -> None:
    """As configparser without interpolation, which pip reads its files by."""
    parser = configparser.RawConfigParser()
    parser.read_string(Host(index=index, extra_indexes=tuple(extra)).pip_conf())
    assert parser["global"]["index-url"] == index
    assert parser["global"].get("extra-index-url", "").split() == extra
