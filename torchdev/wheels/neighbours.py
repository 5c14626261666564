"""Checks packages that a cell asks for: releases from before its PyTorch, and files that overwrite PyTorch's."""

import dataclasses
import zipfile
from collections.abc import Iterable, Mapping

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from torchdev.catalog.versions import order
from torchdev.matrix.load import ALWAYS, Cell
from torchdev.util import process
from torchdev.util.commands import build_py
from torchdev.util.errors import BuildError, InputError
from torchdev.wheels import remote, wheel
from torchdev.wheels.host import Host
from torchdev.wheels.lock import FLAVOURED
from torchdev.wheels.pylock import Resolved
from torchdev.wheels.uv import Wanted, compile_cell

Files = Mapping[str, int]
"""Path in a wheel to the CRC of the file."""


def check(cell: Cell, host: Host, wanted: Wanted, found: "Iterable[Resolved]") -> None:
    """Refuse, with the reason, packages that install beside the cell's PyTorch but don't work with it, or break it."""
    own = tuple(line for line in wanted.requirements if _name(line) in FLAVOURED or line in ALWAYS)
    others = tuple(line for line in wanted.requirements if line not in own)
    if not others:
        return
    releases = {release.name: release for release in found}
    _check_releases(cell, host, wanted, others, releases)
    alone = compile_cell(cell, host, dataclasses.replace(wanted, requirements=own))
    _check_files(cell, host, releases, {release.name for release in alone})


def _name(requirement: str) -> str:
    return str(canonicalize_name(Requirement(requirement).name))


def _check_releases(
    cell: Cell, host: Host, wanted: Wanted, others: tuple[str, ...], found: "Mapping[str, Resolved]"
) -> None:
    """Refuse a release from before PyTorch that fits only for lack of bounds: the newest wants another PyTorch."""
    newest = {r.name: r for r in compile_cell(cell, host, dataclasses.replace(wanted, requirements=others))}
    for name in (_name(line) for line in others):
        if not is_from_before(found[name], newest[name], found.get("torch")):
            continue
        exact = f"{name}=={newest[name].version}"
        try:
            compile_cell(cell, host, dataclasses.replace(wanted, requirements=(*wanted.requirements, exact)))
        except BuildError as error:
            reason = error.what.partition("\n")[2]
            what = (
                f"{exact} wants another PyTorch, and what fits, {name} {found[name].version}, is from before this one"
            )
            step = ("name a release of it in packages, or change torch of that row; then ", build_py("lock", cell.id))
            raise InputError(f"{what}\n{reason}", where=str(cell.position), next_step=step) from None


def is_from_before(chosen: Resolved, newest: Resolved, torch: "Resolved | None") -> bool:
    """Whether an older release was chosen that was uploaded before PyTorch (or at an unknown time)."""
    if order(chosen.version) >= order(newest.version):
        return False
    return not (torch and torch.uploaded and chosen.uploaded) or chosen.uploaded < torch.uploaded


def _check_files(cell: Cell, host: Host, found: "Mapping[str, Resolved]", own: "set[str]") -> None:
    """Refuse a package that has files with the paths of PyTorch's, or its dependencies', and other content."""
    added = sorted(set(found) - own)
    files = _files(cell, host, [found[name] for name in added])
    tops = {path.partition("/")[0] for name in added for path in files[name]}
    kept = sorted(name for name in own & set(found) if _may_share(name, tops))
    files |= _files(cell, host, [found[name] for name in kept])
    for name in added:
        for other in kept:
            if paths := shared(files[name], files[other]):
                more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
                what = (
                    f"{name} {found[name].version} would overwrite {paths[0]}{more} of {other} {found[other].version}"
                )
                step = (f"take out of packages what requires {name}; then ", build_py("lock", cell.id))
                raise InputError(what, where=str(cell.position), next_step=step)


def _may_share(name: str, tops: "set[str]") -> bool:
    """Whether a project may have files below some top-level names: all projects nvidia-* have nvidia/."""
    return name.replace("-", "_") in tops or name.partition("-")[0] in tops


def shared(one: Files, other: Files) -> "list[str]":
    """Paths that two wheels have with different content."""
    return sorted(path for path in one.keys() & other.keys() if one[path] != other[path])


def _files(cell: Cell, host: Host, found: "Iterable[Resolved]") -> "dict[str, Files]":
    """The files of each release's wheel, by project, without metadata."""

    def read(release: Resolved) -> "tuple[str, Files]":
        file = wheel.best(release.links, cell.python, cell.arch)
        if not file:
            return release.name, {}
        return release.name, remote.read_wheel(host, release.links[file].location, names)

    return dict(process.at_once(8, read, found))


def names(archive: zipfile.ZipFile) -> Files:
    """Path to CRC of the files that a wheel puts into site-packages, without its .dist-info."""
    entries = (entry for entry in archive.infolist() if not entry.is_dir())
    return {e.filename: e.CRC for e in entries if not e.filename.partition("/")[0].endswith((".dist-info", ".data"))}
