"""A control that has held is remembered for just what it proves: check, workloads, Python series, PyTorch release."""

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.image import conftest
from tests.unit.conftest import ROOT
from torchdev.matrix.load import Cell
from torchdev.pipeline import controls

MODULE = Path("tests", "image", "test_cnn.py")
CHECK = "tests/image/test_cnn.py::test_a"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what decides."""
    for part in (*controls.PARTS, MODULE):
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tmp_path / part)
    return tmp_path


def test_whatever_decides_makes_it_void(checkout: Path, cell: Cell) -> None:
    """Each file of it, one more, another check, another Python, PyTorch or architecture; not another CUDA."""

    def key(cell: Cell = cell, check: str = CHECK) -> Path:
        return controls.file(checkout, checkout, MODULE, check, cell)

    first = key()
    for name in ("workloads/cnn.py", "workloads/digits.csv.gz", "tests/image/conftest.py", str(MODULE)):
        content = (checkout / name).read_bytes()
        (checkout / name).write_bytes(content + b"\n")
        assert key() != first, name
        (checkout / name).write_bytes(content)
        assert key() == first
    (checkout / "workloads" / "new.py").touch()
    assert key() != first
    (checkout / "workloads" / "new.py").unlink()
    others = [{"python": "3.9"}, {"torch": "2.0.0"}, {"arch": "arm64"}]
    assert len({first, key(check="other"), *(key(dataclasses.replace(cell, **other)) for other in others)}) == 5
    assert key(dataclasses.replace(cell, flavour="cpu")) == first


def test_a_note_tells_where_it_held(tmp_path: Path, cell: Cell) -> None:
    """The verdict repeats it."""
    controls.remember(tmp_path / "a.json", CHECK, cell, "sha256:0123456789abcdef")
    noted = controls.recall(tmp_path / "a.json", CHECK)
    assert noted
    assert f"in {cell.id} (sha256:0123456789ab)" in str(noted)
    assert controls.recall(tmp_path / "a.json", "another check") is None


@pytest.mark.parametrize("text", ["", "{}", "null", "[", '{"check": "a", "cell": "b", "image": "c"}'])
def test_a_spoiled_note_is_none(tmp_path: Path, text: str) -> None:
    """The control is run again."""
    (tmp_path / "a.json").write_text(text)
    assert controls.recall(tmp_path / "a.json", CHECK) is None
    assert controls.recall(tmp_path / "none.json", CHECK) is None


@pytest.fixture
def item(tmp_path: Path, cell: Cell, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A control as pytest has it; its options are the item's own, so that a test can change them."""
    options = {"--remembered": tmp_path, "--image": "name", "--gpu": "none"}
    monkeypatch.setattr(conftest, "_cell", lambda config: cell)
    monkeypatch.setattr(conftest, "Engine", lambda: SimpleNamespace(image=lambda name: SimpleNamespace(id="sha256:0")))
    made = SimpleNamespace(
        nodeid=CHECK, path=ROOT / MODULE, config=SimpleNamespace(getoption=options.get), options=options
    )
    made.marks, made.user_properties = ["control"], []
    made.get_closest_marker = lambda name: name in made.marks
    return made


def run(item: SimpleNamespace, error: "BaseException | None" = None) -> bool:
    """Run an item as pytest does; whether it was run, and not remembered."""
    if conftest.pytest_pyfunc_call(item):
        return False
    hook = conftest.pytest_runtest_call(item)
    next(hook)
    with pytest.raises(type(error) if error else StopIteration):
        hook.throw(error) if error else hook.send(None)
    return True


def test_a_control_that_held_is_not_run_again(item: SimpleNamespace) -> None:
    """Its verdict says so."""
    assert run(item)
    assert item.user_properties == []
    assert not run(item)
    assert [name for name, _ in item.user_properties] == ["remembered"]


@pytest.mark.parametrize("error", [AssertionError(), pytest.skip.Exception("no GPU"), KeyboardInterrupt()])
def test_one_that_did_not_is(item: SimpleNamespace, error: BaseException) -> None:
    """Whether it failed, was skipped or was broken off."""
    assert run(item, error)
    assert run(item)


def test_other_checks_are_always_run(item: SimpleNamespace) -> None:
    """And controls, where nothing is to be remembered."""
    item.options["--remembered"] = None
    assert [run(item), run(item)] == [True, True]
    item.options["--remembered"], item.marks = Path("/nowhere"), []
    assert [run(item), run(item)] == [True, True]
