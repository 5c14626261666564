"""pip's settings, as pip itself says them: in files and variables, whole or not at all."""

import os
import sys
from pathlib import Path

import pytest

from tests.unit.forked import Pip
from torchdev.util.errors import Exit, InputError
from torchdev.wheels import pip_settings
from torchdev.wheels.settings import Settings


def read(tmp_path: Path, text: str, **variables: str) -> Settings:
    """Have pip read a configuration file, and the environment."""
    (tmp_path / "pip.conf").write_text(text)
    return pip_settings.read({"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), **variables})


@pytest.mark.parametrize(("word", "text", "code"), [
    ("list", "[global]\nindex-url = https://a.example\n[install]\nno-index = 1\n", 0), ("list", "nonsense\n", 2),
    ("debug", "[global]\ntimeout = 9\n", 0),
])  # fmt: skip
def test_pip_answers_in_a_fork_as_it_does_alone(tmp_path: Path, word: str, text: str, code: int) -> None:
    """So that other tests may save its start."""
    (tmp_path / "pip.conf").write_text(text)
    variables = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "PIP_RETRIES": "3"}
    alone, fork = pip_settings._start(word, variables), Pip(word, variables)
    assert (*alone.communicate(timeout=60), alone.returncode) == (*fork.communicate(), code)
    assert fork.returncode == code


@pytest.mark.usefixtures("forked_pip")
def test_sections_and_variables_are_put_together(tmp_path: Path) -> None:
    """As `pip install` does: its own section over global, the environment over both; several lines are several."""
    text = """
[global]
index-url = https://a.example/simple
trusted-host = a.example
    b.example:8080
[install]
extra-index-url =
    https://c.example/simple
    https://d.example/simple
"""
    found = read(tmp_path, text, PIP_FIND_LINKS="https://links.example /opt", PIP_NO_INDEX="", PIP_INDEX_URL="")
    assert (found.index and found.index.text) == "https://a.example/simple"
    assert [location.text for location in found.extra] == ["https://c.example/simple", "https://d.example/simple"]
    assert [location.text for location in found.links] == ["https://links.example", "/opt"]
    assert found.trusted == ("a.example", "b.example:8080")
    assert not found.no_index
    assert found.lenient
    changed = read(tmp_path, text, PIP_INDEX_URL="https://e.example", PIP_NO_INDEX="on")
    assert (changed.index and changed.index.text, changed.no_index) == ("https://e.example", True)


@pytest.mark.usefixtures("forked_pip")
def test_the_file_that_is_named_is_read_instead_of_the_users(tmp_path: Path) -> None:
    """As pip does it; without one, the user's holds."""
    (tmp_path / ".config" / "pip").mkdir(parents=True)
    (tmp_path / ".config" / "pip" / "pip.conf").write_text("[global]\nindex-url = https://user.example\n")
    assert read(tmp_path, "[global]\nextra-index-url = https://named.example\n").index is None
    found = pip_settings.read({"HOME": str(tmp_path)})
    assert (found.index and found.index.text) == "https://user.example"


BROKEN = {
    "key twice": "[global]\nindex-url = https://a\nindex-url = https://s3cret@a\n",
    "section twice": "[global]\n[global]\n",
    "no section": "index-url = https://u:s3cret@a\n",
    "no equals sign": "[global]\nindex-url\n",
    "colon for an equals sign": "[global]\nindex-url https://u:s3cret@a/simple\n",
    "no UTF-8": "[global]\nindex-url = https://\udcff\n",
}


@pytest.mark.usefixtures("forked_pip")
@pytest.mark.parametrize("name", list(BROKEN))
def test_a_file_that_pip_can_not_read_is_refused(tmp_path: Path, name: str) -> None:
    """Exit 2, the file or its section is named, and no word of a secret."""
    (tmp_path / "pip.conf").write_bytes(BROKEN[name].encode(errors="surrogateescape"))
    with pytest.raises(InputError) as raised:
        pip_settings.read({"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")})
    assert raised.value.code is Exit.INPUT
    assert raised.value.where in (str(tmp_path / "pip.conf"), "pip's section global")
    assert raised.value.next_step
    assert "s3cret" not in str(raised.value)


def test_a_variable_that_pip_can_not_read_is_named(tmp_path: Path) -> None:
    """Pip says so on its standard output, and repeats the value."""
    with pytest.raises(InputError, match=r"option default-timeout: invalid") as raised:
        pip_settings.read({"HOME": str(tmp_path), "PIP_DEFAULT_TIMEOUT": "s3cret"})
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("global.index-url", ""),
        ("global.index-url", "https://"),
        ("install.extra-index-url", "https://u:s3cret@h.example:99999/"),
        ("global.index-url", "https://a.example https://b.example"),
        (":env:.find-links", "git+https://u:s3cret@h.example/x"),
        ("global.client-cert", "/etc/passwd"),
        ("global.proxy", "http://u:s3cret@proxy:3128"),
        (":env:.no-index", "perhaps"),
        ("global.trusted-host", "https://a.example/"),
        ("download.index-url", "https://b"),
        ("wheel.extra-index-url", "https://b"),
        ("download.no-index", "1"),
    ],
)
def test_what_can_not_be_handed_on_is_refused(key: str, value: str) -> None:
    """Or what is none at all: the setting is named, and no word of a secret."""
    with pytest.raises(InputError, match=r"^pip's setting ") as raised:
        pip_settings.parse(f"global.timeout='5'\n{key}={value!r}\n", {})
    assert "s3cret" not in str(raised.value)


def test_a_proxy_that_holds_for_all_tools_is_none_for_pip_alone() -> None:
    """It may stand in pip's file, too."""
    same = "http://proxy:3128"
    pip_settings.parse(f"global.proxy={same!r}\n", {"HTTP_PROXY": same, "https_proxy": same})


@pytest.mark.usefixtures("forked_pip")
def test_a_file_that_is_named_and_missing_is_refused() -> None:
    """Pip itself goes on without it, and asks PyPI; /dev/null is its word for none."""
    with pytest.raises(InputError, match="PIP_CONFIG_FILE=/nowhere"):
        pip_settings.read({"PIP_CONFIG_FILE": "/nowhere"})
    assert pip_settings.read({"PIP_CONFIG_FILE": os.devnull}).index is None


@pytest.mark.usefixtures("forked_pip")
def test_a_file_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    """Pip passes over one that this user may not read, or that is a folder."""
    folder = tmp_path / ".config" / "pip" / "pip.conf"
    folder.mkdir(parents=True)
    with pytest.raises(InputError, match=str(folder)):
        pip_settings.read({"HOME": str(tmp_path)})


def test_a_python_without_pip_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its settings can't be known, and going on would ask PyPI."""
    monkeypatch.setattr(pip_settings, "PIP", (sys.executable, "-I", "-S", "-m", "pip", "config"))
    with pytest.raises(InputError, match="has no pip"):
        pip_settings.read({"HOME": str(tmp_path)})
