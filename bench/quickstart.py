"""From `git clone` on a machine with nothing to the first trained CNN: today's quickstart, and that of e4195ce."""

from bench import baseline, cold
from bench.bare import machine
from bench.cells import Subject
from bench.contenders import Setting
from bench.results import EARLIER, Results

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


def quickstart(results: Results, setting: Setting, subject: Subject, who: str) -> None:
    """All of it, for one cell, on a Debian that has Python and git alone: neither bases nor an engine."""
    bundle = baseline.bundle(setting.site, setting.root)
    with machine(setting.site, setting.host, f"bare-{who}") as bare:
        done = bare.run(f"cd /root\n{SCRIPT}", bare.bring(bundle), COMMITS[who], subject.id)
        cold.note(results, who, 1, done, measure="quickstart")
