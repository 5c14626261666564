"""Several engine tests run at once, and never those that would disturb each other: by pytest without an engine."""

import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.engine.conftest import TOGETHER
from tests.unit.conftest import ROOT
from torchdev.cli.check import TOGETHER as OPTIONS


@pytest.mark.parametrize("group", TOGETHER)
def test_modules_of_a_group_are_run_by_one_worker(group: str) -> None:
    """While another module is run by another worker, where there is one."""
    modules = [*TOGETHER[group], "test_gpus"]
    files = [str(Path(__file__).parent / f"{module}.py") for module in modules]
    command = [sys.executable, "-m", "pytest", "-v", "-n", "2", *OPTIONS, "-p", "no:cacheprovider", *files]
    environment = {**os.environ, "DOCKER_HOST": "unix:///nowhere/docker.sock"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    workers = defaultdict(set)
    for worker, module in re.findall(r"^\[(gw\d)\] .* tests/engine/(\w+)\.py::", done.stdout, re.M):
        workers[module].add(worker)
    assert set(workers) == set(modules), done.stdout[-2000:]
    assert len(set.union(*(workers[module] for module in TOGETHER[group]))) == 1
    assert len(set.union(*workers.values())) == 2
