#!/usr/bin/env python3
"""torchdev's command line starts here; older Pythons read this file, too: to be told so."""

import signal
import sys

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until faults.ended listens: imports take a while

if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts this may have an older one
    older = "error: {} is Python {}.{}; torchdev needs 3.11 or newer\n  next: start it with one, as {}; {}\n"
    move = "if this is the Python of .venv, move .venv away before"
    sys.stderr.write(older.format(sys.executable, *sys.version_info[:2], "python3.11 build.py", move))
    sys.exit(2)

from pathlib import Path

ROOT = Path(__file__).resolve().parent
if str(ROOT) not in sys.path:  # python -P and -I leave the folder of a program out
    sys.path.insert(0, str(ROOT))

from torchdev.cli import main  # noqa: E402 - found by the line above

if __name__ == "__main__":
    main.start(ROOT)
