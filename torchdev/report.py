"""Results as text for a terminal and as JSON for programs."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torchdev.engine import Image
from torchdev.errors import Exit
from torchdev.matrix import Matrix
from torchdev.plan import Plan
from torchdev.verify import Outcome, Verdict


@dataclass(frozen=True)
class Result:
    """What became of one cell. `seconds` is the wall time of building and checking it."""

    cell: str
    image: "Image | None"
    tags: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    error: str
    seconds: float

    @property
    def failed(self) -> bool:
        """Whether the build or any check failed."""
        return bool(self.error) or any(verdict.outcome is Outcome.FAIL for verdict in self.verdicts)


def cells_text(matrix: Matrix) -> str:
    """The cells, one a line, with their short tags."""
    rows = [("CELL", "PYTHON", "CUDA", "PYTORCH", "SHORT TAG")]
    for cell in matrix.cells:
        rows.append((cell.id, cell.python, cell.cuda or "none", cell.torch, " ".join(matrix.aliases_of(cell))))
    return _table(rows)


def cells_json(matrix: Matrix) -> str:
    """The cells for a program: a JSON list."""
    cells: list[dict[str, Any]] = [
        {
            "id": cell.id,
            "python": cell.python,
            "flavour": cell.flavour,
            "cuda": cell.cuda,
            "torch": cell.torch,
            "aliases": list(matrix.aliases_of(cell)),
            "requirements": list(cell.requirements),
        }
        for cell in matrix.cells
    ]
    return json.dumps(cells, indent=2)


def verdicts_text(verdicts: Iterable[Verdict]) -> str:
    """Each check on a line, then the count of each outcome; not-run is counted by itself."""
    verdicts = tuple(verdicts)
    lines = [
        f"  {v.outcome:<8}{v.check} ({v.seconds:.1f} s)" + (f"\n          {_indent(v.why)}" if v.why else "")
        for v in verdicts
    ]
    return "\n".join([*lines, f"  {headline(verdicts)}"])


def headline(verdicts: Iterable[Verdict]) -> str:
    """The counts in words: 12 passed, 0 failed, 1 not run."""
    count = Counter(verdict.outcome for verdict in verdicts)
    return f"{count[Outcome.PASS]} passed, {count[Outcome.FAIL]} failed, {count[Outcome.NOT_RUN]} not run"


def results_text(results: "list[Result]") -> str:
    """The closing table of a build: each cell, whether it holds, size, time and tags."""
    rows = [("CELL", "RESULT", "CHECKS", "SIZE", "TIME", "TAGS")]
    for result in results:
        rows.append(
            (
                result.cell,
                "failed" if result.failed else "built",
                headline(result.verdicts) if result.verdicts else "none",
                f"{result.image.size / 1e9:.2f} GB" if result.image else "-",
                f"{result.seconds:.0f} s",
                " ".join(result.tags) or "-",
            )
        )
    return _table(rows)


def results_json(results: "list[Result]") -> str:
    """The same for a program."""
    return json.dumps([asdict(result) | {"failed": result.failed} for result in results], indent=2)


def exit_code(results: "list[Result]") -> int:
    """What a run comes to: a failed build outweighs a failed check."""
    if any(result.error and not result.image for result in results):
        return int(Exit.BUILD)
    return int(Exit.CHECK if any(result.failed for result in results) else Exit.OK)


def plan_line(plan: Plan) -> str:
    """One line on what a build is about to do."""
    wheels = sum(len(layer.packages) for layer in plan.layers)
    download = sum(layer.size for layer in plan.layers) / 1e9
    installed = sum(layer.installed for layer in plan.layers) / 1e9
    return f"{plan.cell.id}: {wheels} wheels, {download:.1f} GB to fetch, {installed:.1f} GB unpacked"


def _table(rows: "Sequence[tuple[str, ...]]") -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _indent(text: str) -> str:
    lines = text.splitlines()
    return "\n          ".join(lines if len(lines) <= 12 else [*lines[:4], "...", *lines[-7:]])
