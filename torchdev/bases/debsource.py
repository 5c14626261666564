"""The Debian source that a Python was compiled from, and the one that Debian names as current: message and labels.
Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torchdev.util.errors import BuildError
from torchdev.util.texts import DEBIAN_VERSION, SUITE, NotOfKind

SOURCE_LABEL, NOTICE_LABEL = "io.torchdev.bootstrap.source", "io.torchdev.bootstrap.source.notice"
"""Labels of a substitute: the version it was compiled from; a notice if a newer version was named but missing."""
OF_IMAGE = {SOURCE_LABEL: "io.torchdev.base.python.source", NOTICE_LABEL: "io.torchdev.base.python.source.notice"}
"""The same labels on an image that is built on the substitute."""


@dataclass(frozen=True)
class Source:
    """What fetch-source found: the version taken, the newest one that an index names, suites that could not be read."""

    taken: str
    named: str
    unread: tuple[str, ...] = ()

    @property
    def notice(self) -> str:
        """A notice, in one sentence, if a newer source was named or a suite could not be read; else empty."""
        parts = []
        if self.named != self.taken:
            parts.append(
                f"Debian names {self.named}, which the mirror does not have; {self.taken} was compiled instead"
            )
        if self.unread:
            parts.append(f"{', '.join(self.unread)} could not be read, and may name a newer version")
        return "; ".join(parts)

    @property
    def labels(self) -> "dict[str, str]":
        """The labels of a substitute that is compiled from this source."""
        return {SOURCE_LABEL: self.taken} | ({NOTICE_LABEL: self.notice} if self.notice else {})


def parse(text: str) -> Source:
    """Parse what fetch-source wrote; BuildError if it is malformed."""
    found = dict(line.partition(" ")[::2] for line in text.splitlines())
    try:
        unread = tuple(SUITE.of(suite) for suite in found["unread"].split())
        return Source(DEBIAN_VERSION.of(found["taken"]), DEBIAN_VERSION.of(found["named"]), unread)
    except (KeyError, NotOfKind) as error:
        raise BuildError(f"fetch-source did not say what it took: {error}") from None


def had(labels: "Mapping[str, str]") -> str:
    """The version that a substitute was compiled from, by its labels; empty if they do not say."""
    version = labels.get(SOURCE_LABEL, "")
    return version if DEBIAN_VERSION.matches(version) else ""


def of_image(labels: "Mapping[str, str]") -> "dict[str, str]":
    """The labels that an image gets from the substitute of its Python."""
    return {name: labels[own] for own, name in OF_IMAGE.items() if own in labels}
