"""Tables as text: with aligned columns for a terminal, and as Markdown."""

from collections.abc import Collection, Iterable, Sequence

Rows = Iterable[Sequence[str]]


def text(rows: Rows, right: "Collection[int]" = ()) -> str:
    """Rows as lines, with columns two spaces apart; columns whose numbers are in `right` are aligned to the right."""
    return "\n".join("  ".join(row).rstrip() for row in _justified(rows, right))


def markdown(rows: Rows, *, wide: bool = False) -> str:
    """Rows, the first of them the header, as a Markdown table; `wide` pads the columns. Nothing is escaped."""
    head, *others = _justified(rows, least=3) if wide else rows
    line = ["-" * len(text) if wide else "---" for text in head]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, line, *others))


def _justified(rows: Rows, right: "Collection[int]" = (), least: int = 0) -> "list[list[str]]":
    """Rows whose texts are as wide as the widest of their column, and `least` characters at least."""
    columns = [
        (str.rjust if number in right else str.ljust, max(least, *map(len, column)), column)
        for number, column in enumerate(zip(*rows, strict=True))
    ]
    return [list(row) for row in zip(*([to(text, w) for text in c] for to, w, c in columns), strict=True)]
