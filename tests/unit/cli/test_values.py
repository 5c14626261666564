"""What the command line may hold: empty values, odd numbers and references are refused before anything is done."""

import argparse
from pathlib import Path

import pytest

from tests.unit.conftest import ROOT
from torchdev.cli import arguments, values

PARSER, COMMANDS = arguments.parser(ROOT / "matrix.yaml")


def actions() -> "list[tuple[str, argparse.Action]]":
    """Every option and positional argument that takes a value, by command."""
    found = []
    for command, parser in COMMANDS.items():  # type: ignore[attr-defined] # a dict, by command
        found += [(command, action) for action in parser._actions if action.nargs != 0]
    return found


@pytest.mark.parametrize(("command", "action"), actions())
@pytest.mark.parametrize("value", ["", " ", "\t\n", "a\0b", "\ud800"])
def test_no_value_is_empty_or_impossible(command: str, action: argparse.Action, value: str) -> None:
    """Whatever the option: nothing else would refuse the next one that is added."""
    if action.choices:
        assert value not in action.choices
        return
    assert callable(action.type), (command, action.dest)
    with pytest.raises(argparse.ArgumentTypeError):
        action.type(value)


@pytest.mark.parametrize("command", ["build", "push"])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "it is empty"),
        ("ghcr.io/owner/torchdev:tag", "tag or a digest"),
        ("torchdev:latest", "tag or a digest"),
        ("localhost:5000", "tag or a digest"),
        (f"torchdev@sha256:{'a' * 64}", "tag or a digest"),
        ("ghcr.io/Owner/torchdev", "upper case"),
        ("https://ghcr.io/owner/torchdev", "is a URL"),
        ("oci://x", "is a URL"),
        ("-torchdev", "is not a repository"),
        ("a b", "is not a repository"),
        ("torchdev/", "is not a repository"),
        ("/torchdev", "is not a repository"),
        ("a//b", "is not a repository"),
        ("a/../b", "is not a repository"),
        ("$(id)", "is not a repository"),
        ("torchdev\n", "is not a repository"),
        ("x" * 300, "is longer than"),
        ("tärchdev", "is not a repository"),
    ],
)
def test_a_repository_is_checked_first(command: str, value: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With exit code 2, what is wrong with it, and where the options are told."""
    option = {"build": "--push-to", "push": "--to"}[command]
    with pytest.raises(SystemExit) as caught:
        PARSER.parse_args([command, "latest", f"{option}={value}"])
    told = capsys.readouterr().err
    assert caught.value.code == 2
    assert f"argument {option}" in told
    assert said in told
    assert f"next: python build.py {command} --help" in told
    assert len(told.splitlines()) == 2


@pytest.mark.parametrize(
    "value", ["torchdev", "ghcr.io/owner/torchdev", "localhost:5000/a/b", "127.0.0.1:5000/x", "a_b"]
)
def test_what_a_repository_is(value: str) -> None:
    """With a host, a port, or neither."""
    assert values.repository(value) == value


@pytest.mark.parametrize(
    "value",
    ["0", "-0", "-1", "1.0", "1e3", "nan", "inf", "1_000", "٣", "+5", " 5", "9" * 5000, "0x10", "1e400", "1001"],
)
def test_numbers_that_are_none(value: str) -> None:
    """Python reads more as a number than a user means."""
    with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number from 1 to 1000"):
        values.whole(1, 1000)(value)


@pytest.mark.parametrize(
    "value", ["0", "-0", "nan", "inf", "-inf", "1e400", "1e3", "-5", "0.0", "1_0", "9" * 400, "٣", "1,5"]
)
def test_amounts_that_are_none(value: str) -> None:
    """A disk's room is a number of GB, and more than nothing."""
    with pytest.raises(argparse.ArgumentTypeError):
        values.gigabytes(value)


def test_amounts() -> None:
    """In whole bytes."""
    assert values.gigabytes("0.5") == 500_000_000
    assert values.gigabytes("120") == 120 * 10**9
    assert values.whole(0, 9)("007") == 7
    assert values.path("-x\udcff") == Path("-x\udcff")


@pytest.mark.parametrize(
    "words", [["list", "--nosuch\x1b[31m"], ["explain", "--cuda"], ["doctor", "--matrix-file", "x"]]
)
def test_refusals_repeat_nothing_that_a_terminal_obeys(words: "list[str]", capsys: pytest.CaptureFixture[str]) -> None:
    """In two lines, as every other message."""
    with pytest.raises(SystemExit):
        PARSER.parse_args(words)
    told = capsys.readouterr().err
    assert told.replace("\n", "").isprintable()
    assert told.startswith("error: ")
    assert len(told.splitlines()) == 2
