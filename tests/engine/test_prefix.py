"""A substitute made of a Python that is installed on this machine, if that one can serve."""

import json
import platform
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from torchdev.bases import bootstrap, prefix
from torchdev.catalog import bases
from torchdev.catalog.bases import Base, python_image, suite_of
from torchdev.docgen.project import Project
from torchdev.engine.client import Engine
from torchdev.util.errors import BuildError, InputError, TorchdevError
from torchdev.wheels.host import read_host

SERIES = "{}.{}".format(*platform.python_version_tuple())


@pytest.fixture(scope="module")
def given() -> prefix.Prefix:
    """The Python that runs these tests, unless no substitute can be made of it: the system's own, say."""
    try:
        return prefix.read_prefix(SERIES, Path(sys.base_prefix))
    except InputError as error:
        pytest.skip(f"needs a Python of its own folder: {error.what}")


@pytest.fixture
def substitute(engine: Engine, base: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Base]:
    """A base whose substitute has a name of the tests' own, so that none in use is touched."""
    suite = suite_of(SERIES)
    monkeypatch.setattr(bases, "PREFIX", f"torchdev-test-{uuid.uuid4().hex[:8]}/")
    debian, python = Base(suite.image, None), Base(python_image(SERIES, suite), None)
    engine.tag(base, debian.substitute)
    yield python
    engine.untag(debian.substitute)
    engine.untag(python.substitute)


def make(
    engine: Engine, project: Project, base: Base, prefixes: bootstrap.Prefixes
) -> "tuple[list[str], dict[Base, TorchdevError]]":
    """Bootstrap one Python; what was said, and what failed."""
    said: list[str] = []
    failed = bootstrap.bootstrap(engine, read_host(), [base], project.paths, said.append, prefixes)
    return said, failed


def made(engine: Engine, project: Project, base: Base, given: prefix.Prefix) -> None:
    """Make the substitute; not-run where the Python here was compiled on a newer Debian than the images have."""
    _, failed = make(engine, project, base, {SERIES: given})
    error = failed.get(base)
    if error and "needs glibc" in error.what:
        pytest.skip(error.what)
    assert not error, error


def test_substitute_is_made_once_and_then_kept(
    engine: Engine, project: Project, substitute: Base, given: prefix.Prefix
) -> None:
    """It is in /usr/local, has pip alone, names nothing of this machine, and is kept with and without the option."""
    made(engine, project, substitute, given)
    image = engine.image(substitute.substitute)
    assert image
    assert image.labels[bootstrap.ORIGIN_LABEL] == "prefix"
    assert str(given.root) not in json.dumps([dict(image.labels), engine.history(substitute.substitute)])
    program = "import json, sys, sysconfig as s; print(json.dumps([sys.prefix, sys.version_info[:2], s.get_paths()]))"
    status, output = engine.run(substitute.substitute, ["python", "-c", program])
    where, version, paths = json.loads(output)
    assert (status, where, ".".join(map(str, version))) == (0, "/usr/local", SERIES)
    assert all(path.startswith("/usr/local") for path in paths.values())
    _, listing = engine.run(substitute.substitute, ["pip", "list", "--format", "json", "--disable-pip-version-check"])
    assert {entry["name"] for entry in json.loads(listing)} <= {"pip", "setuptools", "wheel"}
    for prefixes in ({SERIES: given}, {}):
        said, failed = make(engine, project, substitute, prefixes)
        assert not failed
        assert "bootstrapped before" in said[-1]
        assert engine.image(substitute.substitute) == image


def test_lacking_module_is_named(
    engine: Engine, project: Project, substitute: Base, given: prefix.Prefix, tmp_path: Path
) -> None:
    """Of a copy without _ssl nothing is made, and the message says which module is missing and what to do."""
    copy = tmp_path / "python"
    left_out = shutil.ignore_patterns("site-packages", "test", "__pycache__")
    shutil.copytree(given.root, copy, symlinks=True, ignore=left_out)
    modules = list(copy.glob(f"lib/python{SERIES}/lib-dynload/_ssl.*"))
    if not modules:
        pytest.skip("the Python here has _ssl inside the interpreter")
    modules[0].unlink()
    _, failed = make(engine, project, substitute, {SERIES: prefix.read_prefix(SERIES, copy)})
    error = failed[substitute]
    if "needs glibc" in error.what:
        pytest.skip(error.what)
    assert isinstance(error, BuildError)
    assert "module _ssl is missing" in error.what
    assert "libssl-dev" in error.next_step
    assert engine.image(substitute.substitute) is None
