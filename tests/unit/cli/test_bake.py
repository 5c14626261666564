"""A bake file that is given to a command: on its standard input, with the secrets in its environment alone."""

import sys

import pytest

from torchdev.cli import bake
from torchdev.wheels.host import Host

HOST = Host(index="https://me:s3cretword@h.example/T0kenpath/simple")
PROGRAM = """
import os, sys
print(len(sys.stdin.read()), sorted(name for name in os.environ if name.startswith("TORCHDEV_SECRET_")))
print("#8 Looking in", os.environ["TORCHDEV_SECRET_PIP_CONF"], "s3cretword", file=sys.stderr)
sys.exit(7)
"""


def test_a_command_gets_the_file_and_the_secrets(capfd: pytest.CaptureFixture[str]) -> None:
    """Its exit code is passed on, and what it says of the secrets is not."""
    assert bake._given("x" * 300_000, [sys.executable, "-c", PROGRAM], HOST) == 7
    said = capfd.readouterr()
    assert said.out == "300000 ['TORCHDEV_SECRET_PIP_CONF']\n"
    assert "#8 Looking in" in said.err
    assert "[hidden]" in said.err
    assert "s3cretword" not in said.err + said.out
    assert "T0kenpath" not in said.err


def test_a_command_that_is_none_can_not_be_started() -> None:
    """The caller names it."""
    with pytest.raises(OSError, match="nowhere"):
        bake._given("{}", ["/nowhere/docker"], HOST)
