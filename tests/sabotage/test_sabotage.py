"""Images broken on purpose: of each, exactly the checks turn red that cases.yaml names.

    python build.py check --full, or python -m pytest tests/sabotage

What the machine that checks is told of (an index with a password, a CA) is staged, so that leaks of them can be.
"""

import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.reds import reds
from tests.sabotage.cases import FILE, OF_WHEELS, Case, dockerfile, fetch, options, read_cases
from tests.unit.conftest import ROOT
from torchdev.cli.check import siblings
from torchdev.docgen.project import open_project
from torchdev.engine.client import Engine
from torchdev.image.paths import Paths
from torchdev.image.plan import Plan
from torchdev.wheels.host import find_wheels, read_host

CPU = ROOT / "tests" / "cpu" / "matrix.yaml"
BROKEN = "torchdev-sabotage"
CASES = [pytest.param(case, id=case.name, marks=[] if case.in_check else [pytest.mark.full]) for case in read_cases()]


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The engine; these tests can't do without."""
    return Engine()


def sound(case: Case, engine: Engine) -> "tuple[Plan, Paths, str]":
    """The cell that a case is held to, its paths, and the image that is broken; a skip where that was not built."""
    project = open_project(ROOT, CPU if case.image == "cpu" else ROOT / "matrix.yaml")
    cells = project.matrix.cells
    first = (
        siblings(project) if case.image == "sibling" else [c for c in cells if c.devel == (case.image == "devel")][:1]
    )
    plans = project.plans(first)
    image = plans[-1].tags[0]
    if not engine.image(image):
        own = f"--matrix-file {project.paths.matrix_file}"
        pytest.skip(f"needs {image}: python build.py render {own}; python build.py {plans[-1].cell.id} {own}")
    return plans[0], project.paths, image


@pytest.fixture
def staged(tmp_path: Path) -> "dict[str, str]":
    """What this machine is told of while checks run: the index of cases.yaml, and a CA of its own in ca.pem."""
    pem = tmp_path / "ca.pem"
    certificate = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=sabotage.test -keyout /dev/null -out"
    subprocess.run([*certificate.split(), str(pem)], check=True, capture_output=True)
    index = str(yaml.safe_load(FILE.read_text(encoding="utf-8"))["index"])
    return {"PIP_INDEX_URL": index, "SSL_CERT_FILE": str(pem)}


@pytest.mark.parametrize("case", CASES)
def test_each_sabotage_turns_its_checks_red(
    case: Case, engine: Engine, staged: "dict[str, str]", tmp_path: Path, break_image: "Callable[[str], str]"
) -> None:
    """Those that are named, and no other."""
    plan, paths, image = sound(case, engine)
    if case.fetch and (why := fetch(case, plan.cell.python, tmp_path / "wheels")):
        pytest.skip(why)
    wheels = find_wheels(read_host(), [(p.name, p.file, p.sha256) for p in plan.lock.packages])
    if not (expected := case.red if wheels else case.red - {OF_WHEELS}):
        pytest.skip("no locked wheel lies in a folder of this machine")
    broken = break_image(dockerfile(case, image))
    found = reds(plan, paths, broken, options(case), tmp_path / "report.xml", staged)
    assert {name for name, _ in found} == expected


@pytest.fixture
def break_image(engine: Engine, tmp_path: Path) -> "Iterator[Callable[[str], str]]":
    """Build a Dockerfile with tmp_path as its context; the image's name. It is removed when the test ends."""
    names = []

    def build(text: str) -> str:
        (tmp_path / "Dockerfile").write_text(text)
        name = f"{BROKEN}:{uuid.uuid4().hex[:12]}"
        names.append(name)
        engine.buildx(["build", "--provenance=false", "--load", "--tag", name, str(tmp_path)], tmp_path / "log")
        return name

    yield build
    for name in names:
        engine.untag(name)
