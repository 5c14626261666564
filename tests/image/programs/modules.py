"""Imports every extension module of the standard library, and asks every libcudnn for its version: JSON.

Runs on every Python from 3.6.
"""

import ctypes
import glob
import importlib
import json
import os
import sys
import sysconfig

NEEDED = (
    "bz2", "ctypes", "curses", "decimal", "hashlib", "lzma", "pyexpat", "readline",
    "sqlite3", "ssl", "uuid", "zlib", "_ctypes", "_uuid",
)  # fmt: skip
"""What a Python lacks that was compiled without a library."""
NOT_SHIPPED = {"_tkinter"}
"""The official slim images have the module and not the Tk that it needs."""


def extension_modules():
    """Name to what went wrong on import, None if nothing did."""
    folder = os.path.join(os.path.dirname(sysconfig.get_path("stdlib")), "python{}.{}".format(*sys.version_info[:2]))
    names = {os.path.basename(path).split(".")[0] for path in glob.glob(folder + "/lib-dynload/*.so")}
    found = {}
    for name in sorted((names - NOT_SHIPPED) | set(NEEDED)):
        try:
            importlib.import_module(name)
            found[name] = None
        except Exception as error:
            found[name] = repr(error)
    return found


def cudnn_versions():
    """Path of each libcudnn to what its cudnnGetVersion answers; None where it exports none."""
    found = {}
    site = "/usr/local/lib/python/site-packages"
    paths = [os.path.join(folder, name) for folder, _, names in os.walk(site) for name in names]
    import torch  # noqa: F401 - loads the CUDA libraries that old libcudnn files look for

    for path in sorted(path for path in paths if os.path.basename(path).startswith("libcudnn") and ".so" in path):
        try:
            found[path] = int(ctypes.CDLL(path).cudnnGetVersion())
        except AttributeError:
            found[path] = None
        except OSError as error:
            found[path] = str(error)
    return found


json.dump({"modules": extension_modules(), "cudnn": cudnn_versions()}, sys.stdout)
