"""How processes share the checks of an image: the long ones first, and what needs the same is run by one of them."""

import json
import tempfile
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

LONG_TO_MAKE = (
    "searched",
    "records",
    "extension",
    "build_systems",
    "refusing",
    "compiled",
    "survey",
    "modules",
    "facts",
    "bare",
)
"""Fixtures that take seconds to make, the longest first: one process makes each, and runs all checks that need it."""
LONG = ("test_workload_", "test_cnn_", "test_any_user_", "test_another_package_", "test_other_packages_")
"""How the names of other checks begin that take seconds."""
GROUPS = "groups"
"""What a process is told of: the file in which it writes which checks belong together."""


class Together(LoadScopeScheduling):
    """Gives processes one group of checks, or one check, after another, in the order in which they were collected.

    (--dist loadgroup is to do this; but pytest-xdist 3.8 writes groups into what pytest 9.2 no longer reads.)
    """

    def __init__(self, config: pytest.Config, log: Producer, groups: Path) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False
        self._file = groups
        self._groups: "dict[str, str] | None" = None

    def _split_scope(self, nodeid: str) -> str:
        if self._groups is None:
            self._groups = dict(json.loads(self._file.read_text(encoding="utf-8")))
        return self._groups.get(nodeid, nodeid)


class Plugin:
    """The hooks by which several processes share checks; those of the one that hands them out, and of the others."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()

    def pytest_configure_node(self, node: WorkerController) -> None:
        """Tell a process where to write which checks belong together; all find the same."""
        node.workerinput[GROUPS] = str(Path(self._folder.name, GROUPS))

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Producer) -> Together:
        """Hand out checks in groups."""
        return Together(config, log, Path(self._folder.name, GROUPS))

    def pytest_unconfigure(self) -> None:
        """Remove the file."""
        self._folder.cleanup()


def arrange(config: pytest.Config, items: "list[pytest.Item]") -> None:
    """Put what is long first, and tell who hands out checks which of them belong together, if there are several.

    Processes take one check or group after another from the front, so that none has a long one left at the end.
    """
    told = getattr(config, "workerinput", {}).get(GROUPS)
    if not told:
        return
    items.sort(key=lambda item: not item.name.startswith(LONG))
    items.sort(key=lambda item: LONG_TO_MAKE.index(made) if (made := needed(item)) else len(LONG_TO_MAKE))
    groups = {item.nodeid: f"{made}-{parameters(item).get(made, 0)}" for item in items if (made := needed(item))}
    with tempfile.NamedTemporaryFile("w", dir=Path(told).parent, delete=False, encoding="utf-8") as file:
        json.dump(groups, file)
    Path(file.name).rename(told)


def needed(item: pytest.Item) -> "str | None":
    """The first of those fixtures that take long to make which a check needs, by its arguments or by what it says."""
    said = [name for mark in item.iter_markers("needs") for name in mark.args]
    return next((name for name in LONG_TO_MAKE if name in (*getattr(item, "fixturenames", ()), *said)), None)


def parameters(item: pytest.Item) -> "dict[str, int]":
    """Which of the parameters, by number, each parametrized fixture of a check has."""
    return dict(item.callspec.indices) if hasattr(item, "callspec") else {}
