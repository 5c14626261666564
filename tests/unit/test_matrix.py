"""matrix.yaml to cells, and every way it can be wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.conftest import MATRIX, ROOT
from torchdev.errors import Exit, InputError
from torchdev.matrix import Matrix, load

MatrixOf = Callable[[str], Matrix]


def test_row_is_the_product_of_its_axes(matrix_of: MatrixOf) -> None:
    """Two Pythons, one flavour and one PyTorch make two cells, in order."""
    cells = matrix_of(MATRIX).cells
    assert [cell.id for cell in cells] == ["py311-cu130-torch2.13.0", "py313-cu130-torch2.13.0"]


def test_requirements_name_torch_its_companions_and_the_packages(matrix_of: MatrixOf) -> None:
    """The companions of a release are pinned, packages are as written."""
    assert matrix_of(MATRIX).cells[0].requirements == ("torch==2.13.0", "torchvision==0.28.0", "numpy")


def test_short_tag_is_the_newest_torch_of_the_pair(matrix_of: MatrixOf) -> None:
    """2.13.0 is newer than 2.9.1, by number and not by letter."""
    matrix = matrix_of(MATRIX.replace('["2.13.0"]', '["2.13.0", "2.9.1"]'))
    assert matrix.aliases["py311-cu130"].torch == "2.13.0"


@pytest.mark.parametrize("names", [["py311-cu130"], ["py311-cu130-torch2.13.0"], ["py311*"]])
def test_cells_are_selected_by_id_short_tag_or_glob(matrix_of: MatrixOf, names: list[str]) -> None:
    """All three name the same cell."""
    assert [cell.python for cell in matrix_of(MATRIX).select(names)] == ["3.11"]


def test_unknown_cell_names_the_known_ones(matrix_of: MatrixOf) -> None:
    """The message lists what can be named."""
    with pytest.raises(InputError, match="no cell") as caught:
        matrix_of(MATRIX).select(["py39-cu118"])
    assert "py311-cu130" in caught.value.next_step


def test_exclusion_removes_cells(matrix_of: MatrixOf) -> None:
    """With a reason, and on the axes it names."""
    text = MATRIX + 'exclude:\n  - {python: "3.13", reason: not needed}\n'
    assert [cell.python for cell in matrix_of(text).cells] == ["3.11"]


WRONG = [
    ("unknown key", MATRIX + "colour: red\n", "7:1", 'unknown key "colour"'),
    ("unknown key in a row", MATRIX.replace("cuda:", "cudas:"), "6:32", 'unknown key "cudas"'),
    ("float", MATRIX.replace('"3.11"', "3.10"), "6:15", "YAML reads 3.10 as float"),
    ("boolean", MATRIX.replace("cu130", "no"), "6:38", "YAML reads no as bool"),
    ("duplicate cell", MATRIX.replace('"3.13"', '"3.11"'), "6:5", "was given before"),
    ("idle exclusion", MATRIX + 'exclude:\n  - {python: "3.9", reason: old}\n', "8:5", "matches no cell"),
    ("exclusion without a reason", MATRIX + 'exclude:\n  - {python: "3.13"}\n', "8:5", '"reason" is missing'),
    ("blank reason", MATRIX + 'exclude:\n  - {python: "3.13", reason: " "}\n', "8:30", "needs a reason"),
    ("no rows", "image: torchdev\nrows: []\n", "2:7", "the matrix is empty"),
    ("all excluded", MATRIX + "exclude:\n  - {cuda: cu130, reason: none}\n", "6:3", "the matrix is empty"),
    ("missing key", 'image: torchdev\nrows:\n  - {python: "3.11", cuda: cu130}\n', "3:5", '"torch" is missing'),
    ("no PyTorch version", MATRIX.replace('["2.13.0"]', '"2.13"'), "6:52", "is not a full version"),
    ("no flavour", MATRIX.replace("cu130", "cuda13"), "6:38", "is not a PyTorch flavour"),
    ("key given twice", MATRIX + "image: other\n", "7:1", "given before, at matrix.yaml:1:1"),
    ("not YAML", MATRIX + "a: [\n", "8:1", "not valid YAML"),
    ("empty file", "", "1:1", "the file is empty"),
    ("a list", "- a\n", "1:1", "expected a mapping, found a list"),
    ("a package with an option", MATRIX.replace("[numpy]", '["--pre"]'), "2:12", "not a package requirement"),
]


@pytest.mark.parametrize(("text", "place", "what"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_errors_name_file_line_and_column(matrix_of: MatrixOf, text: str, place: str, what: str) -> None:
    """Each mistake is found where it stands."""
    with pytest.raises(InputError) as caught:
        matrix_of(text)
    assert caught.value.where == f"matrix.yaml:{place}"
    assert what in str(caught.value)
    assert caught.value.code is Exit.INPUT


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is the user's mistake too."""
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "none.yaml")


def test_committed_matrix_loads() -> None:
    """The matrix of this checkout is valid."""
    assert load(ROOT / "matrix.yaml").aliases["py311-cu130"].cuda == "13.0"
