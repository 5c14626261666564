"""What a matrix may hold that looks right and is not; and that a large one is read in one go."""

import ast
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.unit.conftest import MATRIX, ROOT
from torchdev.matrix import load as matrix_module
from torchdev.matrix.cells import Cell
from torchdev.matrix.load import Matrix
from torchdev.matrix.schema import json_schema
from torchdev.util.errors import InputError

MatrixOf = Callable[[str], Matrix]


def torch(version: str) -> str:
    """The small matrix with another PyTorch."""
    return MATRIX.replace("2.13.0", version)


def python(series: str) -> str:
    """The small matrix with another Python."""
    return MATRIX.replace("3.11", series)


def cuda(flavour: str, more: str = "") -> str:
    """The small matrix with another CUDA variant."""
    return MATRIX.replace("cu130", flavour + more)


def package(text: str) -> str:
    """The small matrix with another package."""
    return MATRIX.replace("[numpy]", f'["{text}"]')


def legacy(text: str) -> str:
    """The small matrix with a reason to move on."""
    return MATRIX.replace("]}", f'], legacy: "{text}"}}')


def exclude(*rows: str) -> str:
    """The small matrix with exclusions."""
    return MATRIX + "exclude:\n" + "".join(f"  - {{{row}, reason: x}}\n" for row in rows)


LARGE = f"""\
image: t
companions: []
rows:
  - {{python: {[f"3.{n}" for n in range(999)]}, cuda: {[f"cu{n}" for n in range(100, 999)]}, torch: "9.0.0"}}
"""
CONTROL = "one line of text that can be seen"
FALSE = "expected true or false, found a"

WRONG = [
    ("PyTorch 02", torch("02.13.0"), "4:53", "is not a full version"),
    ("PyTorch .00", torch("2.13.00"), "4:53", "is not a full version"),
    ("PyTorch with a sign", torch("2.+13.0"), "4:53", "is not a full version"),
    ("PyTorch with a line's end", torch("2.13.0\\n"), "4:53", "is not a full version"),
    ("digits that are not ASCII", torch("2.1\u0663.0"), "4:53", "is not a full version"),
    ("a version of 5,000 digits", torch("2." + "9" * 5000 + ".0"), "4:53", "longer than 200"),
    ("a release of nine digits", torch("2.999999999.0"), "4:52", "catalog has no PyTorch 2.999999999.0"),
    ("Python 3.011", python("3.011"), "4:15", "is not a Python series"),
    ("Python 03", python("03.11"), "4:15", "is not a Python series"),
    ("Python 3.00", python("3.00"), "4:15", "is not a Python series"),
    ("flavour of four digits", cuda("cu0130"), "4:38", "is not a CUDA variant"),
    ("flavour from zero", cuda("cu013"), "4:38", "is not a CUDA variant"),
    ("flavour in capitals", cuda("CU130"), "4:38", "is not a CUDA variant"),
    ("cuDNN .043", cuda("cu130", ', cudnn: "9.24.0.043"'), "4:52", "is not a full cuDNN"),
    ("cuDNN 09", cuda("cu130", ', cudnn: "09.24.0.43"'), "4:52", "is not a full cuDNN"),
    ("slim that is text", MATRIX + 'slim: "false"\n', "5:7", f"{FALSE} string"),
    ("slim that is a number", MATRIX + "slim: 0\n", "5:7", f"{FALSE} int"),
    ("slim that is nothing", MATRIX + "slim:\n", "5:6", f"{FALSE} null"),
    ("slim in a list", MATRIX + "slim: [true]\n", "5:7", f"{FALSE} list"),
    ("exclusion without axes", MATRIX + "exclude:\n  - {reason: all}\n", "6:5", "names no axis"),
    ("exclusion of null", exclude("python: null"), "6:5", "names no axis"),
    ("exclusion of what is gone", exclude('python: "3.13"', 'python: "3.13", cuda: cu130'), "7:5", "no cell"),
    ("exclusion by an empty list", exclude("python: []"), "6:14", "the list is empty"),
    ("requirement in two lines", package("numpy===\\n--index-url=http://x"), "2:12", "in one line"),
    ("requirement with a tab", package("numpy>=2\\t"), "2:12", "in one line"),
    ("requirement with an escape", package("numpy===\\e[31m"), "2:12", "in one line"),
    ("reason in colour", legacy("\\e[31mold"), "4:72", CONTROL),
    ("reason written backwards", legacy("\\u202eold"), "4:72", CONTROL),
    ("reason in two lines", legacy("a\\nb"), "4:72", CONTROL),
    ("reason of an exclusion", MATRIX + 'exclude:\n  - {python: "3.13", reason: "\\e"}\n', "6:30", CONTROL),
    ("key with an escape", MATRIX + '"\\e[31m": x\n', "5:1", 'unknown key "\\x1b[31m"'),
    ("too many cells", LARGE.replace("'", '"'), "4:5", "more than 20,000 cells"),
    ("image that is an option", MATRIX.replace("torchdev", "-x/t"), "1:8", "is not a repository"),
    ("image that climbs", MATRIX.replace("torchdev", "../t"), "1:8", "is not a repository"),
    ("image with a large port", MATRIX.replace("torchdev", "host:99999999/t"), "1:8", "is not a repository"),
]


@pytest.mark.parametrize(("text", "position", "what"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_refused_where_it_stands(matrix_of: MatrixOf, text: str, position: str, what: str) -> None:
    """In words that a terminal can show."""
    with pytest.raises(InputError) as caught:
        matrix_of(text)
    assert caught.value.where == f"matrix.yaml:{position}"
    assert what in str(caught.value)
    assert str(caught.value).replace("\n", "").isprintable()
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(("written", "slim"), [("true", True), ("false", False), ("no", False), ("On", True)])
def test_slim_is_a_boolean_as_yaml_reads_it(matrix_of: MatrixOf, written: str, slim: bool) -> None:
    """It is the one key that takes one."""
    assert {cell.slim for cell in matrix_of(MATRIX + f"slim: {written}\n").cells} == {slim}


def test_schema_does_not_depend_on_docstrings() -> None:
    """`python -OO` has none."""
    code = "from torchdev.matrix.schema import json_schema; print(json_schema(), end='')"
    done = subprocess.run([sys.executable, "-OO", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == json_schema()


def test_no_assertion_decides() -> None:
    """`python -O` has none: they may tell mypy what is known, and nothing else."""
    found = [
        f"{path.name}: {ast.unparse(node.test)}"
        for path in [*(ROOT / "torchdev").rglob("*.py"), ROOT / "build.py"]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assert)
    ]
    known = {"capacity.py: found.room is not None", "process.py: child.stdout is not None", "support.py: gpu"}
    assert set(found) <= known


def test_tags_and_names_are_looked_up(matrix_of: MatrixOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not searched for in all cells: with ten thousand of them, each with a tag of its own, that took minutes."""
    matrix = matrix_of(MATRIX)
    compared: list[object] = []
    monkeypatch.setattr(Cell, "__eq__", lambda one, other: compared.append(one) or one is other)
    monkeypatch.setattr(matrix_module, "fnmatchcase", lambda *names: compared.append(names))
    assert [matrix.aliases_of(cell) for cell in matrix.cells] == [("py311-cu130",), ("py313-cu130",)]
    assert len(matrix.select(["py311-cu130", "py313-cu130-torch2.13.0"])) == 2
    assert compared == []


def test_exclusions_look_at_few_cells(matrix_of: MatrixOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for each of 30 Pythons: each looks at the cells of its own."""
    looked: list[object] = []
    matches = matrix_module._matches
    monkeypatch.setattr(matrix_module, "_matches", lambda *given: looked.append(given) or matches(*given))
    pythons = [f"3.{n}" for n in range(30, 60)]
    rows = f'rows:\n  - {{python: {pythons}, cuda: [cu801, cu802], torch: "9.0.0"}}\n'.replace("'", '"')
    without = "".join(f'  - {{cuda: cu801, python: "{series}", reason: x}}\n' for series in pythons)
    assert len(matrix_of(f"image: t\ncompanions: []\n{rows}exclude:\n{without}").cells) == 30
    assert len(looked) == 60
