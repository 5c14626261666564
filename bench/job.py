"""The whole main job, as users run it; its checks alone, and quickstart: those of today and of an earlier commit."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from bench import baseline, cold, contenders
from bench.bare import machine
from bench.cells import Subject
from bench.contenders import Setting
from bench.engine import engine, settle
from bench.measure import Measured
from bench.results import EARLIER, Results
from torchdev.util.errors import BuildError

Subjects = tuple[Subject, ...]
REMEMBERED = ".torchdev*"
"""Folders beside a matrix in which torchdev keeps what it has found out: none of it may be there."""
COMMITS = {EARLIER: EARLIER, "torchdev": "HEAD"}
"""Whose quickstart it is, and by what name git knows it."""
SCRIPT = """\
git clone --quiet --no-checkout "$1" torchdev
cd torchdev
git checkout --quiet --detach "$2"
python3 build.py quickstart --yes "$3"
docker run --rm -v "$PWD/workloads":/opt/workloads:ro -w /opt "torchdev:$3" python -m workloads.cnn
"""
"""What a user types: README.md's first commands, and docs/workloads.md's for one workload."""


def job(results: Results, setting: Setting, subjects: Subjects) -> None:
    """Build, check and tag some cells on an engine that has only the bases: `python build.py CELLS`."""
    with engine(setting.workspace, f"job-{len(subjects)}", setting.bases.data) as own:
        names = [subject.id for subject in subjects]
        matrix = ["--matrix-file", str(_matrix(setting))]
        done = own.run([sys.executable, str(setting.root / "build.py"), *names, *matrix, "--json"])
        passed = sum(_passed(done.output, name, "built") for name in names)
        # Neither memory nor others' work: processes of containers are below no process that was started here.
        for quantity, value in (("seconds", done.seconds), ("fetched", done.fetched), ("passed", passed)):
            results.add("job", quantity, "torchdev", len(subjects), value)


def naive(results: Results, setting: Setting, subjects: Subjects) -> None:
    """The naive build of the same cells, unless it has been measured already: what the job is compared with."""
    if results.get("cold", "seconds", "naive", len(subjects)) is None:
        with engine(setting.workspace, f"naive-{len(subjects)}", setting.bases.data) as own:
            cold.build(results, setting, own, "naive", subjects)


def checks(results: Results, setting: Setting, subject: Subject) -> None:
    """The checks of a cell by `build.py test`; once more, now that it is remembered which controls have held."""
    with engine(setting.workspace, "checks", setting.bases.data) as own:
        matrix = _matrix(setting)
        contenders.build_py(setting, own, matrix, (subject,))
        command = [sys.executable, str(setting.root / "build.py"), "test", subject.id, "--matrix-file", str(matrix)]
        for quantity in ("seconds", "seconds, controls remembered"):
            settle()
            _note(results, "torchdev", quantity, subject, own.run([*command, "--json"]))


def earlier(results: Results, setting: Setting, subject: Subject) -> None:
    """The same of the earlier commit: its checkout, its Python packages, its locks, the image that it builds."""
    folder = baseline.checkout(setting.workspace, setting.root)
    try:
        with engine(setting.workspace, f"checks-{EARLIER}", setting.bases.data) as own:
            build_py = baseline.program(own, folder)
            own.run([*build_py, "build", subject.id, "--no-test"], cwd=folder)
            settle()
            done = own.run([*build_py, "test", subject.id, "--json"], cwd=folder)
            _note(results, EARLIER, "seconds", subject, done)
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)


def quickstart(results: Results, setting: Setting, subject: Subject, who: str) -> None:
    """All of it, for one cell, on a Debian that has Python and git alone: neither bases nor an engine."""
    bundle = baseline.bundle(setting.workspace, setting.root)
    with machine(setting.workspace, setting.host, f"bare-{who}") as bare:
        done = bare.run(f"cd /root\n{SCRIPT}", bare.bring(bundle), COMMITS[who], subject.id)
        cold.note(results, who, 1, done, measure="quickstart")


def _matrix(setting: Setting) -> Path:
    """A copy of the matrix with all that is generated from it, and with nothing that is remembered of other runs."""
    folder = setting.workspace.fresh("matrix")
    shutil.copytree(setting.matrix.parent, folder / "matrix", ignore=shutil.ignore_patterns(REMEMBERED))
    return folder / "matrix" / setting.matrix.name


def _note(results: Results, who: str, quantity: str, subject: Subject, done: Measured) -> None:
    passed = _passed(done.output, subject.id, "checked")
    results.add("checks", quantity, who, 1, done.seconds)
    if results.get("checks", "passed", who, 1) is None:
        results.add("checks", "passed", who, 1, passed)


def _passed(output: str, cell: str, state: str) -> int:
    """How many checks of a cell have passed, of what build.py says; BuildError unless it is so and none has failed."""
    found: dict[str, Any] = next((one for one in json.loads(output)["cells"] if one["cell"] == cell), {})
    outcomes = [verdict["outcome"] for verdict in found.get("verdicts", ())]
    if found.get("state") != state or "pass" not in outcomes or "fail" in outcomes:
        what = f"it should have been {state} and have passed its checks: {found.get('state')}, {found.get('error')}"
        raise BuildError(what, where=cell, next_step="python build.py doctor")
    return outcomes.count("pass")
