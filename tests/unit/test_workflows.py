"""What the workflows of .github run: actions pinned by commit, each on a Node that GitHub's runners have."""

import re

import yaml

from tests.unit.conftest import ROOT

USES = re.compile(r"uses: ([\w./-]+)@(\S+) # v((\d+)\.\d+\.\d+)\n")
SUPPORTED = {"actions/checkout": 5, "actions/setup-python": 6, "actions/upload-artifact": 6}
"""The first major version of each action whose action.yml says node24; runners have lost the Nodes before it."""


def test_actions_are_pinned_and_run_on_a_supported_node() -> None:
    """By a whole commit id, the same in all workflows; of an action that is not in the table, look and add it."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / ".github" / "workflows").iterdir())]
    found = [match.groups() for text in texts for match in USES.finditer(text)]
    assert len(found) == sum(text.count("uses:") for text in texts)
    assert [name for name, commit, _, _ in found if not re.fullmatch("[0-9a-f]{40}", commit)] == []
    assert len({(name, commit, version) for name, commit, version, _ in found}) == len({use[0] for use in found})
    assert [(name, version) for name, _, version, major in found if int(major) < SUPPORTED.get(name, 10**9)] == []


def test_workflows_are_yaml() -> None:
    """A colon before a space, as in --only-binary :all: and more words, makes a mapping of a command without quotes."""
    for path in (ROOT / ".github" / "workflows").iterdir():
        jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
        steps = [step for job in jobs.values() for step in job["steps"]]
        assert all(isinstance(step["run"] if "run" in step else step["uses"], str) for step in steps)
