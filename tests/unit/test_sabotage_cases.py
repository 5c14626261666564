"""The Dockerfiles of images broken on purpose: what of them can be wrong without an engine."""

import re

import pytest

from tests.sabotage.cases import Case, dockerfile, options, read_cases
from tests.unit.conftest import ROOT

INSTRUCTIONS = {"FROM", "USER", "RUN", "COPY", "ENV", "LABEL", "ENTRYPOINT", "CMD", "WORKDIR"}


def instructions(text: str) -> "list[str]":
    """The first word of each instruction: lines that end with a backslash go on, and so do heredocs."""
    found, rest = [], iter(text.replace("\\\n", " ").splitlines())
    for line in filter(str.strip, rest):
        found.append(line.split()[0])
        for end in re.findall(r"<<-?'?(\w+)'?", line):
            while next(rest) != end:
                pass
    return found


@pytest.mark.parametrize("case", read_cases(), ids=lambda case: case.name)
def test_a_case_can_be_built_and_run(case: Case) -> None:
    """Each line is an instruction or goes on with one, and modules that are named are there."""
    assert set(instructions(dockerfile(case, "image"))) <= INSTRUCTIONS
    modules = [ROOT / option for option in options(case) if not option.startswith("--")]
    assert [path for path in modules if not path.exists()] == []
