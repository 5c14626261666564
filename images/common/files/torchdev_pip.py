"""What pip of the image's own Python does otherwise than pip elsewhere, module by module of pip, as pip imports them.

- Bounds are for what is installed into this Python, and for nothing else: not for `pip download`, other folders, other
  Pythons, or the environments in which packages are built.
- The resolver is asked first for the newest releases, as if PyTorch were free. Where they want another PyTorch than the
  image's, pip says which, as uv here does, instead of going back to a release from before anyone wrote bounds.
- What the image keeps is installed, also where pip is told to ignore what is (-I), or to install it again.

Where another version of pip has no such modules, the bounds hold for all that it does. Runs on every Python from 3.6.
"""

import copy
import os
import re
import sys
from _frozen_importlib_external import PathFinder

BOUNDS = "/usr/local/share/torchdev/constraints.txt"
OWN = ("/usr/local/lib/python/", "/usr/local/lib/python{}.{}/".format(*sys.version_info))
NOTE = "Name a release that takes it; or take another PyTorch in an environment of your own:"
AGAIN = "this image keeps {} {}: leave out what installs it again; or have it in an environment of your own:"
OTHER = "python -m venv --system-site-packages ~/env && . ~/env/bin/activate"


class Changed:
    """Finds modules of pip that are changed once they are imported."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """A module of pip's own, which is then told apart."""
        change = CHANGES.get(name)
        spec = PathFinder.find_spec(name, path) if change else None
        if spec:
            load = spec.loader.exec_module

            def exec_module(module):
                load(module)
                change(module)

            spec.loader.exec_module = exec_module
        return spec


def unbound_environment():
    """Take the bounds out of the variable, for the processes that pip starts."""
    rest = [file for file in os.environ.get("PIP_CONSTRAINT", "").split() if file != BOUNDS]
    if rest:
        os.environ["PIP_CONSTRAINT"] = " ".join(rest)
    else:
        os.environ.pop("PIP_CONSTRAINT", None)


def change_main(module):
    """`pip --python OTHER` starts pip in another Python, which has bounds of its own, or none."""
    ask = getattr(module, "identify_python_interpreter", None)

    def identify(python):
        found = ask(python)
        if found and not same_python(found):
            unbound_environment()
        return found

    if ask:
        module.identify_python_interpreter = identify


def same_python(path):
    """Whether a program is this Python, in this environment: those of others are links to the same file."""
    return os.path.realpath(os.path.dirname(path)) == os.path.realpath(os.path.dirname(sys.executable))


def change_commands(module):
    """Commands know where they install once they have read their options."""
    get = module.RequirementCommand.get_requirements

    def get_requirements(self, args, options, finder, session):
        unbound_environment()
        if not installs_here(self.name, options):
            options.constraints = [file for file in options.constraints if file != BOUNDS]
        finder.torchdev_bounds = BOUNDS in options.constraints
        return get(self, args, options, finder, session)

    module.RequirementCommand.get_requirements = get_requirements


def installs_here(command, options):
    """Whether a command changes what this Python finds: by its scheme, or by naming one of its folders."""
    if command != "install":
        return False
    target, root, prefix = (getattr(options, name, None) for name in ("target_dir", "root_path", "prefix_path"))
    if target:
        return (os.path.realpath(target) + "/").startswith(OWN)
    if root and os.path.realpath(root) != "/":
        return False
    return not prefix or os.path.realpath(prefix) == os.path.realpath(sys.prefix)


class Release:
    """The image's own release of a project, as a requirement of pip's looks at it."""

    def __init__(self, requirement, version):
        self.name, self.project_name, self.version = requirement.name, requirement.project_name, version


def kept():
    """Name to version of what the image keeps; nothing where torchdev-unguard has been."""
    from pip._vendor.packaging.version import Version

    with open(BOUNDS, encoding="utf-8") as file:
        pairs = (line.split()[0].split("===") for line in file if "===" in line and not line.startswith("#"))
        return {name: Version(version) for name, version in pairs}


def freed(provider, own):
    """A provider like pip's, to which what the image keeps is no matter."""
    free = copy.copy(provider)
    vars(free).update(
        {key: copy.copy(value) for key, value in vars(provider).items() if isinstance(value, (dict, set))}
    )
    for name in own:
        free._constraints.pop(name, None)
    free.get_dependencies = lambda candidate: without(own, provider.get_dependencies(candidate))
    return free


def without(own, requirements):
    """Requirements of projects that the image does not keep."""
    return [requirement for requirement in requirements if requirement.project_name not in own]


def wants(provider, candidate, own):
    """What a release wants of projects that the image keeps, and can't have."""
    for requirement in provider.get_dependencies(candidate):
        version = own.get(requirement.project_name)
        if version and not requirement.is_satisfied_by(Release(requirement, version)):
            yield "{} {} wants {}, and this image keeps {} {}".format(
                candidate.project_name,
                candidate.version,
                str(requirement).partition(";")[0].strip(),
                requirement.project_name,
                version,
            )


def conflicts(module, provider, requirements, rounds):
    """Of the newest releases that fit together, what they want of PyTorch and can't have; none if that is not known."""
    from pip._vendor.resolvelib import BaseReporter, Resolver

    try:
        if not provider._factory._finder.torchdev_bounds:
            return []
        own = kept()
        free = Resolver(freed(provider, own), BaseReporter())
        found = free.resolve(without(own, requirements), max_rounds=rounds).mapping.values()
        return sorted({line for one in found if not one.is_installed for line in wants(provider, one, own)})
    except Exception:  # that nothing fits, or what else is wrong, pip itself is about to say
        return []


def change_factory(module):
    """Let candidates of what the image keeps be the installed ones alone."""
    search = module.Factory._iter_found_candidates

    def _iter_found_candidates(self, ireqs, *args, **options):
        own = kept_distributions(self).get(canonical(ireqs[0].req.name)) if ireqs else None
        if own is None:
            return search(self, ireqs, *args, **options)
        before = self._force_reinstall, self._installed_dists
        self._force_reinstall, self._installed_dists = False, {own.canonical_name: own}
        try:
            return search(self, ireqs, *args, **options)
        finally:
            self._force_reinstall, self._installed_dists = before

    module.Factory._iter_found_candidates = _iter_found_candidates


def canonical(name):
    """The normalized name of a project (PEP 503)."""
    return re.sub("[-_.]+", "-", name).lower()


def kept_distributions(factory):
    """Name to distribution of what the image keeps, as pip sees it installed; nothing where the bounds do not hold."""
    if not hasattr(factory, "torchdev_kept"):
        from pip._internal.metadata import get_default_environment

        own = kept() if getattr(factory._finder, "torchdev_bounds", False) else {}
        every = get_default_environment().iter_installed_distributions(local_only=False) if own else ()
        factory.torchdev_kept = {one.canonical_name: one for one in every if one.canonical_name in own}
    return factory.torchdev_kept


def installed_again(factory, candidates):
    """Of what the image keeps, a release that pip would write over it: one that is named by its file or address."""
    for one in candidates:
        own = kept_distributions(factory).get(one.project_name)
        if own and not one.is_installed and (factory._force_reinstall or not factory._installed_dists):
            return AGAIN.format(own.canonical_name, own.version)
    return None


def change_resolver(module):
    """Let the resolver be asked for the newest releases first."""
    from pip._internal.exceptions import InstallationError

    class Resolver(module.RLResolver):
        """pip's own, which resolves if the newest releases take the image's PyTorch."""

        def resolve(self, requirements, max_rounds=100):
            requirements = list(requirements)
            found = conflicts(module, self.provider, requirements, max_rounds)
            if found:
                raise InstallationError("\n  ".join(found + [NOTE, OTHER]))
            result = super().resolve(requirements, max_rounds=max_rounds)
            again = installed_again(self.provider._factory, result.mapping.values())
            if again:
                raise InstallationError("\n  ".join([again, OTHER]))
            return result

    module.RLResolver = Resolver


CHANGES = {
    "pip._internal.cli.main_parser": change_main,
    "pip._internal.cli.req_command": change_commands,
    "pip._internal.resolution.resolvelib.factory": change_factory,
    "pip._internal.resolution.resolvelib.resolver": change_resolver,
}
