"""Images as clusters run them: in each situation torch.compile, matplotlib, pip and uv work and have their caches."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.image.conftest import PROGRAMS
from tests.image.test_runs import STRICT
from tests.image.test_use import wheel
from torchdev.engine.client import Engine
from torchdev.image.plan import Plan

PLOT = """
import json, logging, os
logging.basicConfig(level=logging.WARNING, format="WARNED %(message)s")
import matplotlib; matplotlib.use("Agg")
from matplotlib import pyplot
pyplot.plot([1, 2]); pyplot.title("fonts"); pyplot.savefig(os.path.join(os.environ["HOME"], "plot.png"))
print(json.dumps([matplotlib.get_configdir(), matplotlib.get_cachedir(), os.listdir(matplotlib.get_cachedir())]))
"""
INSTALL = """
set -e
pip install --quiet --no-index --no-warn-script-location /wheels/tiny-1.0-py3-none-any.whl
python -c 'import tiny'
uv venv --quiet --offline "$HOME/env"
uv pip install --quiet --offline --no-index --python "$HOME/env/bin/python" /wheels/tiny-1.0-py3-none-any.whl
"$HOME/env/bin/python" -c 'import tiny'
ls -d "$(uv cache dir)"/*
"""


@pytest.fixture(params=STRICT)
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """How a container is run."""
    return STRICT[request.param]


@pytest.fixture(scope="session")
def matplotlib(small: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with matplotlib for the small image's Python, as this machine's pip finds it; or a skip."""
    folder = tmp_path_factory.mktemp("matplotlib")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), "--only-binary=:all:"]
    command += ["--python-version", small.cell.python, "--platform", "manylinux_2_28_x86_64"]
    command += ["--platform", "manylinux_2_17_x86_64", "matplotlib"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no matplotlib here: {done.stderr.strip().splitlines()[-1]}")
    return readable(folder)


def readable(folder: Path) -> Path:
    """A folder of pytest's, which others may look into as well."""
    for place in (folder, *folder.parents[:2]):
        place.chmod(0o755)
    return folder


@pytest.mark.full
def test_compile_finds_its_cache_again(engine: Engine, small: Plan, options: dict[str, Any]) -> None:
    """A first process compiles, a second one finds what it left, and nothing is compiled twice."""
    twice = 'python -c "$0" compile && python -c "$0" compile'
    status, output = engine.run(small.tags[0], ["sh", "-c", twice, (PROGRAMS / "caches.py").read_text()], **options)
    assert status == 0, output
    first, second = (json.loads(line) for line in output.splitlines() if line.startswith('{"folders"'))
    assert first["refused"] == second["refused"] == {}
    compiled, found = first["compiled"], second["compiled"]
    assert (compiled["right"], found["right"]) == (True, True)
    assert (compiled["hits"], compiled["misses"]) == (0, 1)
    assert (found["hits"], found["misses"]) == (1, 0)
    assert compiled["libraries"] == found["libraries"] != []


@pytest.mark.full
def test_a_noexec_tmp_is_what_compile_fails_for(engine: Engine, small: Plan) -> None:
    """Docker's own default for --tmpfs /tmp: so the check above can fail, and this is why docs say /tmp:exec."""
    options = {**STRICT["read-only root"], "tmpfs": {"/tmp": ""}}
    status, output = engine.run(
        small.tags[0], ["python", "-c", (PROGRAMS / "caches.py").read_text(), "compile"], **options
    )
    assert status == 1
    assert "failed to map segment" in output


def test_matplotlib_draws(engine: Engine, small: Plan, matplotlib: Path, options: dict[str, Any]) -> None:
    """Its settings and its list of fonts lie below HOME, without a warning of a makeshift folder."""
    given = {"volumes": {str(matplotlib): {"bind": "/more", "mode": "ro"}}, "environment": {"PYTHONPATH": "/more"}}
    status, output = engine.run(small.tags[0], ["sh", "-c", 'echo "$HOME" && python -c "$0"', PLOT], **given, **options)
    assert status == 0, output
    assert "WARNED" not in output
    home, *_, said = output.splitlines()
    settings, cache, files = json.loads(said)
    assert settings == f"{home}/.config/matplotlib"
    assert cache == f"{home}/.cache/matplotlib"
    assert [name for name in files if name.startswith("fontlist")] != []


def test_pip_and_uv_install(engine: Engine, small: Plan, tmp_path: Path, options: dict[str, Any]) -> None:
    """Pip puts a package where this user may, uv into an environment at home, and uv keeps its cache."""
    (tmp_path / "tiny-1.0-py3-none-any.whl").write_bytes(wheel("tiny", "1.0"))
    given = {"volumes": {str(readable(tmp_path)): {"bind": "/wheels", "mode": "ro"}}}
    status, output = engine.run(small.tags[0], ["sh", "-c", INSTALL], **given, **options)
    assert status == 0, output
    assert "/.cache/uv/" in output
