"""The command line: every command and its options, with what each is for, and the module that runs it.

Standard library alone: it is read before the environment that has the other packages is entered.
"""

import argparse
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NoReturn

from torchdev.catalog.axes import AXES
from torchdev.cli import values
from torchdev.util import streams, texts
from torchdev.util.commands import WITHOUT_MATRIX, build_py
from torchdev.util.version import version

RAW = argparse.RawDescriptionHelpFormatter
AT_ONCE = min(4, os.cpu_count() or 1)
"""Cells: more than that wait for the network and the disk."""
DESCRIPTION = """\
Build PyTorch development images from matrix.yaml, and prove that each is what its tag says.

  python build.py --matrix              build, check and tag the cells of the group default
  python build.py py311-cu130           build, check and tag one cell
  python build.py --select '*-cu130-*'  build, check and tag those that match
  python build.py quickstart            install what is missing here, build one cell, train a CNN in it
"""
EPILOG = """\
exit codes: 0 done, 1 explain says no, 2 invalid input, or a file can't be read or written, 3 a build or lock failed,
4 a check failed, 5 no engine, or doctor finds something missing, 70 a fault of torchdev itself, 130 interrupted,
141 the output's reader is gone

cells are named by id (py311-cu130-torch2.13.0), shorter tag (py311-cu130, latest) or glob ('py31*'); see: build.py list
"""


KINDS = ("docker", "compose", "devcontainer", "kubernetes", "trainjob")
"""The targets of `recipe`."""


NODES, GIB = values.whole(1, 100_000), values.whole(1, 1_000_000)
"""Far more than anybody has, and far less than would overflow."""
RECIPE: "dict[str, tuple[Callable[[str], int | str], str, str]]" = {
    "nodes": (NODES, "N", "containers or Pods, which torchrun joins; default: 1"),
    "min_nodes": (NODES, "N", "kubernetes: fewest Pods to go on with (elastic); default: all of --nodes"),
    "gpus": (
        values.whole(0, 1000),
        "N",
        "of each node; default: all for docker and devcontainer, else 1; 0 for a cell without CUDA",
    ),
    "command": (
        values.text,
        "TEXT",
        'of each process, such as "python my.py"; default: examples/train; a shell for docker',
    ),
    "name": (values.text, "NAME", "of the job, and of all that belongs to it; default: train"),
    "cpus": (values.whole(1, 10_000), "N", "cores that a Pod asks for; default: 4 a GPU"),
    "memory": (GIB, "GIB", "of a Pod, beside shared memory; default: 16 a GPU"),
    "shm": (GIB, "GIB", "shared memory, which DataLoader workers and NCCL use; default: 8"),
    "data": (values.text, "CLAIM", "a PersistentVolumeClaim that is there already, to be mounted at /data, read-only"),
}
"""The options of `recipe`: how each is parsed, its placeholder, and its help."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors look like every other message, with control characters escaped."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and how to get help; exit code 2."""
        command = self.prog.partition(" ")[2]
        step = f"{build_py(command, '--help')}" if command else f"{build_py('--help')}"
        self.exit(2, f"error: {texts.shown(message, 1000)}\n  next: {step}\n")


class Version(argparse.Action):
    """An option that prints torchdev's version. The version is read only when the option is given."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print the version, and end."""
        streams.show(f"torchdev {version()}")
        parser.exit()


class Line:
    """The command line under construction: commands, and options that several of them share."""

    def __init__(self, matrix: Path) -> None:
        self.top = Parser(prog="build.py", description=DESCRIPTION, epilog=EPILOG, formatter_class=RAW)
        self.top.add_argument("--version", action=Version, nargs=0, help="print torchdev's version and exit")
        self.commands = self.top.add_subparsers(dest="subcommand", metavar="COMMAND", title="commands")
        self.matrix = matrix

    def command(self, name: str, text: str) -> argparse.ArgumentParser:
        """Add a command; the function `run` of the module of its name runs it."""
        about = text[0].upper() + text[1:] + "."
        sub = self.commands.add_parser(name, help=text, description=about, epilog=EPILOG, formatter_class=RAW)
        sub.set_defaults(cells=[], select=[], group=[], matrix_file=self.matrix, module=f"torchdev.cli.{name}")
        if name not in WITHOUT_MATRIX:
            sub.add_argument(
                "--matrix-file", type=values.path, default=self.matrix, metavar="FILE", help="instead of matrix.yaml"
            )
        return sub


def parser(matrix: Path) -> "tuple[argparse.ArgumentParser, Collection[str]]":
    """The command line, and the names of its commands; `matrix` is the default matrix file."""
    line = Line(matrix)
    _add_build(line)
    _add_knowledge(line)
    _add_files(line)
    _add_images(line)
    _add_starts(line)
    _add_machine(line)
    return line.top, line.commands.choices


def _cells(sub: argparse.ArgumentParser, default: str = "every cell") -> None:
    sub.add_argument("cells", nargs="*", type=values.text, metavar="CELL", help=f"id, tag or glob; default: {default}")
    sub.add_argument(
        "--select", action="append", default=[], type=values.text, metavar="GLOB", help="cells whose id matches"
    )
    sub.add_argument(
        "--group", action="append", default=[], type=values.text, metavar="NAME", help="cells of a group of the matrix"
    )


def _json(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--json", action="store_true", help="write JSON to standard output")


def _room(sub: argparse.ArgumentParser) -> None:
    text = "write at most this much to the engine's disk; default: all but 2 GB, if the disk is on this machine"
    sub.add_argument("--room", type=values.gigabytes, metavar="GB", help=text)


def _builder(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--builder", type=values.builder, metavar="NAME", help="a builder of buildx, such as a remote BuildKit"
    )
    more = "; may be repeated"
    reading = f"repository to take cached steps from{more}"
    sub.add_argument(
        "--cache-from", action="append", default=[], type=values.repository, metavar="REPOSITORY", help=reading
    )
    sub.add_argument(
        "--cache-to", type=values.repository, metavar="REPOSITORY", help="repository to leave all cached steps in"
    )


def _gpu(sub: argparse.ArgumentParser) -> None:
    text = "auto: GPU checks are not-run without a GPU; require: they fail without one"
    sub.add_argument("--gpu", choices=("auto", "require", "none"), default="auto", help=text)


def _add_build(line: Line) -> None:
    build = line.command("build", "build, check and tag cells (the default command)")
    _cells(build, "none; see --matrix")
    build.add_argument("--matrix", action="store_true", help="the matrix's group default; every cell: --group all")
    build.add_argument("--rebuild", action="store_true", help="build again what has not changed")
    build.add_argument(
        "--jobs",
        type=values.whole(1, 1000),
        default=AT_ONCE,
        metavar="N",
        help="cells at once; default: one a core, at most 4",
    )
    build.add_argument("--no-test", action="store_true", help="tag without running the checks")
    build.add_argument("--no-bootstrap", action="store_true", help="fail if no registry has the official bases")
    build.add_argument("--verbose", action="store_true", help="show BuildKit's log; it is kept in .torchdev/logs")
    build.add_argument(
        "--push-to",
        type=values.repository,
        metavar="REPOSITORY",
        help="push images that pass their checks, such as to ghcr.io/owner/torchdev",
    )
    text = (
        "for a small disk: build, check and push as many cells as it holds, remove their images and this run's build "
        "cache, and go on with the next cells; nothing older is removed; without --push-to no image is kept"
    )
    build.add_argument("--prune", action="store_true", help=text)
    _room(build)
    _builder(build)
    _gpu(build)
    _json(build)


def _add_knowledge(line: Line) -> None:
    planning = line.command("plan", "estimate a build: layers, the cells that share them, bytes to fetch and to store")
    _cells(planning)
    planning.add_argument("--prune", action="store_true", help="accept a disk that needs several batches")
    _room(planning)
    _json(planning)
    listing = line.command("list", "list the cells of the matrix")
    _cells(listing)
    listing.add_argument("--shard-by", choices=("cuda",), help="list groups that share most, to be built together")
    _json(listing)
    listing.add_argument("--grid", action="store_true", help="list all that can exist instead: Python by CUDA")
    explaining = line.command("explain", "say whether a combination can exist; if not, why, and the nearest that exist")
    explaining.add_argument(
        "cell",
        nargs="?",
        type=values.text,
        metavar="CELL",
        help="an id or short tag, in this matrix or not; or an alias of it",
    )
    for axis in AXES.values():
        bare: dict[str, Any] = {"nargs": "?", "const": axis.bare} if axis.bare else {}
        explaining.add_argument(f"--{axis.name}", type=values.text, metavar="X", help=axis.help, **bare)
    _json(explaining)
    facts = line.command("catalog", "refresh what is known of wheels from the package indexes")
    facts.add_argument("action", choices=("refresh",))
    facts.add_argument("--accept-removed", action="store_true", help="accept that known wheels are no longer listed")


def _add_files(line: Line) -> None:
    locking = line.command("lock", "resolve cells and write images/CELL/lock.json")
    _cells(locking)
    locking.add_argument("--bases", action="store_true", help="instead, ask the registry for the bases' digests")
    rendering = line.command("render", "write images/CELL from matrix, locks and templates")
    rendering.add_argument("--check", action="store_true", help="only compare; fail on any difference")
    baking = line.command(
        "bake", "print this machine's bake file, or give it to a command: bake CELL -- docker buildx bake --file -"
    )
    _cells(baking)
    _builder(baking)


def _add_images(line: Line) -> None:
    testing = line.command("test", "run the checks against images that were built before")
    _cells(testing)
    _gpu(testing)
    _json(testing)
    text = "also run controls that have passed before with the same workloads, Python and PyTorch"
    testing.add_argument("--controls", action="store_true", help=text)
    testing.add_argument(
        "--junit", type=values.path, metavar="FILE", help="write the verdicts as JUnit XML, for CI systems"
    )
    pushing = line.command("push", "push images that are built and checked, with all their tags, to a registry")
    _cells(pushing)
    pushing.add_argument(
        "--to", required=True, type=values.repository, metavar="REPOSITORY", help="such as ghcr.io/owner/torchdev"
    )


def refuse(top: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Exit with code 2 if options contradict each other, or make no sense together."""
    building = options.subcommand == "build"
    if building and named(options) == options.matrix:
        both = "name cells, or --matrix, not both"
        top.error(both if options.matrix else "name a cell, or build every cell with --matrix")
    if options.words[:1] == [""]:
        top.error("the command behind -- is empty")
    if building and options.push_to and options.no_test:
        top.error("--push-to pushes what has passed its checks; leave --no-test out")


def named(options: argparse.Namespace) -> bool:
    """Whether the command line names any cells."""
    return bool(options.cells or options.select or options.group)


def split(words: "list[str]") -> "tuple[list[str], list[str]]":
    """The words of the command line before and after `--`; those after it are a command's own."""
    at = words.index("--") if words[0] in ("run", "bake") and "--" in words else len(words)
    return words[:at], words[at + 1 :]


def _add_starts(line: Line) -> None:
    running = line.command("run", "start a container of a cell in the current folder: run CELL [-- command]")
    running.add_argument(
        "cells", nargs=1, type=values.text, metavar="CELL", help="id or tag; behind --: the command, else a shell"
    )
    text = "auto: use every GPU, or say why there is none; require: fail if there is none"
    running.add_argument("--gpu", choices=("auto", "require", "none"), default="auto", help=text)
    text = "shared memory, which DataLoader workers and NCCL use; default: 8"
    running.add_argument("--shm", type=GIB, default=8, metavar="GIB", help=text)
    recipe = line.command("recipe", "write the files by which Docker, Compose, editors or Kubernetes start a cell")
    recipe.add_argument("cells", nargs=1, type=values.text, metavar="CELL", help="id or tag")
    recipe.add_argument("--for", required=True, choices=KINDS, dest="kind", help="what starts it")
    text = "a new folder for the files; default: recipe-KIND in the current one"
    recipe.add_argument("--out", type=values.path, metavar="FOLDER", help=text)
    text = "the image as the cluster pulls it, with tag or @digest; default: the digest it was pushed with, or its tag"
    recipe.add_argument("--image", type=values.text, metavar="NAME", help=text)
    for name, (read, word, text) in RECIPE.items():
        recipe.add_argument(f"--{name.replace('_', '-')}", type=read, metavar=word, help=text)
    text = "a file of the job, brought beside the command; may be repeated; default: those of examples/train"
    recipe.add_argument("--file", action="append", default=[], type=values.path, metavar="PATH", help=text)


def _add_machine(line: Line) -> None:
    making = line.command("bootstrap", "make substitute base images from Debian's packages")
    _cells(making)
    text = (
        "make the substitute of a Python, such as 3.8, from a local installation: FOLDER is its sys.base_prefix, with "
        "bin, lib and include in it; may be repeated"
    )
    making.add_argument(
        "--python-prefix", action="append", default=[], type=values.text, metavar="SERIES=FOLDER", help=text
    )
    _json(line.command("doctor", "check whether this machine can build images; exit code 5 if a line says missing"))
    start = line.command("quickstart", "install what is missing, build one cell and train the CNN in it")
    _cells(start, "the first of the matrix")
    checking = line.command("check", "run all of torchdev's own tests, with two cells built and tested")
    extent = checking.add_mutually_exclusive_group()
    extent.add_argument("--quick", action="store_true", help="only what needs no engine")
    text = "also the heaviest tests and every image broken on purpose: about two hours; writes tests/full.json"
    extent.add_argument("--full", action="store_true", help=text)
    for sub in (start, checking):
        sub.add_argument("--yes", action="store_true", help="install without asking")
