"""Base images: the official ones where a registry answers, else substitutes made here from Debian's packages."""

import hashlib
import shutil
import subprocess
import tempfile
import textwrap
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from torchdev.bases import debsource, prefix
from torchdev.catalog.bases import SOURCE_PINS, SOURCE_SUITES, Base, Suite
from torchdev.engine.client import Engine, Image
from torchdev.engine.diagnosis import explain
from torchdev.image.paths import Paths
from torchdev.image.plan import EPOCH
from torchdev.util import process, redact
from torchdev.util.commands import Command, build_py
from torchdev.util.errors import BuildError, EngineError, InputError, TorchdevError
from torchdev.wheels.host import Host

RECIPE_LABEL = "io.torchdev.bootstrap.recipe"
ORIGIN_LABEL = "io.torchdev.bootstrap.origin"
"""Label of a Python's substitute: source, Debian's source package; or prefix, a Python of the machine that built it."""
CONTENT_LABEL = "io.torchdev.bootstrap.prefix"
"""Label with the digest of that Python's files."""
UNNEEDED = (
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/doc/*",
    "/usr/share/groff/*",
    "/usr/share/lintian/*",
    "/usr/share/linda/*",
)
"""Paths excluded from the base, as in the official slim image; copyright files stay."""
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
"""Debian's signing keys, of the package debian-archive-keyring: apt trusts no others while a base is made."""
OPTIONS = (
    "--variant=minbase",
    "--format=tar",
    *(f"--dpkgopt=path-exclude={path}" for path in UNNEEDED),
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
)
"""mmdebstrap's options: the recipe of the base."""

SOURCE_FILES = ("fetch-source", "python.Dockerfile")
PREFIX_FILES = ("check-libraries", "check-python", "install-prefix", "prefix.Dockerfile")
"""Files of templates/bootstrap: those that compile Python from Debian's source, and those that take a local prefix."""

AT_ONCE = 2
"""How many Debians are made at once, each with its Pythons: most of that time one core works or waits for the network.
"""

Say = Callable[[str], None]
Prefixes = Mapping[str, prefix.Prefix]
"""Python series to the local installation that its substitute is made from."""
NO_PREFIXES: Prefixes = {}


def choose(engine: Engine, bases: "list[Base]", *, forbid: bool = False) -> "list[Base]":
    """The bases that must be bootstrapped: the engine does not have them, and no registry does."""
    missing = [base for base in dict.fromkeys(bases) if not engine.image(base.ref)]
    with ThreadPoolExecutor(max(1, len(missing))) as pool:  # a registry may take its time, once for each
        digests = pool.map(lambda base: engine.registry_digest(base.ref), missing)
        unreachable = [base for base, digest in zip(missing, digests, strict=True) if not digest]
    if unreachable and forbid:
        names = ", ".join(base.ref for base in unreachable)
        raise EngineError(
            f"no registry answers for {names}, and --no-bootstrap turns bootstrapping off",
            next_step="docker pull them, or drop --no-bootstrap",
        )
    # One image's layers stand on the others': official and bootstrapped bases are never mixed.
    return list(dict.fromkeys(bases)) if unreachable else []


def bootstrap(
    engine: Engine, host: Host, bases: "list[Base]", paths: Paths, say: Say, prefixes: "Prefixes" = NO_PREFIXES
) -> "dict[Base, TorchdevError]":
    """Make the substitutes of these bases, of two Debians at once; current ones are kept.

    Returns the bases that could not be made, each with the reason. If no Debian can be made, that is an error.
    """
    suites: dict[Suite, list[Base]] = {}
    for base in bases:
        suites.setdefault(base.suite, []).append(base)

    def make(of: "list[Base]") -> "tuple[TorchdevError | None, dict[Base, TorchdevError]]":
        error = _make_debian(engine, host, of, say)
        return error, dict.fromkeys(of, error) if error else _make_pythons(engine, host, of, paths, say, prefixes)

    made = process.at_once(AT_ONCE, make, suites.values(), all_of_them=True)
    errors = [error for error, _ in made if error]
    nothing = errors.pop() if made and len(errors) == len(made) else None
    for error in errors:
        say(f"error: {error}")
    if nothing:
        raise nothing
    return {base: error for _, failed in made for base, error in failed.items()}


def _make_debian(engine: Engine, host: Host, bases: "list[Base]", say: Say) -> "TorchdevError | None":
    """Make the Debian among the bases of a suite; the reason if that failed."""
    wanted = _digest(" ".join(OPTIONS))
    for base in (base for base in bases if not base.series):
        try:
            if _wanted(engine, base, wanted, say):
                _debian(engine, base, host, {RECIPE_LABEL: wanted})
        except TorchdevError as error:
            return error
    return None


def _make_pythons(
    engine: Engine, host: Host, bases: "list[Base]", paths: Paths, say: Say, prefixes: Prefixes
) -> "dict[Base, TorchdevError]":
    """Make the Pythons among the bases of a suite, one after another: each compiles on all cores."""
    failed: dict[Base, TorchdevError] = {}
    for base in bases:
        try:
            given = prefixes.get(base.series or "")
            if given:
                _of_prefix(engine, host, base, given, paths, say)
            elif base.series:
                _of_source(engine, host, base, paths, say)
        except TorchdevError as error:
            say(f"error: {error}")
            failed[base] = error
    return failed


def _of_source(engine: Engine, host: Host, base: Base, paths: Paths, say: Say) -> None:
    """Compile a Python from Debian's source package; a substitute made from a local prefix is kept."""
    there = engine.image(base.substitute)
    content = there.labels.get(CONTENT_LABEL) if there else None
    if there and content:
        current = there.labels.get(RECIPE_LABEL) == recipe(base.suite, paths, PREFIX_FILES, content)
        renew = f"; {_command(base)} makes it again by the present recipe"
        say(f"{base.name}: bootstrapped before from a local prefix, as {base.substitute}{'' if current else renew}")
        return
    wanted = recipe(base.suite, paths, SOURCE_FILES)
    labels = dict(there.labels) if there else {}
    if _wanted(engine, base, wanted, say):
        labels = {RECIPE_LABEL: wanted, ORIGIN_LABEL: "source"}
        labels |= _compile(engine, host, base, paths, labels, debsource.had(there.labels) if there else "")
    if debsource.NOTICE_LABEL in labels:
        say(f"{base.name}: {labels[debsource.NOTICE_LABEL]}")


def _of_prefix(engine: Engine, host: Host, base: Base, given: prefix.Prefix, paths: Paths, say: Say) -> None:
    """Make a Python from the installation in a folder of this machine."""
    with tempfile.TemporaryDirectory() as folder:
        content = prefix.pack(given, Path(folder, "python.tar"))[:16]
        wanted = recipe(base.suite, paths, PREFIX_FILES, content)
        if _wanted(engine, base, wanted, say):
            labels = {RECIPE_LABEL: wanted, ORIGIN_LABEL: "prefix", CONTENT_LABEL: content}
            options = (*_kept(base, labels), f"--build-context=prefix={folder}")
            _build(engine, host, base, paths, "prefix.Dockerfile", {}, *options)


def recipe(suite: Suite, paths: Paths, files: "tuple[str, ...]", content: str = "") -> str:
    """Digest of what a substitute Python is made from: files of templates/bootstrap, and a local prefix's content."""
    texts = (_filled(paths.templates / "bootstrap" / name, suite) for name in files)
    return _digest(_digest(" ".join(OPTIONS)) + "".join(texts) + content)


def _filled(file: Path, suite: Suite) -> str:
    """A file of templates/bootstrap, filled with the library names of a Debian release."""
    names = textwrap.wrap(" ".join(("ca-certificates", *suite.libraries)), 110)
    return file.read_text(encoding="utf-8").replace("@LIBRARIES@", " \\\n        ".join(names))


def _wanted(engine: Engine, base: Base, recipe: str, say: Say) -> bool:
    """Whether a substitute must be made: there is none, or its recipe has changed."""
    there = engine.image(base.substitute) or _taken_over(engine, base, recipe)
    if there and there.labels.get(RECIPE_LABEL) == recipe:
        say(f"{base.name}: bootstrapped before, as {base.substitute}")
        return False
    say(f"{base.name}: bootstrapping {base.substitute}, which is not the official image")
    return True


def _taken_over(engine: Engine, base: Base, recipe: str) -> "Image | None":
    """A substitute of the same recipe under its former name, which gets the present name, too.

    The former name could also be pulled from docker.io, so an image that some registry knows is not taken over.
    """
    there = engine.image(base.former)
    if not there or there.pushed or there.labels.get(RECIPE_LABEL) != recipe:
        return None
    engine.tag(there.id, base.substitute)
    return there


def _digest(recipe: str) -> str:
    return hashlib.sha256(recipe.encode()).hexdigest()[:16]


def _command(base: Base) -> Command:
    """The command that makes a substitute Python from a local installation."""
    series = base.series or ""
    return build_py("bootstrap", prefix.OPTION, f"{series}=FOLDER", f"py{series.replace('.', '')}-*")


def _debian(engine: Engine, base: Base, host: Host, labels: dict[str, str]) -> None:
    """Debian's minimal system by mmdebstrap, imported as an image of one layer."""
    if not shutil.which("mmdebstrap"):
        raise EngineError(
            f"no registry answers for {base.name}, and mmdebstrap, which would make it, is not installed",
            next_step=("apt-get install mmdebstrap, or ", build_py("quickstart")),
        )
    if not KEYRING.is_file():
        what = f"no registry answers for {base.name}, and Debian's keys are missing: {KEYRING}"
        raise EngineError(what, next_step=("apt-get install debian-archive-keyring, or ", build_py("quickstart")))
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "root.tar")
        options = [*OPTIONS, f"--keyring={KEYRING}", base.suite.name, str(archive), *_sources(base.suite)]
        proxies = {key: value for name, value in host.proxies for key in (name, name.lower())}  # apt reads the latter
        environment = {**proxies, "SOURCE_DATE_EPOCH": str(EPOCH)}
        output: list[str] = []
        if process.run(["mmdebstrap", *options], output.append, env=environment):
            tail = host.clean("".join(f"  {line}" for line in output[-8:]).rstrip())
            raise BuildError(f"mmdebstrap failed\n{tail}", where=base.substitute, next_step=build_py("doctor"))
        engine.load_root(archive, base.substitute, labels)


def _compile(
    engine: Engine, host: Host, base: Base, paths: Paths, labels: dict[str, str], had: str
) -> "dict[str, str]":
    """Compile CPython from Debian's source package on the bootstrapped Debian; returns labels that describe the source.

    The source is fetched first, in a step of its own, because labels name what was found. It is never older than `had`.
    """
    series = base.series or ""
    if series not in SOURCE_SUITES:
        what = f"no registry answers for {base.name}, and Debian has no source package of that Python"
        have = f"if you have one that was compiled on Debian {base.suite.name} or an older one, in FOLDER: "
        raise EngineError(what, next_step=(f"docker pull {base.ref}; or, {have}", _command(base)))
    arguments = {"SUITES": " ".join(SOURCE_SUITES[series]), "PINNED": SOURCE_PINS.get(series, ""), "HAD": had}
    with tempfile.TemporaryDirectory() as folder:
        options = ("--target=source", "--no-cache-filter=fetch", f"--output=type=local,dest={folder}")
        _build(engine, host, base, paths, "python.Dockerfile", arguments, *options)
        source = debsource.parse(Path(folder, "source").read_text(encoding="utf-8"))
    _build(engine, host, base, paths, "python.Dockerfile", arguments, *_kept(base, labels | source.labels))
    return source.labels


def _kept(base: Base, labels: "dict[str, str]") -> "tuple[str, ...]":
    """Options of a build whose image stays on the engine, as a substitute with labels."""
    return ("--tag", base.substitute, "--load", *(f"--label={key}={value}" for key, value in labels.items()))


def _build(
    engine: Engine,
    host: Host,
    base: Base,
    paths: Paths,
    file: str,
    arguments: dict[str, str],
    *options: str,
) -> None:
    """Build a Python's substitute, or a stage of it, by a Dockerfile of templates/bootstrap."""
    debian = Base(base.suite.image, None)
    arguments = {"DEBIAN": debian.substitute, "VERSION": base.series or "", **arguments}
    folder = paths.templates / "bootstrap"
    command = [
        "build",
        "--provenance=false",
        *(f"--build-arg={key}={value}" for key, value in arguments.items()),
        *options,
    ]
    command += [f"--secret={secret}" for secret in host.secret_options("proxies")]
    log = paths.work / "logs" / f"bootstrap-python{base.series}.log"
    with tempfile.TemporaryDirectory() as name:
        dockerfile = Path(name, file)
        dockerfile.write_text(_filled(folder / file, base.suite), encoding="utf-8")
        try:
            engine.buildx([*command, "--file", str(dockerfile), str(folder)], log, None, host.private("proxies"))
        except BuildError:
            raise explain(base.substitute, log.read_text(encoding="utf-8"), log) from None


def _sources(suite: Suite) -> "list[str]":
    """The Debian suites on the mirror that this machine's apt uses; empty means mmdebstrap's default mirror."""
    found = debian_sites()
    wanted = (suite.name, f"{suite.name}-updates", f"{suite.name}-security")
    for site in (found[name] for name in wanted if "@" in found.get(name, "")):
        what = f"apt's mirror has a password in its address, which would stay in every image: {redact.urls(site)}"
        raise InputError(what, where="/etc/apt", next_step="have a mirror without one, or a proxy that adds it")
    return [f"deb {found[name]} {name} main" for name in wanted] if all(name in found for name in wanted) else []


def debian_sites() -> "dict[str, str]":
    """The Debian suites that this machine's apt knows, each with its mirror; empty where there is no apt."""
    if not shutil.which("apt-get"):
        return {}
    command = ["apt-get", "indextargets", "--format", "$(SITE) $(CODENAME) $(ORIGIN)", "Created-By: Packages"]
    listing = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    lines = (line.split() for line in listing.splitlines() if line.endswith(" Debian"))
    return {codename: site for site, codename, _ in lines}
