"""Second builds: nothing changed, one small package changed, the Debian layer changed."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from bench import cells, contenders
from bench.cells import Subject
from bench.cold import rewritten
from bench.contenders import Setting
from bench.engine import Engine
from bench.measure import Measured
from bench.results import Results
from torchdev.util.errors import BuildError

SMALL = ("pillow", "filelock", "typing-extensions")
"""Small packages: of the first that a cell has, another version is taken."""
PACKAGE = "less"
"""The Debian package that is added, as an update of any other would: the layer has to be made again."""
AGAIN = 3
"""Repetitions of what takes little time."""
CHOSEN_ELSEWHERE = ("torch", "torchvision", "torchaudio")
"""Packages that a matrix chooses by other keys than constraints."""
WITH_PACKAGE = f"""\
import sys
from pathlib import Path
root = sys.argv.pop(1)
sys.path.insert(0, root)
from torchdev.image import debian
debian.TOOLS = (*debian.TOOLS, {PACKAGE!r})
from torchdev.cli import main
sys.exit(main.main(Path(root), sys.argv[1:]))
"""
"""Runs build.py with a list of Debian packages that is longer by one."""
Subjects = tuple[Subject, ...]


def nothing(results: Results, setting: Setting, engine: Engine, contender: str, subjects: Subjects) -> None:
    """Build again what has just been built."""
    for _ in range(AGAIN):
        if contender == "torchdev":
            done = contenders.build_py(setting, engine, setting.matrix, subjects, state="skipped")
        else:
            done = contenders.build(setting, engine, contender, subjects)
        _note(results, "nothing", contender, len(subjects), done)


def small(results: Results, setting: Setting, engine: Engine, contender: str, subjects: Subjects) -> None:
    """Take another version of one small package, the others as they were, and build again."""
    matrix, changed = _with_other_version(results, setting, engine, contender, subjects)

    def build() -> Measured:
        if contender == "torchdev":
            return contenders.build_py(setting, engine, matrix, changed)
        return contenders.build(setting, engine, contender, changed)

    _rebuilt(results, "small", engine, contender, subjects, build)


def debian(results: Results, setting: Setting, engine: Engine, contender: str, subjects: Subjects) -> None:
    """Add one Debian package where the others are installed, and build again."""
    matrix, program = _with_package(setting, engine) if contender == "torchdev" else (setting.matrix, ())

    def build() -> Measured:
        if contender == "torchdev":
            return contenders.build_py(setting, engine, matrix, subjects, program=program)
        return contenders.build(setting, engine, contender, subjects, package=PACKAGE)

    _rebuilt(results, "debian", engine, contender, subjects, build)
    for subject in subjects:
        name = contenders.image(contender, subject)
        engine.docker("run", "--rm", "--network=none", "--entrypoint", PACKAGE, name, "--version")


def _with_package(setting: Setting, engine: Engine) -> "tuple[Path, tuple[str, ...]]":
    """A copy of the matrix, rendered with one more Debian package, and the program that does so for build.py."""
    folder = setting.workspace.fresh("debian")
    program = (str(folder / "with-package.py"), str(setting.root))
    Path(program[0]).write_text(WITH_PACKAGE)
    shutil.copytree(setting.matrix.parent, folder / "matrix")
    matrix = folder / "matrix" / setting.matrix.name
    engine.run([sys.executable, *program, "render", "--matrix-file", str(matrix)])
    return matrix, program


def _rebuilt(
    results: Results,
    measure: str,
    engine: Engine,
    contender: str,
    subjects: Subjects,
    build: "Callable[[], Measured]",
) -> None:
    """Build, and write down what it cost and how much was written anew."""
    names = [contenders.image(contender, subject) for subject in subjects]
    before = [engine.layers(name) for name in names]
    _note(results, measure, contender, len(subjects), build())
    results.add(measure, "rewritten", contender, len(subjects), rewritten(before, [engine.layers(n) for n in names]))


def _note(results: Results, measure: str, contender: str, count: int, done: Measured) -> None:
    results.add(measure, "seconds", contender, count, done.seconds)
    results.add(measure, "fetched", contender, count, done.fetched)


def _with_other_version(
    results: Results, setting: Setting, engine: Engine, contender: str, subjects: Subjects
) -> "tuple[Path, Subjects]":
    """A copy of the matrix, locked and rendered, in which one package alone has another version."""
    folder = setting.workspace.fresh("small")
    document = json.loads(setting.matrix.read_text())
    for row, subject in zip(document["rows"], subjects, strict=False):
        row["constraints"] = [*row.get("constraints", []), *other_version(subject)]
    document["rows"] = document["rows"][: len(subjects)]
    matrix = cells.write_matrix(document, folder, {})
    build_py = [sys.executable, str(setting.root / "build.py")]
    lock = engine.run([*build_py, "lock", "--matrix-file", str(matrix)])
    render = engine.run([*build_py, "render", "--matrix-file", str(matrix)])
    if contender == "torchdev":
        results.add("small", "lock seconds", contender, len(subjects), lock.seconds + render.seconds)
    listed = json.loads(engine.run([*build_py, "list", "--matrix-file", str(matrix), "--json"]).output)
    changed = tuple(cells.read_subject(folder / "images", entry) for entry in listed)
    for old, new in zip(subjects, changed, strict=True):
        differing = {wheel.name for wheel in set(old.wheels) ^ set(new.wheels)}
        if differing != {small_package(old)}:
            what = f"only {small_package(old)} should differ: {', '.join(sorted(differing))}"
            raise BuildError(what, where=new.id, next_step="see docs/bench.md")
    return matrix, changed


def small_package(subject: Subject) -> str:
    """The package of a cell of which another version is taken."""
    return next(name for name in SMALL if any(wheel.name == name for wheel in subject.wheels))


def other_version(subject: Subject) -> "list[str]":
    """Constraints that forbid the locked version of one package, and any but the locked version of the others."""
    changed = small_package(subject)
    return [
        f"{wheel.name}{'!=' if wheel.name == changed else '=='}{wheel.version}"
        for wheel in subject.wheels
        if wheel.name not in CHOSEN_ELSEWHERE
    ]
