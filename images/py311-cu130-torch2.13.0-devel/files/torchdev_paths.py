"""Where this Python looks for modules: PyTorch and CUDA first, in a folder that no installer writes to.

What PyTorch needs of other packages is found last, where such a package was removed. Imported by every start of Python;
runs on every Python from 3.6.
"""

import site
import sys
from _frozen_importlib_external import PathFinder

FOLDER = "/usr/local/lib/python"
KEPT, NEEDED, PREFIX = FOLDER + "/site-packages", FOLDER + "/needed", FOLDER + "/prefix"
OWN = "/usr/local/lib/python{}.{}/site-packages".format(*sys.version_info)


class Needed:
    """Finds what nothing else has found."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """A top-level module of the folder of needed ones; others have been searched for in their packages."""
        return None if path else PathFinder.find_spec(name, [NEEDED])


if OWN in sys.path and KEPT in sys.path:
    sys.path.remove(KEPT)
    sys.path.insert(sys.path.index(OWN), KEPT)
sys.meta_path.append(Needed)
# For site.getsitepackages(), in which other packages look for the libraries of nvidia-*.
site.PREFIXES.append(PREFIX)
