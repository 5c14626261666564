"""The ways in which images are run: locked down, as anyone, and with modules that were edited."""

import json
from typing import Any

import pytest

from tests.image.conftest import PROGRAMS, Engine
from torchdev.image.contract import PACKAGES

COMPUTE = "import torch; x = torch.arange(6.0).reshape(2, 3); print((x @ x.T).tolist())"
COMPUTED = "[[5.0, 14.0], [14.0, 50.0]]"
LOCKED_DOWN: dict[str, dict[str, Any]] = {
    "read-only root": {"read_only": True},
    "no network, no capabilities": {"network_mode": "none", "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]},
}

STRICT: dict[str, dict[str, Any]] = {
    "any user, group 0": {"user": "12345:0"},
    "any user and group": {"user": "12345:12345"},
    "read-only root": {"read_only": True, "tmpfs": {"/tmp": "exec"}},
    "no network, no capabilities": LOCKED_DOWN["no network, no capabilities"],
}
STRICT["all at once"] = {key: value for options in STRICT.values() for key, value in options.items()}
"""How clusters run images; tests/engine/test_strict.py has all of them work with a small one."""


@pytest.mark.parametrize("options", LOCKED_DOWN.values(), ids=LOCKED_DOWN)
def test_torch_computes_when_locked_down(engine: Engine, image: str, options: dict[str, Any]) -> None:
    """Torch computes although it can write, look up and download nothing."""
    assert engine.run(image, ["python", "-c", COMPUTE], **options) == (0, f"{COMPUTED}\n")


def test_an_edited_module_takes_effect(engine: Engine, image: str) -> None:
    """The user may edit an installed module, and Python uses the new source instead of old bytecode."""
    module = f"{PACKAGES}/typing_extensions.py"
    ask = "python -c 'import typing_extensions as t; print(t.__cached__ is not None, getattr(t, \"EDITED\", None))'"
    script = f"{ask}; echo 'EDITED = 1' >> {module}; {ask}"
    assert engine.run(image, ["sh", "-c", script]) == (0, "True None\nTrue 1\n")


@pytest.mark.parametrize("how", ["any user, group 0", "all at once"])
def test_caches_have_a_place(engine: Engine, image: str, how: str) -> None:
    """HOME and the cache folders of pip, uv, torch.compile and Triton are writable, in HOME or /tmp."""
    status, output = engine.run(image, ["python", "-c", (PROGRAMS / "caches.py").read_text()], **STRICT[how])
    assert status == 0, output
    found = json.loads(output.splitlines()[-1])
    assert found["refused"] == {}
    assert {"HOME", "pip", "uv"} <= found["folders"].keys()
    places = (found["folders"]["HOME"], "/tmp/")
    assert [path for path in found["folders"].values() if not path.startswith(places)] == []
