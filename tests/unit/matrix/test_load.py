"""matrix.yaml to cells, and every way it can be wrong."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import regress

from tests.unit.conftest import MATRIX, ROOT
from torchdev.catalog.releases import all_combinations
from torchdev.cli.list import cells_text
from torchdev.matrix.load import Matrix, load
from torchdev.matrix.schema import SCHEMA_FILE, json_schema
from torchdev.util.errors import Exit, InputError

MatrixOf = Callable[[str], Matrix]


def test_row_is_the_product_of_its_axes(matrix_of: MatrixOf) -> None:
    """Two Pythons, one CUDA variant and one PyTorch make two cells, in order."""
    cells = matrix_of(MATRIX).cells
    assert [cell.id for cell in cells] == ["py311-cu130-torch2.13.0", "py313-cu130-torch2.13.0"]


def test_requirements_name_torch_its_companions_and_the_packages(matrix_of: MatrixOf) -> None:
    """The companions of a release are pinned, packages are as written; torch.compile always has what it imports."""
    assert matrix_of(MATRIX).cells[0].requirements == ("torch==2.13.0", "torchvision==0.28.0", "setuptools", "numpy")


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
    assert "py311-cu130" in caught.value.what
    assert caught.value.next_step == "python build.py list"


def test_axes_give_what_a_row_does_not_name(matrix_of: MatrixOf) -> None:
    """A row's own values win."""
    rows = 'rows:\n  - {cuda: cu130, torch: "2.13.0"}\n  - {python: "3.9", cuda: cu128, torch: "2.8.0"}\n'
    cells = matrix_of(f'image: t\naxes: {{python: ["3.11", "3.13"]}}\n{rows}').cells
    assert [cell.short for cell in cells] == ["py311-cu130", "py313-cu130", "py39-cu128"]


def test_include_is_not_touched_by_exclusions(matrix_of: MatrixOf) -> None:
    """All of 3.11 is excluded, and one cell of it comes back, with a package of its own."""
    text = MATRIX + 'exclude:\n  - {python: "3.11", reason: rare}\ninclude:\n' + ROW.replace("}", ", packages: [h5py]}")
    cells = matrix_of(text).cells
    assert [cell.python for cell in cells] == ["3.13", "3.11"]
    assert cells[1].requirements[-2:] == ("numpy", "h5py")


def test_cudnn_and_variant_are_part_of_the_id(matrix_of: MatrixOf) -> None:
    """And of the short tag, so that py311-cu130 goes on to mean the plain cell."""
    more = 'include:\n  - {python: "3.11", cuda: cu130, torch: "2.13.0", cudnn: "9.24.0.43", variant: [plain, devel]}\n'
    matrix = matrix_of(MATRIX + more)
    assert [cell.id for cell in matrix.cells][2:] == [
        "py311-cu130-torch2.13.0-cudnn9.24.0.43",
        "py311-cu130-torch2.13.0-cudnn9.24.0.43-devel",
    ]
    assert matrix.aliases["py311-cu130"].cudnn is None
    assert matrix.aliases["py311-cu130-cudnn9.24.0.43-devel"] == matrix.cells[3]


def test_aliases_point_at_cells_and_select_them(matrix_of: MatrixOf) -> None:
    """An alias of the file wins over the short tag that is made by itself."""
    text = MATRIX.replace('["2.13.0"]', '["2.13.0", "2.11.0"]')
    aliases = "aliases: {latest: py313-cu130, py311-cu130: py311-cu130-torch2.11.0}\n"
    matrix = matrix_of(text + aliases)
    assert matrix.select(["latest"])[0].id == "py313-cu130-torch2.13.0"
    assert matrix.select(["py311-cu130"])[0].torch == "2.11.0"
    assert matrix.aliases_of(matrix.cells[2]) == ("py313-cu130", "latest")


def test_groups_select_cells(matrix_of: MatrixOf) -> None:
    """By globs, ids and tags; an unknown group names the known ones."""
    matrix = matrix_of(MATRIX + "groups: {new: ['py313*'], both: ['*']}\n")
    assert [cell.python for cell in matrix.select(groups=["new"])] == ["3.13"]
    assert len(matrix.select(["py311-cu130"], ["new"])) == 2
    with pytest.raises(InputError, match='no group "old"') as caught:
        matrix.select(groups=["old"])
    assert "new, both" in caught.value.next_step


def test_constraints_are_those_of_the_matrix_and_the_row(matrix_of: MatrixOf) -> None:
    """Bounds do not install anything, so they are apart from requirements."""
    text = (
        MATRIX
        + 'constraints: ["numpy<3"]\ninclude:\n'
        + ROW.replace("3.11", "3.12").replace("}", ", constraints: [scipy<2]}")
    )
    assert matrix_of(text).cells[-1].constraints == ("numpy<3", "scipy<2")


def test_an_old_release_has_bounds_of_its_own(matrix_of: MatrixOf) -> None:
    """Beside those that the matrix names; they are a part of what a lock depends on."""
    rows = '  - {cuda: cu121, torch: "2.2.2", python: "3.11", constraints: [scipy<2]}\n'
    old = matrix_of("image: x\nrows:\n" + rows).cells[0]
    assert old.constraints == ("scipy<2", "numpy<2", "sympy<1.13")


def test_500_cells_load_in_two_seconds(matrix_of: MatrixOf) -> None:
    """A row a cell, which is the slowest form; of processor time, whatever else the machine does."""
    existing = [c for c in all_combinations() if c.arch == "amd64"][:500]
    row = '  - {{python: "{}", cuda: {}, torch: "{}"}}\n'
    rows = [row.format(c.python, c.flavour, c.torch) for c in existing]
    began = time.process_time()
    assert len(matrix_of("image: t\ncompanions: []\nrows:\n" + "".join(rows)).cells) == 500
    assert time.process_time() - began < 2


def test_schema_for_editors_is_current() -> None:
    """The committed schema is the one of the models; `check` holds matrix.yaml to it."""
    assert (ROOT / SCHEMA_FILE).read_text() == json_schema()
    assert set(json.loads(json_schema())["properties"]) >= {"image", "rows", "axes", "exclude", "aliases", "groups"}


def test_patterns_of_the_schema_are_those_of_editors() -> None:
    """They read them as ECMA's with the flag u, where a needless backslash is a mistake that costs the whole schema."""
    patterns = re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', json_schema())
    assert patterns
    for pattern in map(json.loads, patterns):
        regress.Regex(pattern, "u")


def test_exclusion_removes_cells(matrix_of: MatrixOf) -> None:
    """With a reason, and on the axes it names."""
    text = MATRIX + 'exclude:\n  - {python: "3.13", reason: not needed}\n'
    assert [cell.python for cell in matrix_of(text).cells] == ["3.11"]


ROW = '  - {python: "3.11", cuda: cu130, torch: "2.13.0"}\n'

WRONG = [
    ("unknown key", MATRIX + "colour: red\n", "5:1", 'unknown key "colour"'),
    ("unknown key in a row", MATRIX.replace("cuda:", "cudas:"), "4:32", 'unknown key "cudas"'),
    ("float", MATRIX.replace('"3.11"', "3.10"), "4:15", "YAML reads 3.10 as float"),
    ("boolean", MATRIX.replace("cu130", "no"), "4:38", "YAML reads no as bool"),
    ("duplicate cell", MATRIX.replace('"3.13"', '"3.11"'), "4:5", "was given before"),
    ("duplicate by include", MATRIX + "include:\n" + ROW, "6:5", "was given before, at matrix.yaml:4:5"),
    ("idle exclusion", MATRIX + 'exclude:\n  - {python: "3.9", reason: old}\n', "6:5", "matches no cell"),
    ("exclusion without a reason", MATRIX + 'exclude:\n  - {python: "3.13"}\n', "6:5", '"reason" is missing'),
    ("blank reason", MATRIX + 'exclude:\n  - {python: "3.13", reason: " "}\n', "6:30", "needs a reason"),
    ("no rows", "image: torchdev\nrows: []\n", "2:7", "the matrix is empty"),
    ("all excluded", MATRIX + "exclude:\n  - {cuda: cu130, reason: none}\n", "4:3", "the matrix is empty"),
    ("missing axis", 'image: torchdev\nrows:\n  - {python: "3.11", cuda: cu130}\n', "3:5", '"torch" is missing'),
    ("missing image", "rows: []\n", "1:1", '"image" is missing'),
    ("empty axis", MATRIX.replace('["2.13.0"]', "[]"), "4:52", "the list is empty"),
    ("no PyTorch version", MATRIX.replace('["2.13.0"]', '"2.13"'), "4:52", "is not a full version"),
    ("unknown PyTorch", MATRIX.replace("2.13.0", "9.9.9"), "4:52", "catalog has no PyTorch 9.9.9"),
    ("no flavour", MATRIX.replace("cu130", "cuda13"), "4:38", "is not a CUDA variant"),
    ("key given twice", MATRIX + "image: other\n", "5:1", "given before, at matrix.yaml:1:1"),
    ("key that is a number", MATRIX + "groups: {1.0: [a]}\n", "5:10", "a key must be a string"),
    ("not YAML", MATRIX + "a: [\n", "6:1", "not valid YAML"),
    ("empty file", "", "1:1", "the file is empty"),
    ("a list", "- a\n", "1:1", "expected a mapping, found a list"),
    ("a mapping for a string", MATRIX.replace("torchdev", "{a: b}"), "1:8", "expected a string, found a mapping"),
    ("a string for a list", MATRIX.replace("[numpy]", "numpy"), "2:11", "expected a list, found a string"),
    ("a package with an option", MATRIX.replace("[numpy]", '["--pre"]'), "2:12", "not a package requirement"),
    ("a package by URL", MATRIX.replace("[numpy]", '["a @ https://example.org/a.whl"]'), "2:12", "not a package"),
    ("older cuDNN", MATRIX + 'include:\n  - {python: "3.11", cuda: cu130, torch: "2.13.0", cudnn: "9.19.0.56"}\n',
     "6:59", "is built with cuDNN 9.20.0.48; another must have the same major version and not be older"),
    ("other cuDNN", MATRIX + 'include:\n  - {python: "3.11", cuda: cu130, torch: "2.13.0", cudnn: "8.9.7.29"}\n',
     "6:59", "is built with cuDNN 9.13.0.50 to 9.24.0.43; another must have the same major version"),
    ("cuDNN without CUDA", MATRIX.replace("cu130,", 'cpu, cudnn: "9.24.0.43",'), "4:50", "a cpu cell has no CUDA"),
    ("devel without nvcc", MATRIX + 'include:\n  - {python: "3.11", cuda: cu128, torch: "2.8.0", variant: devel}\n',
     "6:60", "PyPI has no nvcc"),
    ("companion as a package", MATRIX.replace("[numpy]", "[torchvision]"), "2:12", "by the keys torch and companions"),
    ("no package at all", MATRIX.replace("[numpy]", '[""]'), "2:12", "not a package requirement"),
    ("cuDNN in three parts", MATRIX.replace("cu130,", 'cu130, cudnn: "9.24.0",'), "4:52", "is not a full cuDNN"),
    ("cuDNN as it is", MATRIX.replace("cu130,", 'cu130, cudnn: "9.20.0.48",'), "4:52", "leave it out"),
    ("a date", MATRIX.replace("cu130,", "cu130, cudnn: 2020-13-45,"), "4:52", "YAML reads 2020-13-45 as timestamp"),
    ("a merge key", MATRIX + "axes: {<<: {}}\n", "5:8", "merge keys (<<) are not supported"),
    ("an empty group", MATRIX + "groups: {a: []}\n", "5:13", "the list is empty"),
    ("a name of no repository", MATRIX.replace("torchdev", "t--/.."), "1:8", "is not a repository such as"),
    ("a long name", MATRIX.replace("torchdev", "t" * 300), "1:8", "longer than 200 characters"),
    ("a name with a parent folder", MATRIX.replace("torchdev", "../t"), "1:8", "is not a repository such as"),
    ("a name like an option", MATRIX.replace("torchdev", "-x/t"), "1:8", "is not a repository such as"),
    ("a name like a digest", MATRIX.replace("torchdev", "f" * 64), "1:8", "is not a repository such as"),
    ("a port that is none", MATRIX.replace("torchdev", "host:70000/t"), "1:8", "is not a repository such as"),
    ("a second line of a package", MATRIX.replace("[numpy]", '["a===\\n--pre"]'), "2:12", "not a package requirement"),
    ("a line that goes on", MATRIX.replace("[numpy]", '["a===1\\\\"]'), "2:12", "not a package requirement"),
    ("a variable in a package", MATRIX.replace("[numpy]", '["a===${B}"]'), "2:12", "not a package requirement"),
    ("a constraint of two lines", MATRIX + 'constraints: ["a===\\r-r x"]\n', "5:15", "not a package requirement"),
    ("a number with a zero before it", MATRIX.replace("2.13.0", "02.13.0"), "4:53", "is not a full version"),
    ("a reason that clears the screen", MATRIX + 'exclude: [{cuda: cu130, reason: "\\e[2J"}]\n', "5:33", "can be seen"),
    ("a reason of two lines", MATRIX + "exclude:\n- cuda: cu130\n  reason: |\n    a\n    b\n", "7:11", "one line"),
    ("a reason turned round", MATRIX.replace("]}", '], legacy: "a\\u202eb"}'), "4:72", "can be seen"),
    ("half a character", MATRIX.replace("]}", '], legacy: "\\ud800"}'), "4:75", "not valid YAML"),
    ("a group that hides its name", MATRIX + 'groups: {"a\\u200b": [x]}\n', "5:10", "can be a tag"),
    ("an alias of two lines", MATRIX + 'aliases: {"a\\nb": py313-cu130}\n', "5:11", "can be a tag"),
    ("a key that clears the screen", MATRIX + '"\\e[2J": 1\n', "5:1", r'unknown key "\x1b[2J"'),
    ("Python too old", MATRIX.replace('"3.11"', '"3.9"'), "4:51", "cu130: Python 3.10 to 3.14"),
    ("flavour of other releases", MATRIX.replace("cu130", "cu128"), "4:52", "2.13.0: cpu, cu126, cu129, cu130, cu132"),
    ("alias to nothing", MATRIX + "aliases: {latest: py314-cu130}\n", "5:19", 'no cell "py314-cu130"'),
    ("alias in a cell's place", MATRIX + "aliases: {py311-cu130-torch2.13.0: py313-cu130}\n", "5:11", "is a cell"),
    ("alias that is no tag", MATRIX + "aliases: {a b: py313-cu130}\n", "5:11", "can be a tag"),
    ("group of nothing", MATRIX + "groups: {old: [py313-cu130, 'py2*']}\n", "5:29", '"py2*" names no cell'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "position", "what"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_errors_name_file_line_and_column(matrix_of: MatrixOf, text: str, position: str, what: str) -> None:
    """Each mistake is found where it stands."""
    with pytest.raises(InputError) as caught:
        matrix_of(text)
    assert caught.value.where == f"matrix.yaml:{position}"
    assert what in str(caught.value)
    assert caught.value.code is Exit.INPUT


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is the user's mistake too."""
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "none.yaml")


def test_committed_matrix_loads() -> None:
    """The matrix of this checkout is valid."""
    assert load(ROOT / "matrix.yaml").cells


def test_groups_that_every_matrix_has(matrix_of: MatrixOf) -> None:
    """`all` is every cell; `default`, which --matrix builds, too, unless the matrix names it."""
    plain = matrix_of(MATRIX)
    assert plain.groups["default"] == plain.groups["all"] == plain.cells
    named = matrix_of(MATRIX + "groups: {default: [py313-cu130]}\n")
    assert [cell.python for cell in named.groups["default"]] == ["3.13"]
    with pytest.raises(InputError, match="is every cell"):
        matrix_of(MATRIX + "groups: {all: [py313-cu130]}\n")


def test_legacy_cells_say_why(matrix_of: MatrixOf) -> None:
    """The reason stands beside the cell wherever it is listed; an empty one is none."""
    matrix = matrix_of(MATRIX.replace("]}", "], legacy: CUDA 13.0 is old}"))
    assert "legacy: CUDA 13.0 is old" in cells_text(matrix, matrix.cells)
    with pytest.raises(InputError, match="needs a reason"):
        matrix_of(MATRIX.replace("]}", '], legacy: " "}'))


def test_a_row_can_go_without_companions(matrix_of: MatrixOf) -> None:
    """PyTorch 1.10.2 has wheels for Python 3.6, and its torchvision has none."""
    row = 'image: t\nrows:\n  - {python: "3.6", cuda: cu102, torch: "1.10.2"'
    with pytest.raises(InputError, match=r"Python 3\.6, PyTorch 1\.10\.2 and torchvision can't be"):
        matrix_of(row + "}\n")
    assert matrix_of(row + ", companions: []}\n").cells[0].requirements == ("torch==1.10.2", "setuptools")
