"""What runs could share below .torchdev: a matrix has its own, and a run waits for another one at the same cell."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.conftest import ROOT
from tests.unit.fake_engine import session_of
from torchdev.docgen.project import open_project
from torchdev.engine.client import Engine
from torchdev.image.paths import Paths
from torchdev.image.plan import Plan
from torchdev.pipeline import bake, verify
from torchdev.pipeline.inventory import Inputs
from torchdev.pipeline.session import BuildSession
from torchdev.util import process

NAMES = ("matrix.yaml", "a.yaml", "b.yaml", "images.yaml", "matrix-a.yaml", "logs.yaml")


@pytest.fixture
def plan() -> Plan:
    """A small one."""
    project = open_project(ROOT, ROOT / "matrix.yaml")
    return project.plans(project.matrix.select(["py311-cpu"]))[0]


def session_at(folder: Path, matrix: str, engine: str) -> BuildSession:
    """A run on an engine, which only has a place where its runs meet."""
    paths = Paths(folder, folder / matrix)
    return session_of(Engine.__new__(Engine), paths, lock_dir=folder / engine)


def test_each_matrix_of_a_folder_has_its_own(tmp_path: Path) -> None:
    """Beside it, by its name; that of matrix.yaml is where documents and workflows look."""
    found = [Paths(ROOT, tmp_path / name).work for name in NAMES]
    assert len(set(found)) == len(NAMES)
    assert found[0] == tmp_path / ".torchdev"
    assert found[1] == tmp_path / ".torchdev-a"
    assert not any(one in other.parents for one in found for other in found)


@pytest.mark.parametrize(("matrices", "together"), [(("a.yaml", "a.yaml"), False), (("a.yaml", "b.yaml"), True)])
def test_runs_on_two_engines_do_not_share_a_working_folder(
    matrices: tuple[str, str], together: bool, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one matrix they take turns at a cell; of two they need not."""
    changed, inside, most = threading.Condition(), 0, 0

    def built(*given: object) -> None:
        nonlocal inside, most
        with changed:
            inside += 1
            most = max(most, inside)
            changed.notify()
            changed.wait_for(lambda: most == 2, timeout=30 if together else 0.4)
            inside -= 1

    monkeypatch.setattr(bake, "_bake", built)
    monkeypatch.setattr(bake, "bake_file", lambda *given: {})
    runs = [session_at(tmp_path, matrix, engine) for matrix, engine in zip(matrices, ("one", "two"), strict=True)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda run: bake.build(run, Inputs(run.paths), plan), runs))
    assert most == (2 if together else 1)


def test_reports_of_two_runs_do_not_mix(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reads what its own checks wrote, although both leave the last one under the cell's name."""
    barrier = threading.Barrier(2)

    def run(command: "list[str]", on_line: object, **more: object) -> int:
        image = command[command.index("--image") + 1]
        barrier.wait()
        Path(command[-1]).write_text(f'<testsuite><testcase name="{image}" time="0"/></testsuite>')
        barrier.wait()
        return 0

    monkeypatch.setattr(process, "run", run)
    paths = Paths(ROOT, tmp_path / "matrix.yaml")
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda image: verify.verify(plan, image, "none", paths), ["one", "two"]))
    assert [[verdict.check for verdict in verdicts] for verdicts in found] == [["one"], ["two"]]
    assert [path.name for path in (paths.work / "reports").iterdir()] == [f"{plan.cell.id}.xml"]


def test_a_file_where_the_working_folder_should_be(plan: Plan, tmp_path: Path) -> None:
    """Is an error that names it, and stays."""
    run = session_at(tmp_path, "matrix.yaml", "one")
    run.paths.work.write_text("mine")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        bake.build(run, Inputs(run.paths), plan)
    assert run.paths.work.read_text() == "mine"
