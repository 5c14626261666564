"""What the doctor says: one finding a subject, or more."""

import collections

OK, NOTE, LIMIT, FAULT = "ok", "note", "can't", "fault"
"""It works; it is not as the image came, and works; it can't be, as this container was started; it is broken."""

Finding = collections.namedtuple("Finding", "level subject what next")
"""`next` is what to do about it, empty where there is nothing to do."""
BUSY = "if this machine is busy: torchdev-doctor --wait 30"
"""What to do where something had no answer in time."""


def ok(subject, what, step=""):
    """What works."""
    return Finding(OK, subject, what, step)


def note(subject, what, step=""):
    """What is not as the image came, and works."""
    return Finding(NOTE, subject, what, step)


def limit(subject, what, step=""):
    """What this container can't do."""
    return Finding(LIMIT, subject, what, step)


def fault(subject, what, step=""):
    """What is broken."""
    return Finding(FAULT, subject, what, step)
