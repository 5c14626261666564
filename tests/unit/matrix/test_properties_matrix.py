"""Matrices, made up and mutated: each is read as cells that hold together, or refused with file, line and column."""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.conftest import MATRIX, ROOT
from torchdev.catalog import ids
from torchdev.matrix.claims import untrue
from torchdev.matrix.load import Matrix, load
from torchdev.util.errors import InputError

PLACE = re.compile(r"matrix\.yaml:([0-9]+):([0-9]+)")
COMMITTED = (ROOT / "matrix.yaml").read_text()
KEYS = (
    "image", "packages", "constraints", "companions", "slim", "axes", "rows", "exclude", "include", "aliases", "groups",
    "python", "cuda", "torch", "cudnn", "variant", "arch", "legacy", "unlocked", "reason", "latest", "default", "all",
    "<<",
)  # fmt: skip
VALUES = (
    "torchdev", "numpy", "numpy<3", "torchvision", "3.11", "3.12", "3.6", "03.11", "cu130", "cu126", "cpu", "cu0130",
    "2.13.0", "2.11.0", "2.13", "02.13.0", "9.24.0.43", "plain", "devel", "amd64", "arm64", "py311-cu130", "py39", "*",
    "py3*", "[",
    "old", "", " ", "../x", "-x", "a\nb", "\u202e", "\x1b[31m", "\ufeff", "9" * 5000,
)  # fmt: skip

SCALARS = st.sampled_from(VALUES) | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | SCALARS, inner, max_size=5),
    max_leaves=25,
)


def read(data: bytes) -> "Matrix | InputError":
    """What a matrix file with these bytes comes to; anything but cells and an InputError fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "matrix.yaml")
        path.write_bytes(data)
        try:
            return load(path)
        except InputError as error:
            return error


def hold(data: bytes) -> None:
    """Cells that hold together, or a refusal that says where."""
    found = read(data)
    if isinstance(found, InputError):
        position = PLACE.fullmatch(found.where)
        assert position, f"no position: {found}"
        lines = re.split(b"\r\n|[\r\n]|\xc2\x85|\xe2\x80[\xa8\xa9]", data)
        assert 1 <= int(position[1]) <= len(lines) + 1
        assert str(found).replace("\n", "").isprintable()
        assert len(str(found)) < 10_000
    else:
        hold_together(found)


def hold_together(matrix: Matrix) -> None:
    """Ids are unique, and say what their cells are; so do tags; groups and selections are of the matrix's cells."""
    assert len({cell.id for cell in matrix.cells}) == len(matrix.cells) > 0
    for cell in matrix.cells:
        said = ids.query(cell.id)
        own = {"python": cell.python, "cuda": cell.flavour, "torch": cell.torch, "cudnn": cell.cudnn}
        more = {"variant": cell.devel and cell.variant, "arch": cell.arch != ids.AMD64 and cell.arch}
        assert said == {axis: value for axis, value in {**own, **more}.items() if value}
        assert matrix.select([cell.id]) == (cell,)
        assert cell.short in matrix.aliases
    for tag, cell in matrix.aliases.items():
        assert matrix.cells.count(cell) == 1
        assert untrue(tag, cell) == ""
        assert tag in matrix.aliases_of(cell)
        assert matrix.select([tag]) == (cell,)
    for group, cells in matrix.groups.items():
        assert matrix.select(groups=[group]) == cells
    assert matrix.select() == matrix.select(["*"]) == matrix.groups["all"] == matrix.cells


@given(data=st.binary(max_size=200))
@example(data=b"\xff\xfei\x00")
@example(data=b"\xef\xbb\xbf")
@example(data=b"%YAML 9.9\n---\n")
@example(data=b"--- |\n")
@example(data=b"!<a b> x")
@example(data="image: \u2028\x07".encode())
def test_any_bytes(data: bytes) -> None:
    """Of no encoding in particular."""
    hold(data)


@given(text=st.text(alphabet="&*![]{},:?|>-%@`'\"#\\ \n\taxn013.<=~", max_size=120))
@example(text="&a [*a]")
@example(text="? [a]\n: b")
@example(text="a: &x !!binary aGk=\nb: *x")
@example(text='"\\ud800": x')
def test_any_yaml_syntax(text: str) -> None:
    """Anchors, tags, block scalars, complex keys: what a YAML parser has to know of."""
    hold(text.encode())


@given(tree=TREES)
@example(tree={"image": "t", "rows": [{"python": ["3.11"], "cuda": "cu130", "torch": "2.13.0", "variant": None}]})
@example(tree={"image": "t", "rows": [], "exclude": [{"reason": "x"}]})
def test_any_values(tree: Any) -> None:
    """Of any shape, under keys that a matrix has and others."""
    hold(yaml.safe_dump(tree, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass"))


@given(
    text=st.sampled_from((MATRIX, COMMITTED)),
    start=st.floats(0, 1),
    length=st.integers(0, 30),
    put=st.sampled_from(VALUES) | st.sampled_from(KEYS) | st.text(max_size=6),
)
def test_any_edit(text: str, start: float, length: int, put: str) -> None:
    """Of a matrix that was right: a slip of the hand anywhere."""
    at = int(start * len(text))
    hold((text[:at] + put + text[at + length :]).encode("utf-8", "surrogatepass"))


def axis(*values: str) -> "st.SearchStrategy[Any]":
    """One of an axis' values, or a list of some."""
    return st.sampled_from(values) | st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True)


ROW = st.fixed_dictionaries(
    {
        "python": axis("3.10", "3.11", "3.12"),
        "cuda": axis("cu130", "cpu"),
        "torch": axis("2.13.0", "2.11.0"),
    },
    optional={
        "cudnn": axis("9.24.0.43"), "variant": axis("plain", "devel"), "arch": axis("amd64", "arm64"),
        "companions": st.just([]), "packages": st.just(["scipy"]), "legacy": st.just("old"), "unlocked": st.just("no"),
    },
)  # fmt: skip
WITHOUT = st.fixed_dictionaries(
    {"reason": st.just("x")}, optional={"python": axis("3.10", "3.11"), "cuda": axis("cpu")}
)
TAGS = st.sampled_from(("latest", "py311", "cu130", "cpu", "py311-cu130", "torch2.13", "arm64", "devel", "2.13", "gpu"))
TARGETS = st.sampled_from(
    ("py311-cu130", "py312-cu130-torch2.13.0", "py310-cpu", "py311-cu130-devel", "py312-cu130-arm64")
)
MATRICES = st.fixed_dictionaries(
    {"image": st.just("t"), "rows": st.lists(ROW, min_size=1, max_size=3)},
    optional={
        "slim": st.booleans(),
        "exclude": st.lists(WITHOUT, max_size=2),
        "include": st.lists(ROW, max_size=1),
        "aliases": st.dictionaries(TAGS, TARGETS, max_size=3),
        "groups": st.dictionaries(st.sampled_from(("default", "g")), st.lists(TARGETS | st.just("*cpu*"), min_size=1)),
    },
)


@given(matrix=MATRICES)
def test_matrices_that_could_be_right(matrix: "dict[str, Any]") -> None:
    """Of combinations some of which exist: what is accepted has exactly the cells of its rows that nothing excludes."""
    data = re.sub('!!bool "(true|false)"', r"\1", yaml.safe_dump(matrix, sort_keys=False, default_style='"')).encode()
    hold(data)
    found = read(data)
    if isinstance(found, Matrix):
        assert {cell.id for cell in found.cells} == expected(matrix)
        assert {cell.slim for cell in found.cells} == {matrix.get("slim", True)}


def expected(matrix: "dict[str, Any]") -> set[str]:
    """The ids of a matrix's cells, found the plain way."""

    def of(row: "dict[str, Any]", key: str, usual: "str | None" = None) -> "list[Any]":
        value = row.get(key, [usual])
        return value if isinstance(value, list) else [value]

    def cells(row: "dict[str, Any]") -> "list[tuple[Any, ...]]":
        return [
            (p, c, t, d, v, a)
            for p in of(row, "python") for c in of(row, "cuda") for t in of(row, "torch") for d in of(row, "cudnn")
            for v in of(row, "variant", "plain") for a in of(row, "arch", "amd64")
        ]  # fmt: skip

    def taken(cell: "tuple[Any, ...]", without: "dict[str, Any]") -> bool:
        return all(key not in without or cell[n] in of(without, key) for n, key in enumerate(("python", "cuda")))

    kept = [c for row in matrix["rows"] for c in cells(row) if not any(taken(c, w) for w in matrix.get("exclude", []))]
    return {ids.cell_id(*cell) for cell in (*kept, *(c for row in matrix.get("include", []) for c in cells(row)))}


def test_the_plain_way_agrees_on_what_is_committed() -> None:
    """Else the property above would hold two mistakes against each other."""
    matrix = yaml.safe_load(COMMITTED)
    rows = [{**matrix["axes"], **row} for row in matrix["rows"]]
    assert {cell.id for cell in load(ROOT / "matrix.yaml").cells} == expected({"rows": rows})
    assert json.dumps(rows)
