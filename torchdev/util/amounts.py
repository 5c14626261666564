"""Bytes and seconds: as programs print them, read; and written for people."""

import re

POWERS = " KMGTP"


def read_bytes(text: str) -> int:
    """Bytes of a text such as `1.2GB`, `512 MiB`, `0B`, as Docker and BuildKit print them; 0 for another text."""
    found = re.fullmatch(r"([0-9.]+) ?([kKMGTP]?)(i?)B", text.strip())
    if not found:
        return 0
    number, power, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** POWERS.index(power.upper() or " "))


def size(count: float) -> str:
    """Bytes for people."""
    for unit, power in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= power * 0.9995:
            return f"{count / power:.{2 if unit == 'GB' else 0}f} {unit}"
    return f"{count:.0f} B"


def rate(count: float, seconds: float) -> str:
    """How fast so many bytes moved, to end a line with; nothing of what took less than a second."""
    return f", {size(count / seconds)}/s" if seconds >= 1 else ""


def clock(seconds: float) -> str:
    """A duration for people."""
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes}:{whole % 60:02}" if minutes else f"{whole} s"
