"""Holds every installed file against the RECORD of its wheel: JSON on standard output. Runs on every Python from 3.6.

An argument --rows adds the rows of every RECORD, to be held against the wheels themselves. Arguments after it are globs
of libraries below site-packages: added is, for each, the sha256 of what a loader maps of it.
"""

import base64
import csv
import glob
import hashlib
import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import elf

SITE = "/usr/local/lib/python/site-packages"
PACKAGES = "/usr/local/lib/python/packages"
KEPT = "/usr/local/share/torchdev/records/"
"""RECORDs of what the guard keeps, which lies below SITE; others are among PACKAGES, as installers have left them."""
OWN = (
    PACKAGES + "/zzz-torchdev.pth",
    SITE + "/torchdev_paths.py",
    SITE + "/torchdev_pip.py",
    SITE + "/pip/__init__.py",
)
"""What the guard itself has put there (docs/decisions/0011-the-guard.md)."""


def source_of(bytecode):
    """Where the source of a file in a __pycache__ is; importlib refuses names with one more dot."""
    folder, name = os.path.split(os.path.dirname(bytecode))[0], os.path.basename(bytecode)
    return os.path.join(folder, re.sub(r"\.cpython-\d+(\.opt-\d)?\.pyc$", ".py", name))


def digest(path):
    """sha256 of a file as RECORD writes it (PEP 376, 427)."""
    found = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            found.update(block)
    return "sha256=" + base64.urlsafe_b64encode(found.digest()).rstrip(b"=").decode()


def rows_of_records():
    """Folder of metadata to the rows (path, hash, size) of its RECORD, with paths that are whole."""
    found = {}
    for record in sorted(glob.glob(PACKAGES + "/*.dist-info/RECORD") + glob.glob(KEPT + "*.csv")):
        kept = record.startswith(KEPT)
        info = os.path.basename(record)[:-4] + ".dist-info" if kept else os.path.basename(os.path.dirname(record))
        with open(record, newline="", encoding="utf-8") as file:
            rows = [row[:3] for row in csv.reader(file)]
        site = SITE if kept else PACKAGES
        found[info] = [[os.path.normpath(os.path.join(site, row[0]))] + row[1:] for row in rows]
    return found


def in_wheel(path):
    """How a wheel's own RECORD would name an installed file."""
    folder = PACKAGES if path.startswith(PACKAGES + "/") else SITE
    return os.path.relpath(path, folder)


def unlisted(listed):
    """Files of both folders that no RECORD lists; bytecode counts by its source."""
    found = []
    for folder, _, names in (one for site in (SITE, PACKAGES) for one in os.walk(site)):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.basename(folder) == "__pycache__":
                path = source_of(path)
            if path not in listed and path not in OWN:
                found.append(os.path.join(folder, name))
    return sorted(found)


def main():
    """Compare, and print what differs."""
    records = rows_of_records()
    wanted, owners, unhashed = {}, {}, []
    for info, rows in records.items():
        for path, sha256, _ in rows:
            wanted.setdefault(path, set())
            owners[path] = info
            if sha256:
                wanted[path].add(sha256)
            elif not path.endswith(("/RECORD", ".pyc")):
                unhashed.append(info + ": " + path)
    there = [path for path in wanted if os.path.isfile(path)]
    with ThreadPoolExecutor(2) as pool:
        digests = dict(zip(there, pool.map(digest, there)))
    gone = [[owners[path], path] for path in wanted if path not in digests and not path.endswith(".pyc")]
    result = {
        "files": len(there),
        # Bytecode that a wheel brings (numpy 2.0.2 has one) is compiled anew, and held to its source by another check.
        "changed": sorted(p for p, found in digests.items() if wanted[p] - {found} and not p.endswith(".pyc")),
        "gone": sorted(gone),
        "unlisted": unlisted(wanted),
        "unhashed": unhashed,
        "unrecorded": sorted(
            os.path.basename(path)
            for path in glob.glob(PACKAGES + "/*.dist-info") + glob.glob(SITE + "/*.dist-info")
            if os.path.basename(path) not in records
        ),
    }
    if "--rows" in sys.argv:
        result["rows"] = {info: [[in_wheel(row[0])] + row[1:] for row in rows] for info, rows in records.items()}
        libraries = {path for pattern in sys.argv[2:] for path in glob.glob(os.path.join(SITE, pattern))}
        result["loaded"] = {os.path.relpath(path, SITE): elf.loaded(path) for path in sorted(libraries)}
    json.dump(result, sys.stdout)


main()
