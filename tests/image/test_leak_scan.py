"""Nothing of the machine that built the image, and nothing that a build leaves behind, in any layer.

The builder's settings are read as a build reads them (torchdev/wheels/host.py), so this holds on the machine
that built.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

from tests.image.conftest import PROGRAMS, Engine, result
from tests.image.leaks import leak_words
from tests.image.saved import search
from torchdev.engine.client import copy_into
from torchdev.util.errors import EngineError
from torchdev.wheels.host import read_host

WORDS = {
    "BEGIN CERTIFICATE": "a certificate",
    "index-url": "an index setting",
    "PIP_": "a setting of pip",
    "UV_": "a setting of uv",
    "SSL_CERT": "a CA setting",
    "_PROXY=": "a proxy",
    "_proxy=": "a proxy",
}
"""What has no business in configuration and history, whatever the machine is."""


@pytest.fixture(scope="module")
def searched(engine: Engine, image: str) -> dict[str, Any]:
    """What was found in the layers, in each by itself, so that files which a later one hides are found, too.

    They are mounted where the engine has them unpacked; where it does not say, or can't mount them, it sends them.
    """
    mounted = in_place(engine, image)
    if mounted:
        return mounted
    found, there = search(engine.saved(image), leak_words(read_host())), engine.image(image)
    assert there
    assert found["layers"] == len(set(there.layers))
    return found


def in_place(engine: Engine, image: str) -> "dict[str, Any] | None":
    """What was found in the folders that the engine has layers unpacked in; None where they can't be had."""
    folders = engine.layer_folders(image)
    if not folders:
        return None
    mounts = {folder: {"bind": f"/layers/{number:02}", "mode": "ro"} for number, folder in enumerate(folders)}
    try:
        with engine.container(image, user="0", network_mode="none", volumes=mounts) as running:
            copy_into(running, PROGRAMS, "/opt")
            put_texts(running)
            found = result(testinfra.get_host(f"docker://0@{running.id}"), "layers.py")
    except EngineError:
        return None
    # Of a folder that is not there, some engines make an empty one.
    return found if found["files"] else None


def put_texts(running: Any) -> None:
    """Give a container the texts to look for; as a file, since commands can be seen by others."""
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder, "texts")
        texts.mkdir()
        (texts / "texts.json").write_text(json.dumps(list(leak_words(read_host()))), encoding="utf-8")
        copy_into(running, texts, "/opt")


def test_layers_hold_nothing_of_the_builder(searched: dict[str, Any]) -> None:
    """No index address, password, proxy, wheel folder or CA certificate of this machine, in small files and texts."""
    names = list(leak_words(read_host()).values())
    assert searched["files"] > 10_000
    assert [(names[number], layer, path) for number, layer, path in searched["texts"]] == []


def test_layers_hold_no_caches(searched: dict[str, Any]) -> None:
    """No layer has caches of pip, uv or apt, logs, temporary files or mounted secrets, not even hidden ones."""
    assert searched["left"] == []


def test_history_and_configuration_hold_nothing_of_the_builder(engine: Engine, image: str) -> None:
    """They have neither settings of this machine nor any setting of a package index."""
    text = json.dumps([engine.config(image), engine.history(image)])
    assert [what for word, what in (leak_words(read_host()) | WORDS).items() if word in text] == []


def test_ca_bundle_is_debians(untouched: Host) -> None:
    """Its certificates are those of the package ca-certificates, whose files dpkg finds unchanged."""
    changed = untouched.run("dpkg --verify ca-certificates").stdout.splitlines()
    # Documentation is left out of slim images.
    assert [line for line in changed if not line.split()[-1].startswith(("/usr/share/doc/", "/usr/share/man/"))] == []
    assert untouched.check_output("find /usr/local/share/ca-certificates -type f") == ""
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    script = (
        "cat $(dpkg -L ca-certificates | grep '\\.crt$') | grep -v -e ----- | tr -d '\\n' > /tmp/package; "
        f"awk '/^-----BEGIN/{{body=\"\";next}} /^-----END/{{print body;next}} {{body=body $0}}' {bundle} "
        '| while read -r body; do grep -qF "$body" /tmp/package || echo unknown; done'
    )
    assert untouched.check_output(script) == ""
