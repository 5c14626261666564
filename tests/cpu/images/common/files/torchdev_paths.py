"""Where this Python looks for modules: PyTorch and CUDA first, in a folder that no installer writes to.

The package `nvidia` has its modules in all folders, those of users' own packages among them. What PyTorch needs of
other packages is found last, where such a package was removed. Imported by every start of Python; runs on every Python
from 3.6.
"""

import os
import site
import sys
from _frozen_importlib_external import PathFinder

FOLDER = "/usr/local/lib/python"
KEPT, NEEDED, PREFIX = FOLDER + "/site-packages", FOLDER + "/needed", FOLDER + "/prefix"
OWN = "/usr/local/lib/python{}.{}/site-packages".format(*sys.version_info)


class Spread:
    """Finds the package nvidia, whose wheels have an empty __init__.py or none, with the folders of all its parts."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """The package itself; any other module, and nvidia where the image has none, is found as usual."""
        spec = PathFinder.find_spec(name, [KEPT]) if name == "nvidia" else None
        if spec:
            parts = (os.path.join(folder, name) for folder in sys.path)
            spec.submodule_search_locations = [part for part in dict.fromkeys(parts) if os.path.isdir(part)]
        return spec


class Needed:
    """Finds what nothing else has found."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """A top-level module of the folder of needed ones; others have been searched for in their packages."""
        return None if path else PathFinder.find_spec(name, [NEEDED])


if OWN in sys.path and KEPT in sys.path:
    sys.path.remove(KEPT)
    sys.path.insert(sys.path.index(OWN), KEPT)
sys.meta_path.insert(0, Spread)
sys.meta_path.append(Needed)
# For site.getsitepackages(), in which other packages look for the libraries of nvidia-*.
site.PREFIXES.append(PREFIX)
