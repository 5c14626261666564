"""Wheels that only the PyTorch index has: what the catalog knows about them, and the index's own pages."""

import threading
import time
from collections.abc import Callable

from torchdev.catalog.builds import PYTORCH, load
from torchdev.catalog.ids import AMD64
from torchdev.util.errors import BuildError
from torchdev.util.texts import shown
from torchdev.wheels import wheel as wheels
from torchdev.wheels.host import PYTORCH_VARIABLE, Host
from torchdev.wheels.index import Listed, list_wheels
from torchdev.wheels.remote import Refused, Silent, Untrue

SILENT_SECONDS = 600
"""Seconds for which an index that did not answer is not asked again. It may answer later: many cells take hours."""


def known_files(flavour: str) -> dict[str, str]:
    """File name to sha256 of those wheels of a CUDA variant whose hashes the catalog has."""
    builds = (build for build in load().builds if build.origin == PYTORCH and build.flavour == flavour)
    return {wheel.file: wheel.sha256 for build in builds for wheel in build.wheels if wheel.sha256}


def contradicted(file: str, sha256: "str | None", known: dict[str, str]) -> dict[str, str]:
    """The known wheels, file name to sha256, that an offered file would replace without being one of them.

    A changed tag in the name makes no other wheel: project, version, Python and machine count.
    """
    if file in known:
        return {} if sha256 == known[file] else {file: known[file]}
    rivals = {other: found for other, found in known.items() if wheels.rival(file, other)}
    return {} if sha256 in rivals.values() else rivals


def known_requirements(torch: str, flavour: str, python: str, arch: str = AMD64) -> "list[str] | None":
    """The requirements of PyTorch of a release and CUDA variant; None if the catalog does not have them."""
    wanted = ("torch", torch, flavour, arch, PYTORCH)
    found = (b for b in load().builds if (b.project, b.version, b.flavour, b.arch, b.origin) == wanted)
    requires = next((build.requirements(python) for build in found), None)
    return None if requires is None else list(requires)


class Asked:
    """Answers of the PyTorch index in this run: each page is asked for once, and a silent index not again for a while.

    `say` gets one message for each index that can't be used, with the reason.
    """

    def __init__(self, say: "Callable[[str], None]" = lambda text: None) -> None:
        self._say = say
        self._pages: dict[tuple[str, str], list[Listed] | str] = {}
        self._silences: dict[str, tuple[float, str]] = {}
        self._told: set[str] = set()
        self._alone = threading.Lock()

    def page(self, host: Host, address: str, project: str) -> "list[Listed]":
        """The wheels that a page lists, none if there is no page; Silent, Refused or Untrue if it can't be read."""
        with self._alone:
            since, silence = self._silences.get(host.pytorch_index, (0.0, ""))
            if silence and time.monotonic() - since < SILENT_SECONDS:
                raise Silent(silence)
            if (address, project) not in self._pages:
                try:
                    self._pages[address, project] = list_wheels(host, address, project) or []
                except Silent as error:
                    self._silences[host.pytorch_index] = time.monotonic(), str(error)
                    raise
                except Refused as error:
                    self._pages[address, project] = str(error)
            found = self._pages[address, project]
        if isinstance(found, str):
            raise Refused(found)
        return found

    def tell(self, host: Host, why: str) -> None:
        """Print, once for each index, why it can't be used."""
        with self._alone:
            if host.pytorch_index not in self._told:
                self._told.add(host.pytorch_index)
                self._say(f"note: {host.clean(host.pytorch_index)} {why}; known hashes of its wheels are used instead")


class Index:
    """The PyTorch index's pages of a CUDA variant. A silent one is not asked again for a while.

    `silence` is why it does not answer; empty as long as it does. `refusals` has the refused pages, by project.
    """

    def __init__(self, host: Host, flavour: str, asked: "Asked | None" = None) -> None:
        self.host = host
        self.address = f"{host.pytorch_index}/{flavour}"
        self.silence = ""
        self.refusals: dict[str, str] = {}
        self._asked = asked or Asked()

    def wheels(self, project: str) -> "list[Listed]":
        """The wheels that it lists of a project; none if it lists none, is silent, or refuses.

        BuildError if it answers with anything but a page: known hashes replace an index that can't be asked, not one
        that lies.
        """
        try:
            return [] if self.silence else self._asked.page(self.host, self.address, project)
        except Silent as error:
            self.silence = self._shown(error)
            self._asked.tell(self.host, f"does not answer: {self.silence}")
            return []
        except Refused as error:
            self.refusals[project] = self._shown(error)
            self._asked.tell(self.host, f"refuses: {self.refusals[project]}")
            return []
        except Untrue as error:
            step = f"see {self.address}/{project}/, find out who runs that index; {PYTORCH_VARIABLE} names another"
            raise BuildError(f"{self.address}: {self._shown(error)}", next_step=step) from None

    def unread(self, error: "Silent | Refused") -> None:
        """Print that a wheel of it can't be read, and that the known hashes are used."""
        self._asked.tell(self.host, f"lists wheels that can't be read: {self._shown(error)}")

    def _shown(self, error: Exception) -> str:
        return shown(self.host.clean(str(error).removeprefix(f"{self.address}: ")), 400)
