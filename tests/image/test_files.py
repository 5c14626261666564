"""The files of the image: those of the locked wheels, and nothing that others may change or become."""

import csv
import io
import re
import shlex
import zipfile
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from testinfra.host import Host

from tests.image.conftest import result
from tests.image.programs.elf import loaded
from tests.image.test_contract import BESIDE, matches
from torchdev.catalog.ids import COMPANIONS
from torchdev.image.contract import make_contract
from torchdev.image.plan import Plan
from torchdev.wheels.host import find_wheels, read_host

SAYING = ("torch", *COMPANIONS)
"""Packages whose version in the image is the one that their module says, with the CUDA variant."""


@pytest.fixture(scope="module")
def records(untouched: Host, plan: Plan) -> dict[str, Any]:
    """What came of holding every installed file against the RECORD of its wheel."""
    stripped = make_contract(plan.cell, plan.lock)["stripped"]
    return result(untouched, " ".join(["records.py --rows", *(shlex.quote(glob) for glob in stripped)]))


@pytest.fixture(scope="module")
def survey(untouched: Host) -> dict[str, Any]:
    """What a walk through the whole image as root has found."""
    return result(untouched, "survey.py")


def test_installed_files_are_those_of_their_records(records: dict[str, Any], contract: dict[str, Any]) -> None:
    """Each file has the sha256 of its RECORD; no file is missing, and none is there that no RECORD lists."""
    assert records["files"] > 5000
    gone = [path for _, path in records["gone"] if not matches(path, contract["left_out"])]
    found = {name: records[name] for name in ("changed", "unlisted", "unhashed", "unrecorded")} | {"gone": gone}
    assert found == {name: [] for name in found}
    infos = [name.removesuffix(".dist-info").rpartition("-")[0].replace("_", "-").lower() for name in records["rows"]]
    assert sorted(BESIDE | set(infos)) == sorted(BESIDE | {n.replace("_", "-") for n in contract["packages"]})


def test_records_are_those_of_the_locked_wheels(records: dict[str, Any], plan: Plan) -> None:
    """Each RECORD equals that of the wheel with the locked sha256, if this machine has the wheel.

    uv adds the scripts that it makes. The METADATA of torch and its companions have another version
    (docs/decisions/0011-the-guard.md), and torch's a cuDNN other than the one that it pins; what the guard shows has
    an INSTALLER of its own. Of libraries without their symbol tables, what a loader maps is that of the wheel's.
    """
    wanted = [(package.name, package.file, package.sha256) for package in plan.lock.packages]
    wheels = find_wheels(read_host(), wanted)
    if not wheels:
        pytest.skip("no locked wheel lies in a folder of this machine; that they were installed is uv's word")
    for wheel in wheels.values():
        info, expected = rows_of(wheel)
        rows = {plain(info): rows for info, rows in records["rows"].items()}
        found = {plain(path): sha256 for path, sha256, _ in rows.get(info, []) if plain(path) != f"{info}/RECORD"}
        stripped = loaded_of(wheel, records["loaded"].keys())
        assert stripped == {path: records["loaded"][path] for path in stripped}
        said = info.startswith(tuple(f"{name}-" for name in SAYING)) or plan.cell.cudnn
        changed = stripped.keys() | ({f"{info}/METADATA"} if said else set())
        differ = {path for path, sha256 in expected.items() if found.get(path) != sha256} - changed
        added = {path for path in found.keys() - expected.keys() if not path.startswith("../../../")} - {
            f"{info}/INSTALLER"
        }
        assert (wheel.name, differ, added) == (wheel.name, set(), set())


def rows_of(wheel: Path) -> tuple[str, dict[str, str]]:
    """The name of a wheel's .dist-info, and path to sha256 of all in its RECORD that is installed as it stands."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/RECORD"))
        rows = csv.reader(io.StringIO(archive.read(name).decode("utf-8")))
        kept = {row[0]: row[1] for row in rows if ".data/" not in row[0] and row[0] != name}
    return plain(name).split("/")[0], {plain(path): sha256 for path, sha256 in kept.items() if not path.endswith("/")}


def plain(path: str) -> str:
    """A path below site-packages; versions of torch and its companions as PyPI has them, without CUDA variant."""
    return re.sub(rf"^((?:{'|'.join(SAYING)})-[^/+]+)\+[^/]+(\.dist-info)", r"\1\2", path)


def loaded_of(wheel: Path, paths: "Collection[str]") -> dict[str, str]:
    """Path to sha256 of what a loader maps, of those libraries that a wheel has."""
    found = {}
    with zipfile.ZipFile(wheel) as archive, TemporaryDirectory() as folder:
        for path in sorted(set(paths) & set(archive.namelist())):
            found[path] = loaded(archive.extract(path, folder))
    return found


def test_bytecode_is_of_its_sources(survey: dict[str, Any]) -> None:
    """Each .pyc has the time and size of its source, so that it is used and edited sources are noticed."""
    assert survey["stale_bytecode"] == []


def test_nothing_is_writable_by_others(survey: dict[str, Any]) -> None:
    """Nothing is writable by others except folders such as /tmp, where nobody can remove other users' files."""
    assert survey["files"] > 10_000
    assert survey["writable"] == []


def test_no_program_makes_its_user_another(survey: dict[str, Any]) -> None:
    """No program makes its user root or a member of a group, by mode or capability, not even Debian's own."""
    assert survey["setuid"] == []
    assert survey["capable"] == []
