"""Secrets are taken out of texts, in each form that tools print them; other words stay as they are."""

import base64
import re
import time

import pytest

from torchdev.util import faults, redact, terminal
from torchdev.util.terminal import HIDDEN
from torchdev.wheels import uv

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
    assert HIDDEN in cleaned
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


@pytest.mark.parametrize("words", [
    "error: DOCKER_HOST=tcp://u:S3cret@127.0.0.1:9: names no engine: Invalid bind address: tcp://u:S3cret@127.0.0.1:9",
    "DOCKER_HOST=ssh://u:S3cret@host", '"numpy @ http://u:S3cret@evil/x.whl" is not a package requirement',
    '--to: "http://u:S3cret@localhost/x" is a URL', '--cache-from: "u:S3cret@x/y" has a tag or a digest', "u:S3cret@x",
    "--to=u:S3cret@x", "ftp://S3cret@x", "HTTPS://u:p@S3cret@x/",
])  # fmt: skip
def test_no_login_is_printed_wherever_a_user_has_typed_it(words: str) -> None:
    """What leaves for a terminal or a log passes here, whatever option, variable or file repeats it."""
    assert "S3cret" not in terminal.printable(words)
    assert HIDDEN in terminal.printable(words)


@pytest.mark.parametrize("words", [
    "debian:bookworm-slim@sha256:ab", "docker-image://debian:bookworm-slim@sha256:ab", "oci-layout:///a/b@sha256:ab",
    "git@example.org:owner/name", "numpy @ file", "localhost:5000/a@sha256:ab", "a: b@c",
    "dev@example.org", "x: y: z@w",
])  # fmt: skip
def test_what_only_resembles_a_login_is_printed(words: str) -> None:
    """Images by digest, addresses of mail and git, sentences."""
    assert terminal.printable(words) == words


@pytest.mark.parametrize("text", [
    "a." * 200_000, "a:b," * 100_000 + " @", "a:" * 200_000 + " @", "http://" * 60_000, "://" * 100_000, "@" * 400_000,
    "x://a@" * 60_000, "@sha256:" * 50_000, "https://h/" + "a." * 200_000, "a=" * 200_000 + "@x", "http://h?" * 40_000,
    "invalid value " * 30_000,
])  # fmt: skip
def test_time_is_proportional_to_the_text(text: str) -> None:
    """What an index has in its file names comes here by way of uv: 400 kB of it must not hold up a run for hours."""
    before = time.process_time()
    terminal.printable(CLEAN(text))
    faults.without_secrets(text)
    for pattern, _, _ in uv.REFUSALS:
        re.search(pattern, text)
    assert time.process_time() - before < 5
