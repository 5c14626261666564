"""One list of hostile texts is given to every entrance, and looked for in every product.

An entrance refuses a text, or lets it through as what it is; then no product may obey it. A new entrance is a line of
ENTRANCES, a new product a line of PRODUCTS.
"""

import dataclasses
import html
import io
import json
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from hypothesis import settings

from tests.unit import forked
from tests.unit.conftest import MATRIX, ROOT, make_lock, make_package
from tests.unit.fake_index import FakeIndex, serving
from torchdev.catalog import bases
from torchdev.catalog.builds import Wheel
from torchdev.cli import list as listing
from torchdev.cli import recipe
from torchdev.docgen import pages
from torchdev.engine.client import Image
from torchdev.image import render
from torchdev.image.plan import Plan, make_plan
from torchdev.matrix.load import Cell, Matrix, load
from torchdev.pipeline import report
from torchdev.pipeline.verify import Outcome, Verdict
from torchdev.recipes import files as recipes
from torchdev.recipes import jobs
from torchdev.util import terminal, texts
from torchdev.util.errors import BuildError, TorchdevError
from torchdev.util.positions import Position
from torchdev.util.terminal import Shown, printable
from torchdev.util.texts import NotOfKind
from torchdev.wheels import archives, lockfile, pylock, pytorch
from torchdev.wheels import index as indexes
from torchdev.wheels.host import Host, local_wheels
from torchdev.wheels.index import Listed, Untrue
from torchdev.wheels.lock import Lock, Package, inputs_digest, to_text

TEXTS = [
    "$(id>&2)", "`id`", "${IFS}id", "a b", ";id", "|id", "&&id", ">x", "\nRUN id", "\n", "\r\n--index-url=http://e",
    "\t", '"', "'", "\\", "\\\n", "\x00", "\x07", "\x1b[2J", "\x1b]0;owned\x07", "\x7f", "\x85", "\x9b31m", "\u2028",
    "\u2029", "\u202eexe", "\u2066", "\u200b", "\ufeff", "\ud800", "../../x", "/etc/passwd", "-x", "--privileged", "#",
    "# syntax=e", "{{ 7*7 }}", "{% raw %}", "<script>x</script>", "]]>", "&amp;", "| a |", "[a](javascript:x)", "*",
    "?", "%0aRUN%20id", "%24%28id%29", "!id", "~", "=", "@http://e/x", ":x", "\N{FULLWIDTH SOLIDUS}",
    "\N{ROMAN NUMERAL EIGHT}", "x" * 600,
]  # fmt: skip
"""What shells, Dockerfiles, templates, YAML, JSON, XML, HTML, Markdown, URLs, paths or terminals would obey."""
REFUSALS = (TorchdevError, NotOfKind, Untrue, zipfile.BadZipFile)


@dataclass(frozen=True)
class World:
    """What products are made from."""

    plan: Plan
    matrix: Matrix
    verdicts: tuple[Verdict, ...] = ()

    @cached_property
    def files(self) -> "dict[str, str]":
        """The generated files of the cell, by path, and the bake file."""
        prefix = f"{self.plan.cell.id}/"
        files = render.render((self.plan,), ROOT / "templates")
        return {name.removeprefix(prefix): file.text for name, file in files.items()}


SOURCES = cache(render.Sources)
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Ground:
    """What entrances stand on: a folder, an index on loopback, and good values of everything."""

    def __init__(self, folder: Path, index: FakeIndex, plan: Plan) -> None:
        self.folder = folder
        self.index = index
        self.plan = plan
        self.host = Host(index=f"{index.url}/simple", pytorch_index=f"{index.url}/whl")

    def matrix(self, change: "Callable[[dict[str, Any]], object]") -> World:
        """A matrix file after a change."""
        data = yaml.load(MATRIX, LOADER)
        change(data)
        path = self.folder / "matrix.yaml"
        path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
        matrix = load(path)
        cell = matrix.cells[0]
        lock = dataclasses.replace(self.plan.lock, cell=cell.id, python=cell.python, inputs=inputs_digest(cell))
        return World(make_plan(matrix.image, cell, lock, self.plan.bases, matrix.aliases_of(cell)), matrix)

    def lock(self, change: "Callable[[dict[str, Any]], object]") -> World:
        """A lock after a change."""
        cell = self.plan.cell
        data = json.loads(to_text(good_lock(cell)))
        change(data)
        path = self.folder / "lock.json"
        path.write_text(json.dumps(data))
        return self.world(lock=lockfile.read_lock(path, cell))

    def bases(self, name: str, **entry: str) -> World:
        """A list of digests with one entry."""
        path = self.folder / "bases.json"
        path.write_text(
            json.dumps({name: {"digest": f"sha256:{'0' * 64}", "read": "2026-11-23", "source": "x", **entry}})
        )
        return self.world(bases=bases.bases_of("3.11", bases.read_digests(path)))

    def world(self, **parts: Any) -> World:
        """The good world, with some of it replaced."""
        plan = self.plan
        cell, lock = parts.get("cell", plan.cell), parts.get("lock", plan.lock)
        made = make_plan(plan.image, cell, lock, parts.get("bases", plan.bases), plan.aliases)
        return World(made, self.good_matrix, parts.get("verdicts", ()))

    @cached_property
    def good_matrix(self) -> Matrix:
        """The matrix without a change."""
        return self.matrix(lambda data: None).matrix

    def locked(self, packages: "tuple[Package, ...]") -> World:
        """The world whose lock has some packages more."""
        return self.world(lock=dataclasses.replace(self.plan.lock, packages=(*self.plan.lock.packages, *packages)))

    def page(self, text: str, href: str, *, kind: str = "text/html") -> World:
        """A page of the PyTorch index with one link; the wheels of it are locked."""
        body = f'<html><body><a href="{html.escape(href)}">{html.escape(text)}</a></body></html>'
        return self._page(kind, body)

    def json_page(self, **entry: Any) -> World:
        """A page (PEP 691) with one file."""
        good = {"filename": WHEEL, "url": f"/f/{quote(WHEEL)}", "hashes": {"sha256": "ab" * 32}, "size": 7}
        body = {"meta": {"api-version": "1.0"}, "name": "torch", "files": [{**good, **entry}]}
        return self._page("application/vnd.pypi.simple.v1+json", json.dumps(body))

    def _page(self, kind: str, body: str) -> World:
        self.index.raw["whl/cu130/torch"] = (kind, body.encode("utf-8", "surrogatepass"))
        found = pytorch.Index(self.host, "cu130").wheels("torch")
        return self.locked(
            tuple(
                Package(name="torch", version=x.version, file=x.wheel.file, sha256=x.wheel.sha256, size=1, installed=1)
                for x in found
            )
        )

    def pylock(self, project: str = "numpy", version: str = "2.0", **wheel: Any) -> World:
        """What uv writes of one package, with a wheel."""
        good = {"url": f"https://a.b/{NUMPY}", "hashes": {"sha256": "ab" * 32}, "size": 7}
        text = (
            f"[[packages]]\nname = {toml(project)}\nversion = {toml(version)}\nwheels = [{toml({**good, **wheel})}]\n"
        )
        found = pylock.read(text)
        return self.locked(
            tuple(
                Package(name=r.name, version=r.version, file=w.file, sha256=w.sha256, size=w.size, installed=1)
                for r in found
                for w in r.wheels
            )
        )

    def metadata(self, **headers: str) -> World:
        """The METADATA of a wheel."""
        lines = {"Name": "torch", "Version": "2.13.0", **headers}.items()
        text = "".join(f"{name.replace('_', '-')}: {value}\n" for name, value in lines)
        archive = wheel({"torch-2.13.0.dist-info/METADATA": text})
        listed = Listed("torch", "2.13.0+cpu", Wheel(WHEEL), "https://a.b/x")
        required = archives.requirements(indexes._metadata(archive, listed))
        return self.world(cell=dataclasses.replace(self.plan.cell, requirements=required))

    def version_py(self, line: str) -> World:
        """The version.py of a wheel."""
        listed = Listed("torchvision", "0.28.0+cpu", Wheel("x"), "https://a.b/x")
        flavour = indexes._flavour(line, listed)
        return self.world(cell=dataclasses.replace(self.plan.cell, flavour=flavour))

    def folder_of_wheels(self, file: str) -> World:
        """A folder of this machine, with a wheel."""
        folder = self.folder / "wheels"
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        try:
            (folder / file).write_bytes(b"")
        except (OSError, ValueError):
            raise NotOfKind("no file can be called that") from None
        found = local_wheels(Host(folders=(folder,)), "torch")
        return self.locked(
            tuple(
                Package(name="torch", version="2.13.0", file=path.name, sha256="ab" * 32, size=1, installed=1)
                for path in found
            )
        )

    def pushed(self, name: str) -> World:
        """A name that the engine says an image was pushed under."""
        said: list[str] = []
        own = {"io.torchdev.cell": self.plan.cell.id}
        image = Image(id="sha256:0", size=1, layers=(), labels=own, pushed=(name, name))
        engine = type("Engine", (), {"image": lambda self, name: image})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recipe, "Engine", engine)
            found = recipe._image(self.plan, said.append)
        return dataclasses.replace(self.world(), plan=dataclasses.replace(self.plan, image=found.rpartition(":")[0]))


def good_lock(cell: Cell) -> Lock:
    """A lock that is right for the cell of these tests, with an unresolved wheel."""
    own = "cp311-cp311-manylinux_2_28_x86_64"
    names = [("filelock", "4.2", "py3-none-any"), ("torch", "2.13.0", own)]
    packages = tuple(make_package(*name) for name in names)
    return make_lock(cell, packages)


def wheel(files: "Mapping[str, str]") -> zipfile.ZipFile:
    """An archive in memory."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text.encode("utf-8", "surrogatepass"))
    return zipfile.ZipFile(buffer)


def toml(value: Any) -> str:
    """A value as TOML; JSON's strings are TOML's, but for what neither can hold."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(one)}" for key, one in value.items()) + "}"
    return json.dumps(value)


WHEEL = "torch-2.13.0+cu130-cp311-cp311-manylinux_2_28_x86_64.whl"
NUMPY = "numpy-2.0-cp311-cp311-manylinux_2_28_x86_64.whl"
CELL = Cell(
    python="3.11",
    flavour="cu130",
    torch="2.13.0",
    requirements=("torch==2.13.0", "filelock"),
    position=Position("matrix.yaml", 6, 5),
)
BASE = "python:3.11-slim-bookworm"


def quoted_url(text: str) -> str:
    """A text as the last part of an address."""
    return quote(text, safe="", errors="replace")


def row(key: str) -> "Callable[[Ground, str], World]":
    """The entrance that a key of a row is."""
    return lambda ground, text: ground.matrix(lambda data: data["rows"][0].update({key: text}))


def top(key: str, value: "Callable[[str], object]" = lambda text: text) -> "Callable[[Ground, str], World]":
    """The entrance that a key of the matrix is."""
    return lambda ground, text: ground.matrix(lambda data: data.update({key: value(text)}))


def locked(*trail: "str | int") -> "Callable[[Ground, str], World]":
    """The entrance that a value of a lock is."""

    def enter(ground: Ground, text: str) -> World:
        def change(data: Any) -> None:
            for step in trail[:-1]:
                data = data[step]
            data[trail[-1]] = text

        return ground.lock(change)

    return enter


EXCLUDE = {"python": "3.13"}
ENTRANCES: "dict[str, tuple[str, Callable[[Ground, str], World]]]" = {
    "matrix: image": ("torchdev", top("image")),
    "matrix: package": ("numpy===1", top("packages", lambda text: [text])),
    "matrix: constraint": ("numpy<2", top("constraints", lambda text: [text])),
    "matrix: companion": ("torchvision", top("companions", lambda text: [text])),
    "matrix: key": ("packages", lambda ground, text: ground.matrix(lambda data: data.update({text: []}))),
    "matrix: alias": ("latest", top("aliases", lambda text: {text: "py311-cu130"})),
    "matrix: target of an alias": ("py311-cu130", top("aliases", lambda text: {"latest": text})),
    "matrix: group": ("some", top("groups", lambda text: {text: ["py311-cu130"]})),
    "matrix: member of a group": ("py311-cu130", top("groups", lambda text: {"some": [text]})),
    "matrix: reason": ("old", top("exclude", lambda text: [{**EXCLUDE, "reason": text}])),
    "matrix: legacy": ("old", row("legacy")),
    "matrix: unlocked": ("no answer", row("unlocked")),
    "matrix: python": ("3.11", row("python")),
    "matrix: cuda": ("cu130", row("cuda")),
    "matrix: torch": ("2.13.0", row("torch")),
    "matrix: cudnn": ("9.24.0.43", row("cudnn")),
    "matrix: variant": ("plain", row("variant")),
    "matrix: arch": ("amd64", row("arch")),
    "lock: cell": ("py311-cu130-torch2.13.0", locked("cell")),
    "lock: python": ("3.11", locked("python")),
    "lock: platform": ("linux/amd64", locked("platform")),
    "lock: inputs": (inputs_digest(CELL), locked("inputs")),
    "lock: name": ("torch", locked("packages", 1, "name")),
    "lock: version": ("2.13.0", locked("packages", 1, "version")),
    "lock: file": ("torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl", locked("packages", 1, "file")),
    "lock: sha256": ("ab" * 32, locked("packages", 1, "sha256")),
    "lock: origin": ("", locked("packages", 1, "origin")),
    "lock: file of uv": ("uv-0.13.9-py3-none-manylinux_2_17_x86_64.whl", locked("uv", "file")),
    "bases: name": (BASE, lambda ground, text: ground.bases(text)),
    "bases: digest": (f"sha256:{'0' * 64}", lambda ground, text: ground.bases(BASE, digest=text)),
    "bases: source": ("docker.io", lambda ground, text: ground.bases(BASE, source=text)),
    "bases: day": ("2026-11-23", lambda ground, text: ground.bases(BASE, read=text)),
    "index: text of a link": (WHEEL, lambda ground, text: ground.page(text, f"/f/{quoted_url(text)}")),
    "index: address": (f"/f/{quote(WHEEL)}", lambda ground, text: ground.page(WHEEL, text)),
    "index: hash": ("ab" * 32, lambda ground, text: ground.page(WHEEL, f"/f/{quote(WHEEL)}#sha256={text}")),
    "index: file name in JSON": (WHEEL, lambda ground, text: ground.json_page(filename=text)),
    "index: address in JSON": (f"https://a.b/{quote(WHEEL)}", lambda ground, text: ground.json_page(url=text)),
    "index: hash in JSON": ("ab" * 32, lambda ground, text: ground.json_page(hashes={"sha256": text})),
    "index: kind of hash in JSON": ("sha256", lambda ground, text: ground.json_page(hashes={text: "ab" * 32})),
    "index: size in JSON": ("7", lambda ground, text: ground.json_page(size=text)),
    "uv: name": ("numpy", lambda ground, text: ground.pylock(project=text)),
    "uv: version": ("2.0", lambda ground, text: ground.pylock(version=text)),
    "uv: address": (f"https://a.b/{NUMPY}", lambda ground, text: ground.pylock(url=text)),
    "uv: name of a wheel": (NUMPY, lambda ground, text: ground.pylock(name=text)),
    "uv: end of an address": (NUMPY, lambda ground, text: ground.pylock(url=f"https://a.b/{quoted_url(text)}")),
    "uv: hash": ("ab" * 32, lambda ground, text: ground.pylock(hashes={"sha256": text})),
    "wheel: Name": ("torch", lambda ground, text: ground.metadata(Name=text)),
    "wheel: Version": ("2.13.0", lambda ground, text: ground.metadata(Version=text)),
    "wheel: Requires-Dist": ("numpy", lambda ground, text: ground.metadata(Requires_Dist=text)),
    "wheel: version.py": ("0.28.0+cpu", lambda ground, text: ground.version_py(f"__version__ = '{text}'")),
    "folder: name of a wheel": (WHEEL, lambda ground, text: ground.folder_of_wheels(text)),
    "engine: pushed name": ("ghcr.io/a/torchdev", lambda ground, text: ground.pushed(f"{text}:x")),
    "image: what a check says": ("failed", lambda ground, text: ground.world(verdicts=(verdict(text),))),
}  # fmt: skip
"""Each with a good value, and what gives a value to it and makes a world of what comes through."""


def verdict(why: str) -> Verdict:
    """A check that failed."""
    return Verdict(cell="py311-cu130-torch2.13.0", check="test_x", outcome=Outcome.FAIL, why=why, seconds=1.0)


INSTRUCTION = re.compile(
    r"FROM [a-z0-9./:@-]+( AS [a-z-]+)?|RUN --mount=[A-Za-z0-9 ,./:=_+-]+|SHELL \[[a-z/\", -]+\]|USER 1000"
    r"|WORKDIR /workspace|ENV [A-Za-z0-9 /:=._-]+|COPY (common/files|[a-z0-9.-]+/contract\.json) /"
    r'|ENTRYPOINT \[[a-z/\", -]+\]|CMD \["bash"\]|LABEL( +[a-z.]+="([^"\\$]|\\["\\$])*")+'
)
"""All that a Dockerfile of ours may hold: no sign that a shell would read as more than a word."""
LINES = {
    "requirements.txt": r"[a-z0-9-]+==[a-z0-9.+!]+( --hash=sha256:[0-9a-f]{64}|  # unresolved: no hash is known)",
    "SHA256SUMS": r"[0-9a-f]{64}  [A-Za-z0-9._+!-]+\.whl",
    "pytorch-index.txt": r"(cpu|cu[0-9]{3})/[A-Za-z0-9._+!-]+\.whl",
    "pin.txt": r"nvidia-cudnn-cu[0-9]+==[0-9.]+",
}
"""Files that commands of a build read, and what each of their lines may be."""
OPTION = r"--(python-version|implementation|abi|platform)=[A-Za-z0-9_.]+"


def of_a_plan(holds: "Callable[[World], None]") -> "Callable[[World], None]":
    """A product that is made from nothing but the plan: what has held for one holds for its equals.

    Cells that differ in their reasons alone are equal, and are told apart here.
    """
    held: set[object] = set()

    def ask(world: World) -> None:
        plan = (world.plan, dataclasses.astuple(world.plan.cell))
        if plan not in held:
            holds(world)
            held.add(plan)

    return ask


@of_a_plan
def dockerfile(world: World) -> None:
    """Every instruction is one of ours, and every line is shown as it is."""
    text = world.files["Dockerfile"]
    assert printable(text) == text
    lines = re.sub(
        r" *\\\n", " ", "".join(line for line in text.splitlines(True) if not line.startswith("#"))
    ).splitlines()
    assert [line for line in lines if line.strip() and not INSTRUCTION.fullmatch(line.strip())] == []
    stages = [line.split() for line in lines if line.startswith("FROM ")]
    known = {"scratch", *(base.ref for base in world.plan.bases)} | {words[3] for words in stages if len(words) == 4}
    assert {words[1] for words in stages} <= known


@of_a_plan
def read_by_commands(world: World) -> None:
    """What the steps of a build read is, line by line, what they expect."""
    for name, text in world.files.items():
        pattern = OPTION if name.startswith("common/fetch/") else LINES.get(Path(name).name, "")
        if pattern:
            assert [line for line in text.split("\n")[:-1] if not re.fullmatch(pattern, line)] == [], name


@of_a_plan
def bake_file(world: World) -> None:
    """A target of its own name, without arguments, secrets or commands."""
    targets = json.loads(world.files[render.BAKE_FILE])["target"]
    assert list(targets) == [world.plan.target]
    assert targets[world.plan.target].keys() == {"context", "dockerfile", "tags", "platforms"}
    assert targets[world.plan.target]["context"] == "images"
    assert targets[world.plan.target]["dockerfile"] == f"{world.plan.cell.id}/Dockerfile"
    assert re.fullmatch(r"[a-z0-9._:/-]+", " ".join(targets[world.plan.target]["tags"]))


@of_a_plan
def contract_json(world: World) -> None:
    """JSON that is shown as it is."""
    text = world.files["contract.json"]
    assert json.loads(text)["cell"] == world.plan.cell.id
    assert printable(text) == text


@of_a_plan
def recipe_files(world: World) -> None:
    """Recipes name the image, as one word of a shell and as one string of YAML."""
    plan = world.plan
    for kind in (jobs.DOCKER, jobs.COMPOSE, jobs.DEVCONTAINER, jobs.KUBERNETES, jobs.TRAINJOB):
        job = jobs.make_job(plan.cell, jobs.RecipeOptions(kind=kind), plan.tags[0], {})
        for name, file in recipes.make(job, ROOT / "templates").items():
            text = file.text
            assert printable(text) == text
            if name.endswith(".yaml"):
                images = [found for document in yaml.load_all(text, LOADER) for found in strings(document, "image")]
                assert set(images) <= {plan.tags[0]}
            if name == "run.sh":
                assert shlex.split(text.splitlines()[-1])[0] == plan.tags[0]


def strings(value: Any, key: str) -> "Iterator[str]":
    """The values that a key has anywhere in a document."""
    if isinstance(value, dict):
        yield from ([value[key]] if key in value else [])
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(one, key)


def results_of(world: World) -> "list[report.Result]":
    """The world's verdicts as the result of its cell."""
    plan, error = world.plan, world.verdicts[0].why if world.verdicts else ""
    return [
        report.Result(
            cell=plan.cell.id,
            state=report.State.FAILED,
            image=None,
            tags=plan.tags,
            verdicts=world.verdicts,
            error=error,
        )
    ]


def on_a_terminal(world: World) -> None:
    """Tables, verdicts and errors reach a terminal through the stream that shows them."""
    stream = Shown(io.StringIO())
    for text in (
        listing.cells_text(world.matrix, world.matrix.cells),
        report.results_text(results_of(world)),
        report.verdicts_text(world.verdicts),
    ):
        print(text, file=stream)  # type: ignore[call-overload] # it has what print needs
    text = stream.getvalue()
    assert all(c.isprintable() or c in "\n\t" for c in text)
    assert world.matrix.cells[0].id in text


def json_for_programs(world: World) -> None:
    """JSON that is shown as it is, and read back as it was."""
    for text in (listing.cells_json(world.matrix, world.matrix.cells), report.results_json(results_of(world))):
        assert text.isascii()
        assert printable(text) == text
        json.loads(text)
    assert json.loads(listing.cells_json(world.matrix, world.matrix.cells))[0]["legacy"] == world.matrix.cells[0].legacy


def junit(world: World) -> None:
    """XML that a parser takes, with as many cases as there were checks."""
    root = ElementTree.fromstring(report.results_junit(results_of(world)).encode())
    assert len(list(root.iter("testcase"))) == len(world.verdicts)
    assert {element.tag for element in root.iter()} <= {"testsuites", "testsuite", "testcase", "failure"}


@of_a_plan
def markdown(world: World) -> None:
    """A row of two fields, without mark-up or HTML."""
    unresolved = tuple(dataclasses.replace(package, sha256=None) for package in world.plan.lock.packages)
    lock = dataclasses.replace(world.plan.lock, packages=unresolved)
    page = pages.unlocked_page({world.plan.cell: lock})
    row = next(line for line in page.splitlines() if line.startswith(f"| {world.plan.cell.id}"))
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert not re.search(r"(?<!\\)[<`*\[\]_]", row)


PRODUCTS: "dict[str, Callable[[World], None]]" = {
    "Dockerfile": dockerfile,
    "bake file": bake_file,
    "files that commands read": read_by_commands,
    "contract": contract_json,
    "recipes": recipe_files,
    "terminal": on_a_terminal,
    "JSON": json_for_programs,
    "JUnit": junit,
    "Markdown": markdown,
}
"""Each with what must hold for it, whatever has come through the entrances."""


@pytest.fixture(scope="module")
def index() -> "Iterator[FakeIndex]":
    """An index on loopback."""
    with serving(FakeIndex()) as made:
        yield made


@pytest.fixture
def ground(tmp_path: Path, index: FakeIndex, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> Ground:
    """What entrances stand on; templates are read and compiled once."""
    monkeypatch.setattr(render, "Sources", SOURCES)
    return Ground(tmp_path, index, plan)


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_good_values_come_through(ground: Ground, entrance: str) -> None:
    """Each entrance admits what it is for, and every product holds then: nothing here passes by refusing all."""
    good, enter = ENTRANCES[entrance]
    world = enter(ground, good)
    for holds in PRODUCTS.values():
        holds(world)


def texts_for(entrance: str) -> "list[tuple[int, str]]":
    """The texts for an entrance, numbered: a third, and each text at every third entrance; in CI all."""
    step = 1 if settings.default.max_examples >= MANY else 3
    return list(enumerate(TEXTS))[list(ENTRANCES).index(entrance) % step :: step]


MANY = 500
"""Examples that the profile `ci` of Hypothesis has."""


def test_all_texts_are_tried() -> None:
    """Each somewhere, however few are tried at one entrance."""
    assert {text for entrance in ENTRANCES for _, text in texts_for(entrance)} == set(TEXTS)


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_hostile_texts_are_refused_or_harmless(ground: Ground, entrance: str) -> None:
    """Behind a good value, before it, or within it; a refusal can be shown, and repeats no long text."""
    good, enter = ENTRANCES[entrance]
    for number, text in texts_for(entrance):
        value = (good + text, text + good, good[:2] + text + good[2:], text)[number % 4]
        world, refusal = tried(enter, ground, value)
        assert printable(refusal) == refusal, value
        assert len(refusal) < LONGEST_REFUSAL, value
        for product, holds in PRODUCTS.items() if world else ():
            try:
                holds(world)
            except Exception as error:
                raise AssertionError(f"{product} after {value!r}") from error


def tried(enter: "Callable[[Ground, str], World]", ground: Ground, value: str) -> "tuple[World | None, str]":
    """What comes through an entrance, or the words of its refusal."""
    try:
        return enter(ground, value), ""
    except REFUSALS as error:
        return None, str(error)


LONGEST_REFUSAL = 1200
"""Characters of a message."""


@pytest.mark.parametrize("name", [
    "torch-2.13.0+cpu-cp311-cp311.$(id>&2)-manylinux_2_28_x86_64.whl", "torch-2.13.0+cpu-$(id)-cp311-linux_x86_64.whl",
    "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.`id`.manylinux_2_17_x86_64.whl",
    "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64\n--index-url=http:e_x86_64.whl",
    "torch-$(id)-cp311-cp311-linux_x86_64.whl", "torch-2.13.0-cp311-cp311.$(id)-win_amd64.whl",
])  # fmt: skip
def test_an_index_that_lists_commands_is_refused_by_its_address(ground: Ground, name: str) -> None:
    """Whether its page is HTML or JSON; it is not taken for an index that is silent."""
    words = f"^{ground.index.url}/whl/cu130: the page of torch lists what no index has"
    address = quoted_url(name)
    for page in (lambda: ground.page(name, address), lambda: ground.json_page(filename=name, url=address)):
        with pytest.raises(BuildError, match=words):
            page()
    with pytest.raises(BuildError, match="address of another file"):
        ground.page(WHEEL, address)


def test_what_a_process_prints_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both streams, whatever is printed, once each; what a stream's encoding lacks is escaped, too."""
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding="ascii") for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    terminal.guard()
    terminal.guard()
    print("a\x1b[2J\tb\r\n\u202eé")
    print("\x9b31m", "\ud800", file=sys.stderr, sep="\n")
    sys.stdout.flush()
    sys.stderr.flush()
    assert [stream.buffer.getvalue() for stream in streams.values()] == [  # type: ignore[attr-defined] # BytesIO
        b"a\\x1b[2J\tb\\r\n\\u202e\\xe9\n",
        b"\\x9b31m\n\\ud800\n",
    ]
    assert sys.stdout.fileno is not None
    assert terminal.drawable(sys.stdout) is streams["stdout"]
    assert sys.stdout.encoding == "ascii"


def test_json_that_is_printed_is_json() -> None:
    """Python's own leaves DEL as it is, which would be escaped as JSON has it not."""
    text = texts.json_text({"a": "\x7f\x1b\u202e\ud800é"}, indent=None)
    assert printable(text) == text
    assert json.loads(text) == {"a": "\x7f\x1b\u202e\ud800é"}


def test_build_py_shows_its_words() -> None:
    """From the first line on: words of the command line that argparse repeats, and errors of stages."""
    words = ["list", "--x\x1b[2J"]
    alone = subprocess.run(
        [sys.executable, str(ROOT / "build.py"), *words], capture_output=True, text=True, check=False
    )
    others = (["\x1b[2J"], ["list", "--matrix-file", "\x1b[2J"], ["explain", "\x1b[2J"])
    for done in (alone, forked.build_py(*words), *(forked.build_py(*words) for words in others)):
        assert done.returncode == 2
        assert "\x1b" not in done.stdout + done.stderr
        assert "x1b[2J" in done.stderr
