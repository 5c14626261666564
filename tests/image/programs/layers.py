"""Searches the layers of an image, mounted under /layers, for texts and for what builds leave behind.

Texts are in /opt/texts/texts.json, and what to look for is told by their numbers, so that no secret is printed.
"""

import json
import os
import re
import sys

SMALL = 1 << 20
"""Bytes; larger files are searched if they are text."""
LEFT = re.compile(
    r"^((root|home/[^/]+)/\.(cache|config|netrc|pip|uv)(/|$)"
    r"|\.uv-cache/|tmp/.|var/tmp/.|var/log/.|run/secrets/|var/lib/apt/lists/."
    r"|var/cache/apt/(archives/[^/]+\.deb|[^/]+\.bin)$|etc/uv/|etc/pip\.conf$)"
)


def searched(file, size):
    """The content of an open file that is small or text; nothing of others. It is read from where it stands, once."""
    head = file.read(SMALL)
    return head + file.read() if size > SMALL and b"\0" not in head[:4096] else head if size <= SMALL else b""


def look(found, texts, layer, inner, file, size):
    """Note one file of a layer: its path, if a build has left it behind, and the numbers of the texts that it holds."""
    found["files"] += 1
    # Empty ones may stay: a log of the base is emptied, since a layer records when a lower file was removed.
    if size and LEFT.match(inner):
        found["left"].append([layer, inner])
    content = searched(file, size)
    found["texts"] += [[number, layer, inner] for number, text in enumerate(texts) if text in content]


def main():
    """Walk every layer, and print what was found."""
    with open("/opt/texts/texts.json", encoding="utf-8") as file:
        texts = [text.encode() for text in json.load(file)]
    found = {"files": 0, "left": [], "texts": []}
    for folder, _, names in os.walk("/layers"):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            layer, _, inner = os.path.relpath(path, "/layers").partition("/")
            with open(path, "rb") as file:
                look(found, texts, layer, inner, file, os.path.getsize(path))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
