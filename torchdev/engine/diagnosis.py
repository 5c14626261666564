"""Explains the log of a failed build: the cause, and what to do about it."""

import re
from collections.abc import Iterator
from pathlib import Path

from torchdev.util.commands import Command, build_py, written
from torchdev.util.errors import BuildError, Step

CELL = "CELL"
LONGEST = 180
"""Longer lines of a log are cut to so many characters in a message."""
REMEDIES = (
    (("no space left on device",), "the disk is full", "docker system df; docker builder prune; df -h"),
    (
        ("Hash mismatch", "hash mismatch", "DO NOT MATCH THE HASHES"),
        "a wheel is not the one that was locked: its hash differs",
        ("find out which side changed; if the index is right: ", build_py("lock", CELL)),
    ),
    (
        (
            "dns error",
            "Failed to fetch",
            "Temporary failure resolving",
            "Could not resolve",
            "timed out",
            "Connection refused",
            "NewConnectionError",
        ),
        "a package index or Debian mirror could not be reached from the build",
        ("check proxies (HTTPS_PROXY) and the index (pip config list); then ", build_py("doctor")),
    ),
    (("401 Unauthorized", "403 Forbidden"), "a package index refused access", "check the credentials of the index"),
    (
        ("failed to resolve source metadata", "failed to do request", "pull access denied"),
        "a base image could not be pulled",
        build_py("bootstrap", CELL),
    ),
    (("Cannot connect to the Docker daemon",), "no Docker Engine answers", "systemctl start docker"),
)
"""Patterns of BuildKit's log, with cause and remedy; CELL stands for the cell. The first match counts."""


def explain(cell: str, text: str, log: Path) -> BuildError:
    """A failed build as one message: the cause, the last lines of the log, and the next command."""
    failure = _failing_step([line for line in text.splitlines() if line.strip()])
    refused, remedy = (_said(word, failure) for word in ("refused", "next"))
    if refused:
        return BuildError(f"{refused}{_at(log)}", where=cell, next_step=remedy)
    for signs, what, step in REMEDIES:
        line = next((line for line in failure if any(sign.lower() in line.lower() for sign in signs)), None)
        if line:
            told = f"{what}\n  {line.strip()}{_at(log)}"
            return BuildError(told, where=cell, next_step=tuple(_for(cell, step)))
    tail = "\n".join(f"  {line}" for line in [_short(line) for line in dict.fromkeys(failure)][-12:])
    return BuildError(f"the build failed\n{tail}", where=cell, next_step=f"read {written([str(log)])}")


def _for(cell: str, step: Step) -> "Iterator[str | Command]":
    """A remedy in which the commands name the cell."""
    for part in step if isinstance(step, tuple) else (step,):
        if isinstance(part, Command):
            yield Command(tuple(cell if word == CELL else word for word in part.words))
        else:
            yield part


def _at(log: Path) -> str:
    return f"\n  log: {written([str(log)])}"


def _short(line: str) -> str:
    """A line, shortened to one or two lines of a terminal: the end of a long instruction tells most."""
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 3]} ... {line[-LONGEST * 2 // 3 :]}"


def _said(word: str, lines: "list[str]") -> str:
    """The message of a step's own script, in a line that begins with `refused:` or `next:`."""
    found = (re.match(rf"#[0-9]+ [0-9.]+ {word}: (.+)", line) for line in lines)
    return next((match[1].strip() for match in found if match), "")


def _failing_step(lines: "list[str]") -> "list[str]":
    """The lines of the log that belong to failed steps, and the closing one; all lines if no step failed.

    BuildKit repeats the output of a failed step at the end, but truncates it at times, so that part is not used.
    """
    failed = tuple(f"{line.split()[0]} " for line in lines if re.match(r"#[0-9]+ ERROR: ", line))
    return [line for line in lines if line.startswith((*failed, "ERROR: "))] if failed else lines
