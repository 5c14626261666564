"""Shows the progress of a run: drawn on a terminal that can, else as a line for each layer that was made."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torchdev.pipeline.progress import Event, Progress, advance, lines, live, told
from torchdev.util.terminal import drawable, printable

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

REDRAWN = 4
"""Times a second."""


class Display:
    """Receives events and messages from any thread; `say` prints a message where nothing is drawn."""

    def __init__(self, say: "Callable[[str], None]") -> None:
        self._say = say
        self._progress = Progress()
        self._lock = threading.RLock()
        self._live: Live | None = None

    def note(self, event: Event) -> None:
        """Receive an event."""
        now = time.monotonic()
        with self._lock:
            said = [] if self._live else told(self._progress, event, now)
            self._progress = advance(self._progress, event, now)
        for line in said:
            self.say(line)

    def say(self, text: str) -> None:
        """Print a message, above the view if there is one."""
        with self._lock:
            if self._live:
                self._live.console.print(printable(text), soft_wrap=True, markup=False)
            else:
                self._say(text)

    @contextmanager
    def drawn(self, drawing: bool) -> Iterator[None]:
        """Draw while this context is open, if wanted; afterwards the view is removed and the cursor restored."""
        if not drawing:
            yield
            return
        from rich.console import Console  # imported only for drawing, because it takes a while
        from rich.live import Live

        console = Console(file=drawable(sys.stderr), highlight=False)
        # Streams are not redirected, because rich would interpret what other threads print.
        view = Live(
            console=console,
            get_renderable=self._view,
            refresh_per_second=REDRAWN,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        with view:
            self._live = view
            try:
                yield
            finally:
                with self._lock:
                    self._live = None

    def _view(self) -> "Group":
        from rich.console import Group
        from rich.text import Text

        height = max(3, (self._live.console.height if self._live else 25) // 2)
        with self._lock:
            rows = lines(self._progress, time.monotonic(), height)
        return Group(*(Text(printable(row), no_wrap=True, overflow="ellipsis") for row in rows))


@contextmanager
def shown(say: "Callable[[str], None]", *, verbose: bool) -> Iterator[Display]:
    """A display on standard error; with `verbose`, BuildKit's log is printed there and nothing is drawn."""
    display = Display(say)
    with display.drawn(not verbose and live(sys.stderr.isatty(), os.environ)):
        yield display
