"""An error that stems from a file says where in it: file and line, of whatever kind the file is."""

import ast
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.unit.conftest import MATRIX, ROOT
from torchdev.catalog import bases, builds, facts
from torchdev.engine import connection
from torchdev.image import slimming
from torchdev.matrix import load
from torchdev.matrix.load import Cell
from torchdev.util import listed, positions
from torchdev.util.errors import TorchdevError
from torchdev.util.positions import Position
from torchdev.wheels import lockfile, logins, uv_settings

CELL = Cell(
    python="3.11",
    flavour="cpu",
    torch="2.13.0",
    requirements=("torch==2.13.0",),
    position=Position("matrix.yaml", 3, 5),
)
LOCK = ROOT / "tests" / "cpu" / "images" / "py311-cpu-torch2.13.0" / "lock.json"


def docker(path: Path) -> None:
    """Read docker's configuration."""
    connection.endpoint({"DOCKER_CONFIG": str(path.parent)})


def own(reader: "Callable[[], object]") -> "Callable[[Path], None]":
    """Read a file of torchdev's own, which stands elsewhere here."""

    def read(path: Path) -> None:
        module = facts if path.name == "facts.yaml" else slimming
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "DATA", path)
            reader()

    return read


READERS: "dict[str, tuple[str, Callable[[Path], object]]]" = {
    "matrix.yaml": (MATRIX, load.load),
    "lock.json": (LOCK.read_text(), lambda path: lockfile.read_lock(path, CELL)),
    "bases.json": ((ROOT / "images" / "bases.json").read_text(), bases.read_digests),
    "facts.yaml": (facts.DATA.read_text(), own(facts._data.__wrapped__)),
    "slimming.yaml": (slimming.DATA.read_text(), own(slimming.rules.__wrapped__)),
    "rendered.sha256": (f"{'0' * 64}  a\n" * 5, lambda path: listed.read(path.parent, lambda _: False)),
    "config.json": ('{\n  "auths": {},\n  "credsStore": "x"\n}\n', docker),
    "uv.toml": ('offline = false\n\nkeyring-provider = "disabled"\n', uv_settings._toml),
}
"""Name to a good text of a file, and to its reader."""
BROKEN = {
    "a line that belongs to nothing": lambda line: f"}} {line}",
    "a byte that is not UTF-8": lambda line: f"{line}\udcff",
    "a control character": lambda line: f'"\x07{line}',
}


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("name", READERS)
def test_the_line_is_told(tmp_path: Path, name: str, fault: str) -> None:
    """Of a line that is spoiled; a parser may see it at the end of the one before, or in the next."""
    good, reader = READERS[name]
    lines = good.split("\n")
    number = next(n for n, line in enumerate(lines) if n > 1 and line and line[0] not in "#")
    lines[number] = BROKEN[fault](lines[number])
    path = tmp_path / name
    path.write_bytes("\n".join(lines).encode(errors="surrogateescape"))
    with pytest.raises(TorchdevError) as caught:
        reader(path)
    said = f"{caught.value.where} {caught.value.what}"
    assert name in caught.value.where
    found = re.search(rf"{re.escape(name)}:(\d+)|line (\d+)", said)
    assert found, said
    assert number <= int(found[1] or found[2]) <= number + 2, said


SHORT_FACTS = re.sub(r"(?m)^([a-z_]+:\n(?:  .*\n){2})(?:  .*\n)*", r"\1", facts.DATA.read_text())
"""facts.yaml with two lines of each section."""


def test_the_short_facts_have_every_section() -> None:
    """They are YAML, and much shorter."""
    assert list(yaml.safe_load(SHORT_FACTS)) == list(facts.SECTIONS)
    assert len(SHORT_FACTS) < len(facts.DATA.read_text()) / 5


@pytest.mark.parametrize("section", facts.SECTIONS)
@pytest.mark.parametrize("how", ["gone", "empty", "a list"])
def test_a_section_that_is_missing_is_told(tmp_path: Path, section: str, how: str) -> None:
    """facts.yaml is kept by hand; what is done to it is no fault of torchdev."""
    text = SHORT_FACTS
    begin = text.index(f"\n{section}:") + 1
    end = next((begin + m.start() + 1 for m in re.finditer(r"\n[a-z_]+:", text[begin:])), len(text))
    new = {"gone": "", "empty": f"{section}:\n", "a list": f"{section}: [1]\n"}[how]
    path = tmp_path / "facts.yaml"
    path.write_text(text[:begin] + new + text[end:])
    with pytest.raises(TorchdevError, match=f"the section {section} is not there") as caught:
        own(facts._data.__wrapped__)(path)
    line = text[:begin].count("\n") + 1 if how != "gone" else 1
    assert caught.value.where == f"{path}:{line}:1"


def test_the_logins_file_has_its_line(tmp_path: Path) -> None:
    """As pip and uv read it."""
    path = tmp_path / "netrc"
    path.write_text("machine a login b password c\n\nmachin x\n")
    path.chmod(0o600)
    with pytest.raises(TorchdevError) as caught:
        logins.read(path, ("https://a/simple",))
    assert caught.value.where == f"{path}:3"


def test_sections_are_all_that_facts_reads() -> None:
    """A new one is named there, or its absence would be a fault."""
    tree = ast.parse(Path(facts.__file__).read_text())
    calls = [
        n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "_of"
    ]
    named = {call.args[0].value for call in calls if call.args and isinstance(call.args[0], ast.Constant)}
    assert named <= set(facts.SECTIONS)
    assert set(positions.read_own(facts.DATA)) == set(facts.SECTIONS)


def test_the_catalog_has_its_line(tmp_path: Path) -> None:
    """It is JSON, and written by a machine; git may have merged it."""
    path = tmp_path / "catalog.json"
    shutil.copy(builds.DATA, path)
    lines = path.read_text().split("\n")
    lines[2] += "}"
    path.write_text("\n".join(lines))
    with pytest.raises(TorchdevError) as caught:
        builds.load(path)
    assert re.fullmatch(rf"{re.escape(str(path))}:[234]", caught.value.where)
