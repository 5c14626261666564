"""What buildx prints, read."""

import os
from pathlib import Path

import pytest

from torchdev.engine import buildx
from torchdev.engine.buildx import Record, read_inspect, read_records
from torchdev.util.errors import BuildError

USED = """\
ID:\t\tx6vw5pal9mpmdpuujto8yl603
Created at:\t2026-11-25 19:25:42.67734863 +0000 UTC
Mutable:\ttrue
Reclaimable:\ttrue
Shared:\t\tfalse
Size:\t\t3.083GB
Description:\tcached mount /cache from exec /bin/bash -c /steps/fetch-wheels cudnn with id "/torchdev-wheels"
Usage count:\t3
Last used:\tAbout a minute ago
Type:\t\texec.cachemount

ID:\t\ttcwx08ue5wpjqv9movbcoklrj
Parent:\t\t1f18hpv9k7xbrs2mgmcz8sf3q
Mutable:\tfalse
Shared:\t\ttrue
Size:\t\t31.46MB
Description:\tmount / from exec /bin/sh -c true
Type:\t\tregular

Shared:\t\t31.46MB
Private:\t3.083GB
Reclaimable:\t3.114GB
Total:\t\t3.114GB
"""


def test_cache_records_are_read() -> None:
    """As buildx 0.13.1 prints them; the sums below are none."""
    first, second = read_records(USED)
    assert first == Record(
        "x6vw5pal9mpmdpuujto8yl603",
        3_083_000_000,
        False,
        'cached mount /cache from exec /bin/bash -c /steps/fetch-wheels cudnn with id "/torchdev-wheels"',
    )
    assert (second.id, second.size, second.shared) == ("tcwx08ue5wpjqv9movbcoklrj", 31_460_000, True)
    assert read_records("") == []


def test_builder_is_read() -> None:
    """Its driver, and its platforms, of which those that it was told of have a star."""
    text = "Name:          far\nDriver:        remote\n\nNodes:\nName:   far0\nPlatforms: linux/amd64*, linux/arm64\n"
    found = read_inspect(text)
    assert (found.name, found.driver, found.platforms) == ("far", "remote", ("linux/amd64", "linux/arm64"))
    assert read_inspect("Name: idle\nDriver: kubernetes\nStatus: inactive\n").platforms == ()


def test_the_reason_of_buildx_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a HOME that is a file; a log that is gone by then would not help."""
    (tmp_path / "docker").write_text("#!/bin/sh\necho 'ERROR: mkdir /etc/passwd: not a directory'; echo; exit 1\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for asked in (buildx.records, lambda: buildx.prune(["a"])):
        with pytest.raises(BuildError, match="failed: ERROR: mkdir /etc/passwd: not a directory") as caught:
            asked()
        assert str(tmp_path) not in str(caught.value)
        assert caught.value.next_step
