"""The checks of tests/image as docs/checks.md tells them: each field of the contract has one."""

import json
from pathlib import Path

from tests.unit.conftest import ROOT
from torchdev.docgen.checkpage import Proofs, field, leaves, page, proving, read_proofs
from torchdev.image.contract import make_contract
from torchdev.matrix.load import Cell
from torchdev.pipeline.checklist import read_checks
from torchdev.wheels.lock import Lock

CHECKS = read_checks(ROOT / "tests" / "image")
PROOFS = read_proofs(ROOT / "tests" / "sabotage" / "cases.yaml")


def test_every_field_has_a_check(cell: Cell, lock: Lock) -> None:
    """And no check claims a field that there is not."""
    fields = {field(path) for path in leaves(make_contract(cell, lock))}
    assert {name for check in CHECKS for name in check.proves} == fields
    assert all(len(proving(CHECKS, name)) == 1 for name in fields)


def test_every_check_says_what_it_shows() -> None:
    """By its first sentence, which the page shows."""
    assert len(CHECKS) > 40
    assert [check.name for check in CHECKS if not check.about] == []
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_a_field_without_a_check_shows(cell: Cell, lock: Lock, tmp_path: Path) -> None:
    """Its row is empty."""
    (tmp_path / "test_a.py").write_text('@pytest.mark.proves("cell")\ndef test_a():\n    """It | is."""\n')
    text = page(read_checks(tmp_path), make_contract(cell, lock), Proofs({"a cat": ["test_a"]}, {}), "")
    assert "| cell | test_a |" in text
    assert "| schema |  |" in text
    assert "| test_a | It \\| is. | its field of the contract, changed; *a cat* |" in text


def test_leaves_are_every_value() -> None:
    """Lists as one; the keys of tables belong to one field."""
    contract = json.loads('{"a": 1, "torch": {"cuda": null, "list": [1, 2]}, "labels": {"x.y": "z"}}')
    found = list(leaves(contract))
    assert found == [("a",), ("torch", "cuda"), ("torch", "list"), ("labels", "x.y")]
    assert [field(path) for path in found] == ["a", "torch.cuda", "torch.list", "labels"]


def test_every_check_has_a_proof_or_is_said_to_have_none() -> None:
    """What turns it red; and cases name no check that there is not, nor excuse one that an image turns red."""
    names = {check.name for check in CHECKS}
    assert [check.name for check in CHECKS if not PROOFS.of(check)] == []
    assert {name for red in PROOFS.sabotages.values() for name in red} <= names
    assert PROOFS.otherwise.keys() <= names
    assert [name for name in PROOFS.otherwise if any(name in red for red in PROOFS.sabotages.values())] == []
    assert [name for name, red in PROOFS.sabotages.items() if not red] == []
