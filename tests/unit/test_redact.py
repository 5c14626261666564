"""Secrets are taken out of texts, in each form that tools print them; other words stay as they are."""

import base64

import pytest

from torchdev import redact

CLEAN = redact.redactor(
    ["https://reader:p%40ss-w0rd@pypi.corp/T0KEN-abc/simple", "https://ghp_Token@two.corp/team/simple?key=QueryS3cret"],
    ["http://px:proxyword@proxy:3128", "proxy2:3128"],
    ["netrc-word", "abc"],
)


@pytest.mark.parametrize(
    "text",
    [
        "Looking in indexes: https://reader:p%40ss-w0rd@pypi.corp/T0KEN-abc/simple",
        "password p@ss-w0rd was refused",
        "Authorization: Basic " + base64.b64encode(b"reader:p@ss-w0rd").decode(),
        "GET https://pypi.corp/T0KEN-abc/files/torch.whl",
        "/T0KEN-abc/files (HTTPSConnectionPool(host='pypi.corp'))",
        "https://two.corp/team/simple/torch/?key=QueryS3cret#sha256=0",
        "user ghp_Token",
        "CONNECT failed: http://px:proxyword@proxy:3128",
        '{"password": "netrc-word"}',
        "https://cdn.corp/a.whl?X-Signature=neverseen",
        "https://some:other@host/x",
    ],
)
def test_no_secret_is_left(text: str) -> None:
    """Whatever is around it."""
    cleaned = CLEAN(text)
    assert redact.HIDDEN in cleaned
    for secret in (
        "p%40ss",
        "p@ss",
        "T0KEN",
        "QueryS3",
        "ghp_",
        "proxyword",
        "netrc-word",
        "neverseen",
        "other",
    ):
        assert secret not in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "#12 [made-debian 1/1] RUN --mount=type=secret,id=ca /scripts/packed",
        "docker-image://torchdev.invalid/bootstrap/python@sha256:0000",
        "team abc abcd https://pypi.org/simple/torch/ simple /opt/team/x",
        "#5 sha256:0a 12.3MB / 45.6MB 1.2s",
        "mail me@pypi.corp",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    """Logs are read by people, and by torchdev."""
    assert CLEAN(text) == text


def test_nothing_known_hides_what_urls_tell() -> None:
    """Users, passwords and queries."""
    assert redact.Redactor()("https://a:b@c/d?e=f g") == "https://[hidden]@c/d?[hidden] g"
    assert redact.redactor([], [], [""]).words == frozenset()
