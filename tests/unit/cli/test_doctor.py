"""What build.py doctor decides of a machine, and what its exit code says."""

from pathlib import Path

import pytest

from torchdev.cli import doctor
from torchdev.cli.doctor import Finding, exit_code, judge_disk, judge_registry
from torchdev.util.errors import Exit
from torchdev.wheels.host import Host

OK, NOTE = Finding("engine", "ok", "Docker 29"), Finding("gpu", "note", "no NVIDIA driver here")
NEEDS = {"py311-cpu": 3 * 10**9, "py311-cu130": 20 * 10**9}
PLACE = Path("/var/lib/docker")


@pytest.mark.parametrize("subject", ["engine", "buildx", "disk", "registry", "index", "whatever is to come"])
def test_anything_missing_is_an_exit_code(subject: str) -> None:
    """Whatever it is: a script that asks the doctor must not have to read its lines."""
    assert exit_code([OK, Finding(subject, "missing", "it is not there"), NOTE]) == Exit.ENGINE


def test_what_is_not_needed_is_none() -> None:
    """A note, such as that there is no GPU, keeps nobody from building."""
    assert exit_code([OK, NOTE]) == Exit.OK
    assert exit_code([]) == Exit.OK


@pytest.mark.parametrize(
    ("free", "needs", "state", "said"),
    [
        (30 * 10**9, NEEDS, "ok", ""),
        (10 * 10**9, NEEDS, "note", "py311-cu130 needs 20 GB"),
        (2 * 10**9, NEEDS, "missing", "py311-cpu needs 3 GB"),
        (0, NEEDS, "missing", "py311-cpu needs 3 GB"),
        (2 * 10**9, {}, "note", "a CUDA cell needs 25 GB"),
        (26 * 10**9, {}, "ok", ""),
    ],
)
def test_a_disk_is_missing_only_where_nothing_fits(free: int, needs: "dict[str, int]", state: str, said: str) -> None:
    """Where the smallest cell fits, one can build; where no lock says what cells need, nobody knows."""
    found = judge_disk(free, PLACE, needs)
    assert found.state == state
    assert said in found.text
    assert bool(found.next_step) == (state != "ok")


def test_bases_are_missing_only_where_they_come_from_nowhere() -> None:
    """A registry, bases that an earlier run has made, or what makes them: one of the three is enough."""
    states = {
        (answers, here, makes): judge_registry(answers=answers, bases_here=here, mmdebstrap=makes).state
        for answers in (True, False)
        for here in (True, False)
        for makes in (True, False)
    }
    assert [key for key, state in states.items() if state == "missing"] == [(False, False, False)]
    assert {state for (answers, *_), state in states.items() if answers} == {"ok"}


@pytest.mark.parametrize("info", [{}, {"Runtimes": {"runc": {}}}])
def test_an_engine_without_gpus_builds_all_the_same(info: "dict[str, object]", monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks that need one are then not run, and say so: a note, though the machine has a driver."""
    monkeypatch.setattr(Path, "exists", lambda _: True)
    found = doctor._gpu(info)
    assert found.state == "note"
    assert "nvidia-container-toolkit" in found.next_step


def test_an_index_that_does_not_answer_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an engine's fault, too, the exit code says so: CI that goes on would fail later, and less clearly."""
    monkeypatch.setattr(doctor, "index_refusal", lambda _: "connection refused")
    findings = [OK, *doctor._network(Host())]
    assert exit_code(findings) == Exit.ENGINE
    monkeypatch.setattr(doctor, "index_refusal", lambda _: None)
    assert exit_code([OK, *doctor._network(Host())]) == Exit.OK
