"""Commands of build.py that messages name, written so that they work when they are typed. Standard library alone."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

WITHOUT_MATRIX = frozenset({"doctor", "catalog", "check"})
"""The commands that read no matrix file."""


@dataclass
class Started:
    """How this process was started: the words before the command, and a matrix file other than the checkout's."""

    program: "tuple[str, ...]" = ("python", "build.py")
    matrix_file: str = ""
    entered: bool = False
    """Whether this process has gone on in .venv already."""


STARTED = Started()
"""How this process was started, which commands for the user to type repeat."""


@dataclass(frozen=True)
class Command:
    """A command of build.py with its arguments; as text it has this run's interpreter, build.py and matrix file."""

    words: "tuple[str, ...]"

    def __str__(self) -> str:
        command, others = self.words[0], self.words[1:]
        usual = command == "build" and others and not others[0].startswith("-")
        return written([*STARTED.program, *(() if usual else (command,)), *self._matrix(), *others])

    def _matrix(self) -> "list[str]":
        file = STARTED.matrix_file
        if not file or self.words[0] in WITHOUT_MATRIX or "--help" in self.words:
            return []
        return [f"--matrix-file={file}"] if file.startswith("-") else ["--matrix-file", file]


def build_py(*words: str) -> Command:
    """A command of build.py: its name, and the words after that."""
    return Command(words)


def written(words: "Sequence[str]") -> str:
    """Words quoted for a shell, in one line, whatever they contain."""
    return " ".join(shlex.quote(word) if word.isprintable() else _escaped(word) for word in words)


def _escaped(word: str) -> str:
    """A word with control characters, or bytes that are not UTF-8, in shell quotes with escapes."""
    return "$'" + "".join(_character(character) for character in word) + "'"


def _character(character: str) -> str:
    if character in ("\\", "'"):
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))
