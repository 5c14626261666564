"""Bases: the official images where a registry answers, else images made here from Debian's own packages."""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from torchdev import process
from torchdev.bases import SOURCE_PINS, SOURCE_SUITES, Base
from torchdev.diagnosis import explain
from torchdev.engine import Engine
from torchdev.errors import BuildError, EngineError, TorchdevError
from torchdev.host import Host
from torchdev.places import Places
from torchdev.plan import EPOCH

RECIPE_LABEL = "io.torchdev.bootstrap.recipe"
SUITE = "bookworm"
UNNEEDED = (
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/doc/*",
    "/usr/share/groff/*",
    "/usr/share/lintian/*",
    "/usr/share/linda/*",
)
"""Left out of the base, as in the official slim image, except for copyright files."""
OPTIONS = (
    "--variant=minbase",
    "--format=tar",
    *(f"--dpkgopt=path-exclude={path}" for path in UNNEEDED),
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
)
"""mmdebstrap's options: the recipe of the base."""

Say = Callable[[str], None]


def choose(engine: Engine, bases: "list[Base]", *, forbid: bool = False) -> "list[Base]":
    """Those of the bases that must be bootstrapped: not on the engine, and no registry has them."""
    missing = [base for base in dict.fromkeys(bases) if not engine.image(base.ref)]
    unreachable = [base for base in missing if not engine.registry_digest(base.ref)]
    if unreachable and forbid:
        names = ", ".join(base.ref for base in unreachable)
        raise EngineError(
            f"no registry answers for {names}, and --no-bootstrap forbids to make them here",
            next_step="docker pull them, or drop --no-bootstrap",
        )
    # One image's layers stand on the others': official and bootstrapped bases are never mixed.
    return list(dict.fromkeys(bases)) if unreachable else []


def bootstrap(engine: Engine, host: Host, bases: "list[Base]", places: Places, say: Say) -> "dict[Base, TorchdevError]":
    """Make the stand-ins of these bases, Debian first; one that is there and up to date is kept.

    Without Debian there is nothing; of the Pythons, those that could not be made are returned, with the reason.
    """
    debian = next(base for base in bases if base.series is None)
    recipe = _digest(" ".join(OPTIONS))
    if _wanted(engine, debian, recipe, say):
        _debian(engine, debian, host, {RECIPE_LABEL: recipe})
    recipe = _digest(recipe + "".join(p.read_text() for p in sorted((places.templates / "bootstrap").iterdir())))
    failed: dict[Base, TorchdevError] = {}
    for base in bases:
        if base.series and _wanted(engine, base, recipe, say):
            try:
                _python(engine, host, base, debian, places, {RECIPE_LABEL: recipe})
            except TorchdevError as error:
                say(f"error: {error}")
                failed[base] = error
    return failed


def _wanted(engine: Engine, base: Base, recipe: str, say: Say) -> bool:
    """Whether a stand-in must be made: there is none, or its recipe has changed since."""
    there = engine.image(base.stand_in)
    if there and there.labels.get(RECIPE_LABEL) == recipe:
        say(f"{base.name}: bootstrapped before, as {base.stand_in}")
        return False
    say(f"{base.name}: bootstrapping {base.stand_in}, which is not the official image")
    return True


def _digest(recipe: str) -> str:
    return hashlib.sha256(recipe.encode()).hexdigest()[:16]


def _debian(engine: Engine, base: Base, host: Host, labels: dict[str, str]) -> None:
    """Debian's minimal system by mmdebstrap, imported as an image of one layer."""
    if not shutil.which("mmdebstrap"):
        raise EngineError(
            f"no registry answers for {base.name}, and mmdebstrap, which would make it, is not installed",
            next_step="apt-get install mmdebstrap, or python build.py quickstart",
        )
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "root.tar")
        options = [*OPTIONS, SUITE, str(archive), *_sources()]
        proxies = {key: value for name, value in host.proxies for key in (name, name.lower())}  # apt reads the latter
        environment = {**proxies, "SOURCE_DATE_EPOCH": str(EPOCH)}
        output: list[str] = []
        if process.run(["mmdebstrap", *options], output.append, env=environment):
            tail = "".join(f"  {line}" for line in output[-8:]).rstrip()
            raise BuildError(f"mmdebstrap failed\n{tail}", where=base.stand_in, next_step="python build.py doctor")
        engine.load_root(archive, base.stand_in, labels)


def _python(engine: Engine, host: Host, base: Base, debian: Base, places: Places, labels: dict[str, str]) -> None:
    """CPython compiled from Debian's source package, on the bootstrapped Debian."""
    suites = SOURCE_SUITES.get(base.series or "")
    if not suites:
        raise EngineError(
            f"no registry answers for {base.name}, and Debian has no source package of that Python",
            next_step=f"bootstrapping knows Python {', '.join(SOURCE_SUITES)}; or docker pull {base.ref}",
        )
    folder = places.templates / "bootstrap"
    arguments = {
        "DEBIAN": debian.stand_in,
        "VERSION": str(base.series),
        "SUITES": " ".join(suites),
        "PINNED": SOURCE_PINS.get(str(base.series), ""),
        **dict(host.proxies),
    }
    command = [
        "build",
        "--file",
        str(folder / "python.Dockerfile"),
        "--tag",
        base.stand_in,
        "--load",
        "--provenance=false",
        *(f"--build-arg={key}={value}" for key, value in arguments.items()),
        *(f"--label={key}={value}" for key, value in labels.items()),
    ]
    if host.ca_bundle:
        command.append(f"--secret=id=ca,src={host.ca_bundle}")
    log = places.work / "logs" / f"bootstrap-python{base.series}.log"
    try:
        engine.buildx([*command, str(folder)], log)
    except BuildError:
        raise explain(base.stand_in, log.read_text(encoding="utf-8"), log) from None


def _sources() -> "list[str]":
    """The suites of Debian on the mirror that this machine's own apt uses; nothing means mmdebstrap's default."""
    if not shutil.which("apt-get"):
        return []
    listing = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(CODENAME) $(ORIGIN)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    lines = (line.split() for line in listing.splitlines() if line.endswith(" Debian"))
    found = {codename: site for site, codename, _ in lines}
    suites = (SUITE, f"{SUITE}-updates", f"{SUITE}-security")
    return [f"deb {found[suite]} {suite} main" for suite in suites] if all(s in found for s in suites) else []
