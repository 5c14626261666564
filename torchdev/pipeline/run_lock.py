"""Run locks, by which one run at a time works on a cell; and no more cells are built at once than the disk holds."""

import contextlib
import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from torchdev.util import process
from torchdev.util.errors import BuildError
from torchdev.wheels import variables

POLL = 0.5
"""Seconds between two tries to get a run lock, so that an interrupt is noticed soon."""
RESERVE = 2_000_000_000
"""Bytes of the engine's disk that are kept free."""


def cache_folder(engine_id: str) -> Path:
    """The folder of run locks of this user's runs against one engine."""
    folder = variables.cache_root(os.environ) / engine_id.replace(":", "")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(folder: Path, name: str, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a run lock. The kernel releases it when the run ends, even by kill -9. `waiting` is called before a wait."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name.replace('/', '_')}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            _wait_for(file)
        yield


def _wait_for(file: IO[str]) -> None:
    while True:
        process.pause(POLL)
        with contextlib.suppress(BlockingIOError):
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Disk:
    """The engine's disk, shared by the cells that are built at once; at most `limit` bytes may be written.

    The disk of a remote engine can't be seen: then the limit alone counts, and without a limit there is room for
    everything. Running cells are counted twice, as reserved and as used, so the estimate errs on the safe side.
    """

    def __init__(self, root: "Path | None", limit: "int | None" = None) -> None:
        self._root = root
        self._limit = limit
        self._kept = RESERVE if limit is None or not root else max(RESERVE, self._free() - limit)
        self._promised = 0
        self._changed = threading.Condition()

    @contextmanager
    def room(self, cell: str, needed: int) -> Iterator[None]:
        """Wait until `needed` bytes are free; BuildError if they are not although no other cell is being built."""
        with self._changed:
            while not self._fits(needed):
                if not self._promised:
                    raise BuildError(
                        self._refusal(needed), where=cell, next_step="docker system df; docker system prune"
                    )
                self._changed.wait(POLL)
                process.pause(0)
            self._promised += needed
        try:
            yield
        finally:
            with self._changed:
                self._promised -= needed
                self._changed.notify_all()

    def keep(self, count: int) -> None:
        """Note bytes that were written and stay, in case the disk itself can't be seen."""
        if self._root is None and self._limit is not None:
            self._limit = max(0, self._limit - count)

    def left(self) -> "int | None":
        """Bytes that may be written now; None if that is not known."""
        return self._limit if self._root is None else max(0, self._free() - self._kept)

    def _fits(self, needed: int) -> bool:
        left = self.left()
        return left is None or left - self._promised >= needed

    def _free(self) -> int:
        return shutil.disk_usage(self._root or "/").free

    def _refusal(self, needed: int) -> str:
        return (
            f"the disk is too small: {(self.left() or 0) / 1e9:.1f} GB may be written"
            f"{f' of {self._free() / 1e9:.1f} GB free at {self._root}' if self._root else ''}, "
            f"{needed / 1e9:.1f} GB needed"
        )
