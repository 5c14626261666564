"""The command catalog: refreshes the catalog of wheels from the package indexes."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from torchdev.catalog import builds, facts
from torchdev.util import files
from torchdev.util.commands import build_py
from torchdev.util.streams import say
from torchdev.wheels import refresh
from torchdev.wheels.host import read_host

Say = Callable[[str], None]


def run(options: Namespace, root: Path) -> int:
    """Refresh the catalog."""
    refresh_catalog(say, accept_removed=options.accept_removed)
    return 0


def refresh_catalog(say: Say, *, accept_removed: bool) -> None:
    """Refresh data/catalog.json from the package indexes; if that fails, it stays unchanged and the reason is shown."""
    old, host = builds.load(), read_host()

    def tell(text: str) -> None:
        say(host.clean(text))

    with host.hidden():
        new = refresh.refresh(old, host, facts.index_flavours(), tell, accept_removed=accept_removed)
    lines = refresh.changes(old, new)
    files.write(builds.DATA, builds.to_text(new))
    for line in [*lines, *refresh.gaps(new)]:
        say(line)
    say(f"{len(lines)} changes in {builds.DATA.name}" + (f"; next: {build_py('list', '--grid')}" if lines else ""))
