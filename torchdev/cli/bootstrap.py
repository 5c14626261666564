"""The command bootstrap: makes substitute base images, whether a registry answers or not."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from torchdev.bases import prefix
from torchdev.cli.chosen import opened
from torchdev.docgen.project import Project
from torchdev.engine.client import Engine
from torchdev.matrix.load import Cell
from torchdev.pipeline.run_lock import Disk
from torchdev.pipeline.session import BuildSession, Options, lock_dir_of, make_bases
from torchdev.util.commands import build_py
from torchdev.util.errors import InputError
from torchdev.util.streams import say
from torchdev.wheels.host import read_host

Say = Callable[[str], None]


def run(options: Namespace, root: Path) -> int:
    """Make the base images of the named cells."""
    project, chosen = opened(options, root)
    bootstrap_bases(project, chosen, options.python_prefix, say)
    return 0


def bootstrap_bases(project: Project, cells: "tuple[Cell, ...]", given: "list[str]", say: Say) -> None:
    """Make substitutes for the bases of the named cells, or of all, whether a registry answers or not.

    `given` names local Python installations, as SERIES=FOLDER, from which to make those series.
    """
    wanted = project.bases(cells)
    prefixes = {series: prefix.read_prefix(series, folder) for series, folder in prefix.parse(given).items()}
    for series in prefixes.keys() - {base.series for base in wanted}:
        what = f"none of the named cells has Python {series}"
        raise InputError(what, where=prefix.OPTION, next_step=build_py("list"))
    engine = Engine()
    session = BuildSession(
        engine=engine,
        host=read_host(),
        paths=project.paths,
        options=Options(),
        say=say,
        disk=Disk(None),
        lock_dir=lock_dir_of(engine),
    )
    for error in make_bases(session, wanted, prefixes).values():
        raise error
