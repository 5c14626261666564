"""RECORD, in which an installed wheel says what its files are (PEP 376, 427). Runs on every Python from 3.6."""

import base64
import hashlib
import re


def digest(path):
    """sha256 of a file, as RECORD writes it."""
    found = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            found.update(block)
    return "sha256=" + base64.urlsafe_b64encode(found.digest()).rstrip(b"=").decode()


def vouch(site, path):
    """Put the present hash and size of a file below site-packages into the RECORD that lists it."""
    name = path.relative_to(site).as_posix()
    line = f"{name},{digest(path)},{path.stat().st_size}"
    for record in site.glob("*.dist-info/RECORD"):
        text = record.read_text(encoding="utf-8")
        changed = re.sub(rf"(?m)^{re.escape(name)},.*$", line, text)
        if changed != text:
            record.write_text(changed, encoding="utf-8")
