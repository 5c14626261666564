"""Wheels that only the PyTorch index has: what is known of them, and what the index's own pages say."""

from torchdev import wheels
from torchdev.catalog import PYTORCH, load
from torchdev.errors import BuildError
from torchdev.host import PYTORCH_VARIABLE, Host
from torchdev.ids import AMD64
from torchdev.indexes import Listed, list_wheels
from torchdev.remote import Silent, Untrue
from torchdev.texts import shown


def known_files(flavour: str) -> dict[str, str]:
    """File name to sha256 of the wheels of a flavour whose hashes the catalog has."""
    builds = (build for build in load().builds if build.origin == PYTORCH and build.flavour == flavour)
    return {wheel.file: wheel.sha256 for build in builds for wheel in build.wheels if wheel.sha256}


def contradicted(file: str, sha256: "str | None", known: dict[str, str]) -> dict[str, str]:
    """The known wheels, file name to sha256, in whose place a file is offered that is none of them.

    Another tag in its name makes no other wheel of it: what counts is which project, version, Python and machine it
    serves.
    """
    if file in known:
        return {} if sha256 == known[file] else {file: known[file]}
    rivals = {other: found for other, found in known.items() if wheels.rival(file, other)}
    return {} if sha256 in rivals.values() else rivals


def known_requirements(torch: str, flavour: str, python: str, arch: str = AMD64) -> "list[str] | None":
    """What PyTorch of a release and flavour requires; None if the catalog does not have it."""
    wanted = ("torch", torch, flavour, arch, PYTORCH)
    found = (b for b in load().builds if (b.project, b.version, b.flavour, b.arch, b.origin) == wanted)
    requires = next((build.requirements(python) for build in found), None)
    return None if requires is None else list(requires)


class Index:
    """The PyTorch index's pages of a flavour. One that has been silent once is not asked again.

    `silence` is why it does not answer; empty as long as it does.
    """

    def __init__(self, host: Host, flavour: str) -> None:
        self.host = host
        self.address = f"{host.pytorch_index}/{flavour}"
        self.silence = ""

    def wheels(self, project: str) -> "list[Listed]":
        """The wheels that it lists of a project; none if it lists none such, or is silent.

        BuildError if it answers with anything but a page: what is known of its wheels is for where it can't be asked.
        """
        if self.silence:
            return []
        try:
            return list_wheels(self.host, self.address, project) or []
        except Silent as error:
            self.silence = self._shown(error)
            return []
        except Untrue as error:
            step = f"see {self.address}/{project}/, find out who runs that index; {PYTORCH_VARIABLE} names another"
            raise BuildError(f"{self.address}: {self._shown(error)}", next_step=step) from None

    def _shown(self, error: Exception) -> str:
        return shown(self.host.clean(str(error).removeprefix(f"{self.address}: ")), 400)
