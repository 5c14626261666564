"""The image's pip, as is, but for two things that it is told first, by variables: that it may install into this Python
(PEP 668), and the bounds that keep PyTorch, beside users' own bounds; torchdev_pip says what these bind, and why. Runs
on every Python from 3.6.

Python finds this module before pip itself, however pip is called, and whatever version of it is installed.
"""

import os
import sys

_BOUNDS = "/usr/local/share/torchdev/constraints.txt"


def _find():
    """The folder of pip itself, which is found after this module."""
    here = os.path.realpath(os.path.dirname(os.path.dirname(__file__)))
    for folder in sys.path:
        path = os.path.join(folder or os.getcwd(), "pip")
        if os.path.realpath(folder) != here and os.path.isfile(os.path.join(path, "__init__.py")):
            return path
    raise ModuleNotFoundError("No module named 'pip': python -m ensurepip installs it", name="pip")


def _configured():
    """The files with bounds that pip would read, by variables, or by pip.conf where no variable is set."""
    named = os.environ.get("PIP_CONSTRAINT")
    if named is not None:
        return named.split()
    try:
        from pip._internal.configuration import Configuration

        configuration = Configuration(isolated=False)
        configuration.load()
        settings = {}
        for name, value in configuration.items():  # of each file, in newer pips, or of all together
            settings.update(value if isinstance(value, dict) else {name: value})
    except Exception as error:
        print("pip: the bounds of pip.conf are not read: {}".format(error), file=sys.stderr)
        return []
    return [file for key in ("global.constraint", "install.constraint") for file in settings.get(key, "").split()]


__path__ = [_find()]
__file__ = os.path.join(__path__[0], "__init__.py")
with open(__file__, encoding="utf-8") as _file:
    exec(compile(_file.read(), __file__, "exec"))
if sys.prefix == sys.base_prefix and _BOUNDS not in os.environ.get("PIP_CONSTRAINT", "").split():
    os.environ["PIP_CONSTRAINT"] = " ".join(_configured() + [_BOUNDS])
    os.environ["PIP_BREAK_SYSTEM_PACKAGES"] = "1"
    import torchdev_pip

    sys.meta_path.insert(0, torchdev_pip.Changed)
