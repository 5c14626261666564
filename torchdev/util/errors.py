"""Failures that a user can act on: what went wrong, where, and the command to run next."""

from enum import IntEnum

from torchdev.util.commands import Command

Step = str | Command | tuple[str | Command, ...]
"""What to do next: a sentence, a command, or a sentence in parts, some of which are commands."""


class Exit(IntEnum):
    """Exit codes of build.py; distinct, so that a script can tell what kind of thing went wrong."""

    OK = 0
    NO = 1
    """The answer of explain is no."""
    INPUT = 2
    """matrix.yaml, a cell name, a lock or a generated file is invalid, or the machine refuses to read or write a file.
    """
    BUILD = 3
    """The engine could not build an image, or a lock could not be resolved."""
    CHECK = 4
    """An image was built, but a check of it failed."""
    ENGINE = 5
    """There is no Docker Engine to talk to, or it lacks something that was asked for; doctor: something is missing."""
    FAULT = 70
    """A fault of torchdev itself; a log with the traceback is named."""
    INTERRUPTED = 130
    CLOSED = 141
    """The reader of the output is gone, as `head` is when it has enough."""


class TorchdevError(Exception):
    """One failure: what happened, where (a file with line and column, or a cell), and what to do next.

    A next step that is a command of build.py is given as one (torchdev.util.commands), so that it works when it is
    typed.
    """

    code: Exit = Exit.INPUT

    def __init__(self, what: str, *, where: str = "", next_step: Step = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.steps = next_step if isinstance(next_step, tuple) else (next_step,)

    @property
    def next_step(self) -> str:
        """The next step as text; empty if nothing helps."""
        return "".join(map(str, self.steps))

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        return f"{where}{self.what}" + (f"\n  next: {self.next_step}" if self.next_step else "")


class InputError(TorchdevError):
    """The user's input is invalid."""

    code = Exit.INPUT


class BuildError(TorchdevError):
    """A lock could not be resolved or an image could not be built."""

    code = Exit.BUILD


class EngineError(TorchdevError):
    """The Docker Engine is missing, unreachable, or lacks a feature."""

    code = Exit.ENGINE


class GpuError(EngineError):
    """The engine gives containers no GPU."""
