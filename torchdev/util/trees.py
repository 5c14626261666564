"""Generated files, by their paths below a folder: compared, written, and removed only if torchdev wrote them."""

import hashlib
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from torchdev.util import files, listed
from torchdev.util.commands import Command, build_py
from torchdev.util.errors import InputError
from torchdev.util.listed import LIST, Listed
from torchdev.util.texts import few

RENDER = build_py("render")
LEFTOVER = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}\.unfinished")
"""The name of a file that a killed files.write has left."""


@dataclass(frozen=True)
class File:
    """A generated file: its content and its permissions."""

    data: bytes
    mode: int = 0o644

    @classmethod
    def like(cls, template: Path, data: bytes) -> "File":
        """A file with these bytes that is executable if its template is."""
        return cls(data, 0o755 if template.stat().st_mode & 0o100 else 0o644)

    @property
    def text(self) -> str:
        """Its content as text."""
        return self.data.decode("utf-8")

    @property
    def sha256(self) -> str:
        """Its sha256, as in a list."""
        return hashlib.sha256(self.data).hexdigest()


Files = dict[str, File]
"""Path below a folder to the file."""


Contents = dict[str, bytes]
"""Path to the content of a file."""


def contents(made: Files) -> Contents:
    """The contents of files, by path."""
    return {name: file.data for name, file in made.items()}


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The generated files of a folder.

    If the folder is `listed`, it has a list of the files that torchdev wrote. Those that are generated no longer are
    removed, as far as the tree `speaks` of them. `others` are files that other commands write. `closed` folders may
    hold no other files. Messages put the `label` before a path. A file that is overwritten, and may be a user's, is
    first copied into `kept`; the default is .torchdev/replaced beside the folder.
    """

    root: Path
    files: Files
    listed: bool = True
    speaks: "Callable[[str], bool]" = lambda _: True
    others: "Callable[[str], bool]" = lambda _: False
    closed: "Collection[str]" = ()
    label: str = ""
    kept: "Path | None" = None

    def shown(self, name: str) -> str:
        """A path as messages show it."""
        return f"{self.label}/{name}" if self.label else name

    def copy_of(self, name: str, data: bytes) -> Path:
        """Where the copy of an overwritten content goes: one copy, however often the content comes back."""
        folder = self.kept or self.root.parent / ".torchdev" / "replaced"
        return folder / f"{self.shown(name)}.{hashlib.sha256(data).hexdigest()[:12]}"

    def known(self) -> "Listed | None":
        """The files in the list; None if there is no list."""
        return listed.read(self.root, self.others) if self.listed else None

    def list_text(self, known: Listed) -> bytes:
        """The new list: the generated files, and listed files that the tree does not speak of."""
        rest = {name: hashes for name, hashes in known.items() if not self.speaks(name)}
        return listed.to_text({**rest, **{name: frozenset({file.sha256}) for name, file in self.files.items()}})


@dataclass(frozen=True, kw_only=True)
class Changes:
    """The changes to make in a folder: paths to write and to remove; and files of others, by path, with the reason.

    `blocked` can't be written, because something else is there. `strays` are files of others in closed folders. `left`
    are files that torchdev wrote, no longer generates and does not remove. `edited` are to be written and were changed
    since torchdev wrote them. `kept` has, by path, the copies of overwritten files that may be a user's.
    """

    write: "tuple[str, ...]" = ()
    remove: "tuple[str, ...]" = ()
    blocked: "dict[str, str]" = field(default_factory=dict)
    strays: "tuple[str, ...]" = ()
    left: "dict[str, str]" = field(default_factory=dict)
    edited: "tuple[str, ...]" = ()
    kept: "dict[str, Path]" = field(default_factory=dict)


def compare(tree: Tree) -> Changes:
    """The differences between a folder and its tree; InputError if the list is invalid."""
    known, look = tree.known(), _Look(tree)
    write = [name for name, file in sorted(tree.files.items()) if not look.same(name, file)]
    ours = tree.files if known is None else known
    reasons = {name: look.obstacle(name, tree.files[name], ours=name in ours) for name in write}
    gone = sorted(name for name in known or () if name not in tree.files and tree.speaks(name))
    spelled = {name.casefold(): name for name in tree.files} if gone else {}
    fates = {name: look.fate(name, (known or {})[name], spelled) for name in gone}
    removed = [name for name, (goes, _) in fates.items() if goes]
    strays, leftovers = look.among({*tree.files, *removed})
    if tree.listed and look.read(LIST) != tree.list_text(known or {}):
        write.append(LIST)
    return Changes(
        write=tuple(write),
        remove=(*removed, *leftovers),
        blocked={name: reason for name, reason in reasons.items() if reason},
        strays=strays,
        left={name: reason for name, (_, reason) in fates.items() if reason},
        edited=tuple(name for name in write if name in (known or {}) and look.edited(name, (known or {})[name])),
    )


def update(tree: Tree) -> Changes:
    """Make a folder equal to its tree; InputError, and nothing is written, if files of others are in the way."""
    with files.locked(tree.root):
        changes = compare(tree)
        refuse_blocked(tree, changes)
        changes = replace(changes, kept=_keep(tree, changes.write))
        if LIST in changes.write:
            # Listed before they are written: otherwise a killed run would leave files that seem to be of others.
            known = tree.known() or {}
            new = {name: known.get(name, frozenset()) | {tree.files[name].sha256} for name in tree.files}
            files.write(tree.root / LIST, listed.to_text({**known, **new}))
        for name in changes.remove:
            (tree.root / name).unlink(missing_ok=True)
            _remove_empty(tree.root, name)
        for name in changes.write:
            if name != LIST:
                files.write(tree.root / name, tree.files[name].data, tree.files[name].mode)
        if LIST in changes.write:
            files.write(tree.root / LIST, tree.list_text(known))
    return changes


def _keep(tree: Tree, names: "Collection[str]") -> "dict[str, Path]":
    """Copy files before they are overwritten, unless torchdev wrote them, or only line ends differ; the copies by path.

    If a folder has no list, or a damaged one, nobody knows what torchdev wrote: then all are copied.
    """
    known, look, copies = tree.known() or {}, _Look(tree), {}
    for name in names:
        data = look.read(name) if name != LIST else None
        if data is None or hashlib.sha256(data).hexdigest() in known.get(name, ()):
            continue
        if data.replace(b"\r\n", b"\n") != tree.files[name].data:
            copies[name] = tree.copy_of(name, data)
            files.write(copies[name], data)
    return copies


def check(trees: "Iterable[Tree]") -> "list[tuple[Tree, Changes]]":
    """Raise InputError if any generated file is not up to date; returns the changes that are no error."""
    found = [(tree, compare(tree)) for tree in trees]
    for tree, changes in found:
        refuse_blocked(tree, changes)
    stale = [tree.shown(name) for tree, changes in found for name in (*changes.write, *changes.remove)]
    if stale:
        what = f"generated files are out of date ({len(stale)}):\n{few(stale)}"
        raise InputError(what, next_step=RENDER)
    refuse_strays(found)
    return found


def write(trees: "Iterable[Tree]") -> "list[tuple[Tree, Changes]]":
    """Write what differs, and remove what torchdev wrote and no longer generates; returns what was done."""
    found = list(trees)
    for tree in found:
        refuse_blocked(tree, compare(tree))
    return [(tree, update(tree)) for tree in found]


def refuse_strays(found: "Iterable[tuple[Tree, Changes]]") -> None:
    """Raise InputError if files of others are in folders that builds mount as a whole."""
    strays = [tree.shown(name) for tree, changes in found for name in changes.strays]
    if strays:
        what = f"these files are not torchdev's, and builds would take them in:\n{few(strays)}"
        raise InputError(what, next_step="move them away, out of the folders of cells")


def refuse_links(tree: Tree, names: "Collection[str]", command: Command) -> None:
    """Raise InputError if a link or a file is at the path of a folder; a command starts with that path."""
    look = _Look(tree)
    barriers = {name: reason for name in names if (reason := look.barrier(name))}
    refuse_blocked(tree, Changes(blocked=barriers), command)


def refuse_blocked(tree: Tree, changes: Changes, command: Command = RENDER) -> None:
    """Raise InputError if a file that torchdev did not write is at the path of a generated file."""
    if changes.blocked:
        reasons = [f"{tree.shown(name)}: {reason}" for name, reason in changes.blocked.items()]
        what = f"these files can't be written, and nothing was:\n{few(reasons)}"
        raise InputError(what, where=str(tree.root), next_step=("move away what is there, then: ", command))


class _Look:
    """A look at a folder that follows no link; unreadable files are an InputError."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.root = tree.root
        self.barriers: dict[str, str] = {}

    def barrier(self, name: str) -> str:
        """Why a path is not below the folder: a link or a file at the path of one of its folders."""
        parent = name.rpartition("/")[0]
        if parent not in self.barriers:
            above = self.barrier(parent) if parent else ""
            self.barriers[parent] = above or self._barrier_at(parent)
        return self.barriers[parent]

    def _barrier_at(self, folder: str) -> str:
        there, shown = self._lstat(folder), self.tree.shown(folder).rstrip("/")
        if there is None or stat.S_ISDIR(there.st_mode):
            return ""
        return f"{shown} is a link" if stat.S_ISLNK(there.st_mode) else f"{shown} is not a folder"

    def _lstat(self, name: str) -> "os.stat_result | None":
        try:
            return os.lstat(os.path.join(self.root, name) if name else self.root)  # noqa: PTH118 - a Path is slow
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise files.unreadable(self.root / name, error.strerror or str(error)) from None

    def _standing(self, name: str) -> "os.stat_result | None":
        return None if self.barrier(name) else self._lstat(name)

    def read(self, name: str) -> "bytes | None":
        """The content of a plain file; None if there is none."""
        there = self._standing(name)
        return files.read(self.root / name) if there and stat.S_ISREG(there.st_mode) else None

    def same(self, name: str, file: File) -> bool:
        """Whether a file is as it should be."""
        there = self._standing(name)
        if not there or not stat.S_ISREG(there.st_mode) or there.st_size != len(file.data):
            return False
        return (there.st_mode ^ file.mode) & 0o100 == 0 and files.read(self.root / name) == file.data

    def obstacle(self, name: str, file: File, *, ours: bool) -> str:
        """Why a file can't be written; empty if it can. A file that is there is `ours` if the list names it."""
        if barrier := self.barrier(name):
            return barrier
        there = self._lstat(name)
        if there is None:
            return ""
        if not stat.S_ISREG(there.st_mode) and not stat.S_ISLNK(there.st_mode):
            return "a folder is there" if stat.S_ISDIR(there.st_mode) else "what is there is not a file"
        return "" if ours or self.read(name) == file.data else "torchdev did not write the file that is there"

    def fate(self, name: str, hashes: "frozenset[str]", spelled: "dict[str, str]") -> "tuple[bool, str]":
        """Whether a listed file that is generated no longer is to be removed; and why not, if it exists and is not.

        `spelled` has the names of generated files: on file systems that ignore case, one of them may be this file.
        """
        if barrier := self.barrier(name):
            return False, barrier
        there = self._lstat(name)
        if there is None:
            return False, ""
        if not stat.S_ISREG(there.st_mode):
            return False, "it is not a file any more"
        if hashlib.sha256(files.read(self.root / name)).hexdigest() not in hashes:
            return False, "it was changed since it was written"
        alike = self._standing(spelled[name.casefold()]) if name.casefold() in spelled else None
        return not (alike and os.path.samestat(there, alike)), ""

    def edited(self, name: str, hashes: "frozenset[str]") -> bool:
        """Whether a listed file differs from everything that torchdev wrote there."""
        data = self.read(name)
        return data is not None and hashlib.sha256(data).hexdigest() not in hashes

    def among(self, ours: "Collection[str]") -> "tuple[tuple[str, ...], tuple[str, ...]]":
        """The other files in closed folders: those of others, and leftovers of killed runs."""
        strays, leftovers = [], []
        for closed in self.tree.closed:
            for name in () if self.barrier(f"{closed}/") else self._below(closed):
                folder, _, last = name.rpartition("/")
                match = LEFTOVER.fullmatch(last)
                if match and any(own.startswith(f"{folder}/{match['name']}") for own in ours):
                    leftovers.append(name)
                elif name not in ours:
                    strays.append(name)
        return tuple(sorted(strays)), tuple(sorted(leftovers))

    def _below(self, folder: str) -> "Iterator[str]":
        for at, folders, names in os.walk(self.root / folder):
            paths = [Path(at, name) for name in (*names, *folders)]
            yield from (p.relative_to(self.root).as_posix() for p in paths if p.is_symlink() or not p.is_dir())


def _remove_empty(root: Path, name: str) -> None:
    """Remove the folders of a removed file that are empty now."""
    with suppress(OSError):
        for parent in list(PurePosixPath(name).parents)[:-1]:
            (root / parent).rmdir()


def create(made: Files, folder: Path) -> None:
    """Create a folder of files; all of it or nothing. It may exist if it is empty."""
    files.create(folder, {name: (file.data, file.mode) for name, file in made.items()})
