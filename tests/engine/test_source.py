"""The source of a Python, by the real apt from a mirror of the test's own: the newest that is there, or it is told."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from docker.models.containers import Container

from tests.unit.conftest import ROOT
from torchdev.engine.client import Engine, copy_into

PYTHON, PACKAGE = "3.11", "python3.11"
OLD, NEW, NEWEST = "3.11.2-6+deb12u8", "3.11.2-6+deb12u9", "3.11.2-6+deb12u10"
SUITES = ("bookworm-security", "bookworm")
UNSIGNED = 'Acquire::AllowInsecureRepositories "true"; APT::Get::AllowUnauthenticated "true";\n'
"""What lets apt take a mirror that Debian did not sign; all else of it is as in builds."""


class Mirror:
    """A folder with suites that name versions of a source package; the files of some are missing or other ones."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pool = root / "pool" / "main" / "p" / PACKAGE
        self.pool.mkdir(parents=True)

    def name(self, suite: str, *versions: str) -> None:
        """Have a suite's index name versions, and the pool have them."""
        stanzas = [self._stanza(version) for version in versions]
        sources = self.root / "dists" / suite / "main" / "source" / "Sources"
        sources.parent.mkdir(parents=True)
        sources.write_text("\n".join(stanzas))
        entry = f" {_sha256(sources)} {sources.stat().st_size} main/source/Sources\n"
        release = f"Origin: Debian\nSuite: {suite}\nCodename: {suite}\nComponents: main\nSHA256:\n{entry}"
        (self.root / "dists" / suite / "Release").write_text(release)

    def dsc(self, version: str) -> Path:
        """The file that describes a version; a version 1:2 is called 2."""
        return self.pool / f"{PACKAGE}_{version}.dsc"

    def _stanza(self, version: str) -> str:
        archive = self.pool / f"{PACKAGE}_{version}.tar.xz"
        archive.write_text(f"sources of {version}")
        sums = f"Checksums-Sha256:\n {_sha256(archive)} {archive.stat().st_size} {archive.name}\n"
        self.dsc(version).write_text(f"Source: {PACKAGE}\nVersion: {version}\n{sums}")
        entry = f" {_sha256(self.dsc(version))} {self.dsc(version).stat().st_size} {self.dsc(version).name}\n"
        head = f"Package: {PACKAGE}\nBinary: {PACKAGE}\nVersion: {version}\nFormat: 3.0 (native)\n"
        return f"{head}Directory: pool/main/p/{PACKAGE}\n{sums}{entry}"


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    """An empty one."""
    return Mirror(tmp_path / "mirror")


Fetch = Callable[..., tuple[int, str, dict[str, str]]]


@pytest.fixture
def fetch(engine: Engine, base: str, mirror: Mirror, tmp_path: Path) -> Fetch:
    """Run fetch-source against the mirror; its status, what it said, and what it wrote down."""

    def run(had: str = "", pinned: str = "") -> "tuple[int, str, dict[str, str]]":
        with engine.container(base, network_mode="none") as running:
            copy_into(running, mirror.root, "/")
            copy_into(running, ROOT / "templates" / "bootstrap", "/")
            lines = "".join(f"deb copy:/mirror {suite} main\n" for suite in SUITES)
            done(running, f"rm -f /etc/apt/sources.list.d/*; printf '{lines}' > /etc/apt/sources.list")
            done(running, f"echo '{UNSIGNED}' > /etc/apt/apt.conf.d/99test; mkdir /src")
            command = ["/bootstrap/fetch-source", PYTHON, pinned, had, *SUITES]
            status, output = running.exec_run(command, workdir="/src")
            noted = done(running, "cat /src/source 2> /dev/null || true; ls /src | sed 's/^/file /'")
            words = (line.partition(" ") for line in noted.splitlines())
            return status, output.decode(), {key: value for key, _, value in words}

    return run


def done(running: Container, command: str) -> str:
    """Run a shell's command, which must end well."""
    status, output = running.exec_run(["sh", "-c", command])
    assert status == 0, output
    return str(output.decode())


def test_the_newest_that_is_named_is_taken(mirror: Mirror, fetch: Fetch) -> None:
    """Of all suites, by Debian's order: u10 is newer than u9; and nothing is said to be missing."""
    mirror.name("bookworm", NEWEST, OLD)
    mirror.name("bookworm-security", NEW)
    status, output, noted = fetch()
    assert status == 0, output
    assert (noted["taken"], noted["named"], noted["unread"]) == (NEWEST, NEWEST, "")


def test_a_named_version_that_is_not_there_is_told(mirror: Mirror, fetch: Fetch) -> None:
    """The older one is taken, and both are written down."""
    mirror.name("bookworm-security", NEW)
    mirror.name("bookworm", OLD)
    mirror.dsc(NEW).unlink()
    status, output, noted = fetch()
    assert status == 0, output
    assert (noted["taken"], noted["named"]) == (OLD, NEW)
    assert f"named {NEW}" in output


def test_another_archive_than_the_index_names_is_refused(mirror: Mirror, fetch: Fetch) -> None:
    """No older one is taken in its place: whoever can alter a file could else choose the version."""
    mirror.name("bookworm-security", NEW)
    mirror.name("bookworm", OLD)
    archive = mirror.pool / f"{PACKAGE}_{NEW}.tar.xz"
    archive.write_text("s" * archive.stat().st_size)
    status, output, noted = fetch()
    assert status != 0
    assert f"another file than its index names for {PACKAGE} {NEW}" in output
    assert "taken" not in noted


def test_another_description_than_the_index_names_is_refused(mirror: Mirror, fetch: Fetch) -> None:
    """Longer, too."""
    mirror.name("bookworm-security", NEW, OLD)
    mirror.dsc(NEW).write_text(mirror.dsc(NEW).read_text() + "more\n")
    status, output, _ = fetch()
    assert status != 0
    assert "another file than its index names" in output


def test_older_than_what_was_had_is_refused(mirror: Mirror, fetch: Fetch) -> None:
    """Whether the index itself is older, or what it names is not there."""
    mirror.name("bookworm-security", OLD)
    mirror.name("bookworm", NEWEST)
    mirror.dsc(NEWEST).unlink()
    status, output, _ = fetch(had=NEW)
    assert status != 0
    assert f"not older than {NEW}, which was had before" in output
    status, output, noted = fetch(had=OLD)
    assert (status, noted["taken"], noted["named"]) == (0, OLD, NEWEST), output


def test_an_index_that_cannot_be_read_is_told(mirror: Mirror, fetch: Fetch) -> None:
    """What the security suite names is not known then; the other suite's is taken."""
    mirror.name("bookworm", OLD)
    status, output, noted = fetch()
    assert status == 0, output
    assert (noted["taken"], noted["unread"]) == (OLD, "bookworm-security")


def test_a_pinned_package_stands_in_for_what_is_named(mirror: Mirror, fetch: Fetch) -> None:
    """By its hash alone, and not if it is older than what was had."""
    mirror.name("bookworm", NEW)
    mirror.name("bookworm-security", OLD)
    pinned = f"{PACKAGE}_{OLD}.dsc {_sha256(mirror.dsc(OLD))}"
    mirror.dsc(NEW).unlink()
    shutil.rmtree(mirror.root / "dists" / "bookworm-security")
    status, output, noted = fetch(pinned=pinned)
    assert status == 0, output
    assert (noted["taken"], noted["named"], noted["unread"]) == (OLD, NEW, "bookworm-security")
    assert fetch(pinned=pinned, had=NEW)[0] != 0
    assert fetch(pinned=pinned[:-4] + "0000")[0] != 0


def test_nothing_is_an_error(mirror: Mirror, fetch: Fetch) -> None:
    """No suite names that Python."""
    mirror.name("bookworm")
    status, output, _ = fetch()
    assert status != 0
    assert "no suite has the source of Python 3.11" in output
