"""Which checks of tests/image turn red: for tests that show that each can."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

from tests.unit.conftest import ROOT
from torchdev.image.paths import Paths
from torchdev.image.plan import Plan
from torchdev.pipeline.verify import processes, side_by_side


def reds(
    plan: Plan,
    paths: Paths,
    image: str,
    options: "list[str]",
    report: Path,
    environment: "Mapping[str, str] | None" = None,
) -> "set[tuple[str, str]]":
    """Name and parameters of each check that fails when `image` is held to the plan's cell.

    `options` are pytest's, the files to run among them; `environment` is added to this process's. A run that does not
    come to its end fails the test that asks.
    """
    command = [sys.executable, "-m", "pytest", *options, "-q", "-p", "no:cacheprovider", "--tb", "no"]
    if "PYTEST_XDIST_WORKER" not in os.environ:  # else several images are tried at once already
        command += side_by_side(processes(os.environ, len(os.sched_getaffinity(0))))
    command += ["--cell", plan.cell.id, "--image", image, "--gpu", "none"]
    command += ["--matrix-file", str(paths.matrix_file), "--junitxml", str(report)]
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=variables)
    assert done.returncode in (0, 1), done.stdout[-3000:] + done.stderr[-3000:]
    failed = [
        str(case.get("name"))
        for case in ElementTree.parse(report).iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    named = (name.rstrip("]").partition("[") for name in failed)
    return {(name, parameters) for name, _, parameters in named}
