"""docs/checks.md: which check holds images to which field of the contract, and what turns each red.

`@pytest.mark.proves("torch.cuda")` says which field turns a check red; tests/engine/test_contract.py tries it.
tests/sabotage/cases.yaml says which images broken on purpose do, and what is known of checks that none turns red.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchdev.pipeline.checklist import Check
from torchdev.util import positions, tables

TABLES = ("packages", "environment", "labels")
"""Fields of the contract whose keys differ between cells; each counts as one field here."""


@dataclass(frozen=True)
class Proofs:
    """Proofs that checks can fail: images broken on purpose with their checks; other proofs; or why there is none."""

    sabotages: "dict[str, list[str]]"
    otherwise: "dict[str, str]"

    def of(self, check: Check) -> str:
        """Every proof that a check can fail, in a phrase."""
        mutated = ["its field of the contract, changed"] if check.proves else []
        broken = [f"*{name}*" for name, red in self.sabotages.items() if check.name in red]
        return "; ".join([*mutated, *broken, *([self.otherwise[check.name]] if check.name in self.otherwise else [])])


def read_proofs(path: Path) -> Proofs:
    """The proofs in tests/sabotage/cases.yaml."""
    found = positions.read_own(path, ("cases", "otherwise"))
    return Proofs({name: case["red"] for name, case in found["cases"].items()}, found["otherwise"])


def leaves(contract: "dict[str, Any]", path: tuple[str, ...] = ()) -> "Iterator[tuple[str, ...]]":
    """The path of every single value of a contract; a list is one value."""
    for key, value in contract.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def field(path: tuple[str, ...]) -> str:
    """The field that a value belongs to: torch.cuda; packages, for every package."""
    return path[0] if path[0] in TABLES else ".".join(path)


def proving(checks: "list[Check]", name: str) -> "list[Check]":
    """The checks that fail when a field is wrong."""
    return [check for check in checks if name in check.proves]


def page(checks: "list[Check]", contract: "dict[str, Any]", proofs: Proofs, head: str) -> str:
    """docs/checks.md: each field with its check, then every check with what it shows and what turns it red."""
    fields = dict.fromkeys(field(path) for path in leaves(contract))
    rows = [(name, ", ".join(check.name for check in proving(checks, name))) for name in fields]
    modules = dict.fromkeys(check.module for check in checks)
    lists = "".join(_module(module, [c for c in checks if c.module == module], proofs) for module in modules)
    return f"""{head}
# What is checked

Every image is held, from outside, to its contract: `images/CELL/contract.json`, derived from matrix, catalog, lock and
base by `torchdev/image/contract.py`. The image has it, too, as `/usr/local/share/torchdev/contract.json`. What these
checks can't prove: [decisions/0008-what-checks-can-prove.md](decisions/0008-what-checks-can-prove.md).

## Fields of the contract

`tests/engine/test_contract.py` changes every value of a contract once, and sees the check turn red that stands beside
its field, and no other but `test_contract_is_in_the_image`, which compares the file as a whole.

{tables.markdown([("field", "check"), *rows])}

## Checks

What turns a check red was seen to: a change of its field of the contract (`tests/engine/test_contract.py`); an image
broken on purpose, in *italics* (`tests/sabotage/cases.yaml`; `python build.py check --full` builds all of them and
sees exactly the named checks fail); a control within the check; or nothing, which is said as **unproved**.
{lists}"""


def _module(module: str, checks: "list[Check]", proofs: Proofs) -> str:
    rows = ((check.name, check.about.replace("|", "\\|"), proofs.of(check)) for check in checks)
    listing = tables.markdown([("check", "what it shows", "what turns it red"), *rows])
    return f"\n### tests/image/{module}\n\n{listing}\n"
