"""Every value of a contract is changed once, and the check that docs/checks.md names for its field turns red."""

import copy
import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.conftest import ROOT
from torchdev.docgen.checkpage import TABLES, field, leaves, proving
from torchdev.docgen.project import Project, open_project
from torchdev.engine.client import Engine
from torchdev.image.paths import Paths
from torchdev.image.plan import Plan
from torchdev.pipeline.checklist import read_checks

Contract = dict[str, Any]
WHOLE = "test_contract_is_in_the_image"
"""It compares the file as a whole, so that it says nothing of a single field."""
SMALL = 1_000_000
"""Bytes; no image is as small."""
CPU = ROOT / "tests" / "cpu" / "matrix.yaml"


def changed(name: str, value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, list):
        return value[:-1] if value else ["sm_1"]
    if isinstance(value, int):
        return SMALL if name == "size_limit" else value + 1
    return f"{value}1" if value else "1.0"


def mutations(contract: Contract) -> Iterator[tuple[str, Contract]]:
    """The field that was changed, and the contract with that one change; keys of tables are also added and removed."""
    for path in leaves(contract):
        for new in ("change", "remove") if path[0] in TABLES else ("change",):
            mutant = copy.deepcopy(contract)
            inner = mutant
            for key in path[:-1]:
                inner = inner[key]
            if new == "remove":
                del inner[path[-1]]
            else:
                inner[path[-1]] = changed(path[-1], inner[path[-1]])
            yield field(path), mutant
    for table in TABLES:
        yield table, {**contract, table: {**contract[table], "one-more": "1.0"}}


def failures(plan: Plan, paths: Paths, contracts: "list[Path]", report: Path) -> "dict[str, set[str]]":
    """For each contract, by its file's name: the checks that fail when an image is held to it."""
    command = [sys.executable, "-m", "pytest", "tests/image/test_contract.py", "-q", "-p", "no:cacheprovider"]
    command += ["--cell", plan.cell.id, "--image", plan.tags[0], "--gpu", "none", "--tb", "no"]
    command += ["--matrix-file", str(paths.matrix_file), "--junitxml", str(report)]
    command += [f"--contract={path}" for path in contracts]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout[-3000:] + done.stderr[-3000:]
    found: dict[str, set[str]] = {path.stem: set() for path in contracts}
    for case in ElementTree.parse(report).iter("testcase"):
        name, _, contract = str(case.get("name")).rstrip("]").partition("[")
        if case.find("failure") is not None or case.find("error") is not None:
            found[contract].add(name)
    return found


@pytest.fixture(params=["first cell", "without CUDA"])
def built(request: pytest.FixtureRequest, project: Project, engine: Engine) -> "tuple[Plan, Paths]":
    """A cell with CUDA, and one without, whose images must have been built before."""
    chosen = project if request.param == "first cell" else open_project(ROOT, CPU)
    plan = chosen.plans(chosen.matrix.cells[:1])[0]
    if not engine.image(plan.tags[0]):
        pytest.skip(f"needs {plan.tags[0]}: python build.py {plan.cell.id}")
    return plan, chosen.paths


def test_every_value_of_the_contract_is_checked(
    built: "tuple[Plan, Paths]", tmp_path: Path, write: "Callable[[str, Contract], Path]"
) -> None:
    """Each change turns the check of its field red, and no other; a field that turns nothing red fails this."""
    plan, paths = built
    contract = json.loads(paths.contract(plan.cell.id).read_text())
    mutants = {f"{number:03}": mutant for number, mutant in enumerate(mutations(contract))}
    files = [write("as-it-is", contract), *(write(name, mutant) for name, (_, mutant) in mutants.items())]
    found = failures(plan, paths, files, tmp_path / "report.xml")
    assert found.pop("as-it-is") == set(), "build the image anew: it is not what its contract says"
    checks = read_checks(ROOT / "tests" / "image")
    expected = {name: {WHOLE, *(check.name for check in proving(checks, of))} for name, (of, _) in mutants.items()}
    wrong = {
        f"{mutants[name][0]}: {sorted(found[name])}, not {sorted(expected[name])}"
        for name in found
        if found[name] != expected[name]
    }
    assert wrong == set()
    assert all(len(names) > 1 for names in expected.values())


@pytest.fixture
def write(tmp_path: Path) -> "Callable[[str, Contract], Path]":
    """Write a contract to a file of that name."""

    def make(name: str, contract: Contract) -> Path:
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(contract))
        return path

    return make
