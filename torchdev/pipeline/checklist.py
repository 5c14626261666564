"""Lists the checks in tests/image, from their source."""

import ast
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MARK = "proves"

PARSING = threading.Lock()
"""Python 3.11 can parse in one thread at a time only, or may fail with SystemError (python/cpython#106905)."""


@dataclass(frozen=True)
class Check:
    """A check: its name in reports, its module, its first sentence, and the fields that it proves."""

    name: str
    module: str
    about: str
    proves: tuple[str, ...]


def read_checks(folder: Path) -> "list[Check]":
    """Every check of a folder, in the order of modules and lines."""
    return [check for path in sorted(folder.glob("test_*.py")) for check in _of_module(path)]


def _of_module(path: Path) -> Iterator[Check]:
    source = path.read_text(encoding="utf-8")
    with PARSING:
        tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            about = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
            yield Check(node.name, path.name, about, tuple(_proved(node)))


def _proved(node: ast.FunctionDef) -> Iterator[str]:
    for decorator in node.decorator_list:
        named = isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Attribute)
        if named and decorator.func.attr == MARK:  # type: ignore[attr-defined]
            yield from (ast.literal_eval(argument) for argument in decorator.args)  # type: ignore[attr-defined]
