"""A failed build's log to one message with the next command."""

from pathlib import Path

import pytest

from torchdev.engine.diagnosis import explain
from torchdev.util.errors import Exit

LOG = Path(".torchdev/logs/cell.log")


def test_scripts_own_words_come_first() -> None:
    """A step that refuses says why and what to do; neither of another step, nor where nothing failed."""
    words = "#2 0.1 refused: module _ssl is missing\n#2 0.1 next: compile it again\n"
    error = explain("cell", f"#1 0.1 refused: not this\n{words}#2 ERROR: exit code 1\n", LOG)
    assert (error.what, error.where) == (f"module _ssl is missing\n  log: {LOG}", "cell")
    assert error.next_step == "compile it again"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("write /var/lib/docker/x: no space left on device", "the disk is full"),
        ("dd: error writing '/x': No space left on device", "the disk is full"),
        ("error: Hash mismatch for `torch==2.13.0`", "its hash differs"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "its hash differs"),
        ("  cause: dns error", "could not be reached"),
        ("E: Temporary failure resolving 'deb.example'", "could not be reached"),
        ("ERROR: failed to resolve source metadata for docker.io/library/python", "could not be pulled"),
    ],
)
def test_known_causes_are_named(line: str, what: str) -> None:
    """With the line itself, the cell, and a command."""
    error = explain(
        "cell", f"#1 start\n#2 [2/3] RUN x\n#2 0.1 {line}\n#2 ERROR: exit code 1\nERROR: exit code 1\n", LOG
    )
    assert what in error.what
    assert line.strip() in error.what
    assert error.where == "cell"
    assert error.next_step
    assert error.code is Exit.BUILD


def test_what_an_earlier_step_overcame_is_not_the_cause() -> None:
    """Only the output of the step that failed is searched."""
    log = "#1 0.1 E: Failed to fetch, another mirror served\n#2 1.0 make: Error 2\n#2 ERROR: exit code 2\n"
    error = explain("cell", log, LOG)
    assert "the build failed" in error.what
    assert "make: Error 2" in error.what


def test_long_lines_are_cut_and_said_once() -> None:
    """BuildKit repeats a step's whole instruction whenever another step's output came between."""
    step = f"#2 [2/3] RUN --mount=type=bind,source=a,target=/a {'x' * 500} /steps/fetch-wheels"
    error = explain("cell", f"{step}\n#3 other\n{step}\n#2 0.1 no such file\n#2 ERROR: exit code 2\n", LOG)
    assert error.what.count("/steps/fetch-wheels") == 1
    assert max(map(len, error.what.splitlines())) < 200


def test_unknown_cause_shows_the_end_of_the_log() -> None:
    """And names the file."""
    error = explain("cell", "\n".join(f"line {number}" for number in range(100)), LOG)
    assert "line 99" in error.what
    assert "line 50" not in error.what
    assert str(LOG) in error.next_step
