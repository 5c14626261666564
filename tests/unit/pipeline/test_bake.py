"""Which layers count as there, by the labels of the engine's images; and which failures are tried again."""

import dataclasses
import hashlib
import re
import shutil
from pathlib import Path

import pytest

from tests.unit.conftest import ROOT
from tests.unit.fake_engine import session_of
from torchdev.image import render
from torchdev.image.context import context_of
from torchdev.image.dockerfile import Recipe
from torchdev.image.paths import Paths
from torchdev.image.plan import Plan, base_labels
from torchdev.pipeline import bake
from torchdev.pipeline.bake import ATTEMPTS, LOST_STEP, LOST_WHEELS
from torchdev.pipeline.estimate import below, chain, needed
from torchdev.pipeline.inventory import BOOTSTRAPPED, INPUTS_LABEL, LAYERS_LABEL, OFFICIAL, Inputs, Names, present
from torchdev.util import trees
from torchdev.util.errors import BuildError
from torchdev.wheels.host import Host

SUBSTITUTES = {
    "torchdev.invalid/bootstrap:debian": ("sha256:d", {}),
    "torchdev.invalid/bootstrap:python": ("sha256:p", {}),
}


def built(plan: Plan, inputs: str = "now", debian: str = "sha256:d", python: str = "sha256:p") -> Names:
    """An engine with the substitutes and a plan's image on substitutes that had these ids."""
    bases = [(name, id_) for name, id_ in zip(SUBSTITUTES, (debian, python), strict=True)]
    labels = {INPUTS_LABEL: inputs, LAYERS_LABEL: " ".join(chain(plan)), "io.torchdev.lock": plan.lock.digest}
    return {**SUBSTITUTES, plan.tags[0]: ("sha256:i", {**labels, **base_labels("bootstrapped", *bases)})}


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    """The templates, to be edited."""
    return Path(shutil.copytree(ROOT / "templates", tmp_path / "templates"))


def planned(plan: Plan, templates: Path) -> Plan:
    """The plan as these templates make its layers."""
    return render.with_steps(plan, render.Sources(templates))


def there(plan: Plan, names: Names, wanted: str = "now") -> "list[str]":
    """The layers of a plan that count as there, by name; the base is one."""
    found = present(names, (plan,), lambda plan: {wanted})
    return [
        name for name, key in zip(("base", *(x.name for x in plan.layers)), chain(plan), strict=True) if key in found
    ]


BELOW_PYTHON = ["base", "cuda", "cudnn", "nccl"]
ALL_BUT_USER = [*BELOW_PYTHON, "debian", "python", "torch", "packages"]


@pytest.mark.parametrize(
    ("template", "kept"),
    [
        ("scripts/seal", ["base"]),
        ("layers/macros.j2", ["base"]),
        ("steps/install-tools", ["base"]),
        ("steps/install-debs", BELOW_PYTHON),
        ("steps/fetch-wheels", BELOW_PYTHON),
        ("files/uv", ALL_BUT_USER),
        ("override/accept-version", [*ALL_BUT_USER, "user"]),
        ("recipes/kubernetes/pod.j2", [*ALL_BUT_USER, "user"]),
    ],
)
def test_layers_of_an_older_template_are_not_there(
    first: Plan, templates: Path, template: str, kept: "list[str]"
) -> None:
    """The lock is the same, but what it makes must be built anew, and takes room."""
    before = planned(first, templates)
    path = templates / template
    path.write_text(path.read_text().replace("--mount", "--mount=type=tmpfs,target=/x --mount", 1) + "# edited\n")
    after = planned(first, templates)
    names = built(before, "before")
    assert there(after, names) == kept
    room = needed([after], present(names, (after,), lambda plan: {"now"}))
    assert (room == 0) == (len(kept) == 1 + len(first.layers))


def test_layers_whose_files_have_moved_are_there(first: Plan, templates: Path) -> None:
    """BuildKit's key of a step has what is mounted and where to, not where from: neither another folder of the
    context nor a comment makes a layer another.
    """
    before = planned(first, templates)
    for path in (templates / "Dockerfile.j2", *(templates / "layers").iterdir()):
        text = path.read_text().replace("at.steps", "'common/before/steps'").replace("# What", "# All that")
        path.write_text(text.replace("at.scripts", "'common/before/scripts'"))
    sources = render.Sources(templates)
    text = sources.dockerfile(first).text
    assert "source=common/before/scripts,target=/scripts" in text
    moved = {
        re.sub(r"^common/(?=scripts/|steps/)", "common/before/", name): hash_
        for name, hash_ in sources._hashes(first).items()
    }
    after = dataclasses.replace(first, steps=Recipe(text, moved).layers)
    assert there(after, built(before, "before")) == ["base", *(layer.name for layer in first.layers)]


def test_layers_of_the_layout_of_a_folder_a_cell_are_there(first: Plan) -> None:
    """Each cell had copies of all that is in images/common now: what was built then is not built again, but for `user`,
    which took its files another way.
    """
    sources, at = render.Sources(ROOT / "templates"), context_of(first)
    new = planned(first, ROOT / "templates")
    homes = {at.scripts: "scripts", at.steps: "steps", at.files: "files"}
    homes |= {path: f"wheels/{name}" for name, path in at.wheels.items()}
    homes |= {path: f"fetch/{name}.txt" for name, path in at.fetch.items()}
    text, files = sources.dockerfile(first).text, dict[str, str]()
    for home, old in homes.items():
        text = text.replace(f"source={home},", f"source={old},")
        files |= {name.replace(home, old, 1): h for name, h in sources._hashes(first).items() if name.startswith(home)}
    text = text.replace("bind,from=files,", "bind,source=files,")
    assert "common" not in "".join(line for line in text.splitlines() if line.startswith("RUN"))
    old_steps = Recipe(text, files).layers
    assert [layer.name for layer, a, b in zip(first.layers, new.steps, old_steps, strict=True) if a != b] == ["user"]
    assert there(new, built(dataclasses.replace(first, steps=old_steps), "before")) == ALL_BUT_USER


def test_other_tools_are_other_layers(first: Plan) -> None:
    """Uv and the Python that it runs on install every wheel."""
    tool = dataclasses.replace(first.tool, name="python:3.14-slim-trixie")
    assert there(dataclasses.replace(first, tool=tool), built(first, "before")) == ["base"]
    lock = dataclasses.replace(first.lock, uv=dataclasses.replace(first.lock.uv, sha256="cd" * 32))
    assert there(dataclasses.replace(first, lock=lock), built(first, "before")) == ["base"]


def test_image_of_the_present_inputs_has_all_layers(first: Plan) -> None:
    """Whatever names an earlier torchdev had for them; the same lock alone proves nothing."""
    names = built(first)
    names[first.tags[0]][1][LAYERS_LABEL] = "older names"  # type: ignore[index]
    assert there(first, names) == there(first, built(first))
    assert there(first, names, "other") == []


def test_layers_on_another_substitute_are_not_there(first: Plan) -> None:
    """A Debian made anew has none of them, a Python made anew what lies below it."""
    assert there(first, built(first, "before", debian="sha256:older")) == []
    shared = ["base", *(layer.name for layer in below(first).layers)]
    assert there(first, built(first, "before", python="sha256:older")) == shared
    assert len(there(first, built(first, "before"))) == 1 + len(first.layers)


def test_layers_on_official_bases_serve_no_substitutes(first: Plan) -> None:
    """Where it is known which ones a build takes."""
    names = built(first, "before")
    assert present(names, (first,), lambda plan: {"now"}, OFFICIAL) == set()
    assert present(names, (first,), lambda plan: {"now"}, BOOTSTRAPPED) == set(chain(first))


class Fails:
    """An engine whose builds end with these words, one after another, and then succeed."""

    def __init__(self, *words: str) -> None:
        """The words of its failures."""
        self.words, self.commands = list(words), list[list[str]]()

    def buildx(self, arguments: "list[str]", log: Path, *_: object) -> None:
        """Fail, or not."""
        self.commands.append(arguments)
        if self.words:
            log.write_text(f"#1 {self.words.pop(0)}")
            raise BuildError("it failed")


@pytest.mark.parametrize("words", [[LOST_WHEELS], [LOST_WHEELS, LOST_WHEELS], [LOST_STEP, LOST_WHEELS, LOST_STEP]])
def test_what_is_lost_is_made_again(
    first: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: "list[str]"
) -> None:
    """Wheels by one more bake file, from the first time that they are missed."""
    monkeypatch.setattr(bake, "RETRY_AFTER", 0)
    engine = Fails(*words)
    session = session_of(engine, Paths(ROOT, tmp_path / "matrix.yaml"))
    bake._bake(session, first, ["bake"], tmp_path / "log", tmp_path)
    again = [f"--file={tmp_path / 'fetch-again.json'}"]
    since = words.index(LOST_WHEELS) + 1
    assert engine.commands == [["bake"]] * since + [["bake", *again]] * (len(words) + 1 - since)
    stages = '"no-cache-filter": ["fetch-cuda", "fetch-cudnn", "fetch-nccl", "fetch-torch", "fetch-packages"]'
    assert stages in (tmp_path / "fetch-again.json").read_text()


@pytest.mark.parametrize(("words", "tries"), [(["another fault"], 1), ([LOST_WHEELS] * ATTEMPTS, ATTEMPTS)])
def test_other_faults_and_too_many_end_the_build(
    first: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: "list[str]", tries: int
) -> None:
    """Nothing is tried for ever."""
    monkeypatch.setattr(bake, "RETRY_AFTER", 0)
    engine = Fails(*words)
    session = session_of(engine, Paths(ROOT, tmp_path / "matrix.yaml"))
    with pytest.raises(BuildError):
        bake._bake(session, first, ["bake"], tmp_path / "log", tmp_path)
    assert len(engine.commands) == tries


def test_what_a_killed_writer_left_is_no_input(first: Plan, tmp_path: Path) -> None:
    """Or an image would be built anew for it, and again once it is gone; every other file is one."""
    paths = Paths(ROOT, tmp_path / "matrix.yaml")
    render.write_cell(first, paths.templates, paths.images)
    before = Inputs(paths).of(first, {})
    for name in (f"{first.cell.id}/.lock.json.abcd1234.unfinished", "common/steps/.a.abcd1234.unfinished"):
        (paths.images / name).write_text("x")
    assert Inputs(paths).of(first, {}) == before
    (paths.images / "common" / "steps" / "b.unfinished").write_text("x")
    assert Inputs(paths).of(first, {}) != before


@pytest.fixture
def many(first: Plan, second: Plan, tmp_path: Path) -> "tuple[Paths, tuple[Plan, ...]]":
    """A checkout's images/ with three cells: on two Pythons, and on one whose scripts are its own."""
    oldest = dataclasses.replace(first, cell=dataclasses.replace(first.cell, python="3.6"))
    paths, plans = Paths(ROOT, tmp_path / "matrix.yaml"), (first, second, oldest)
    trees.update(render.tree(render.render(plans, paths.templates), paths.images))
    return paths, plans


@pytest.mark.parametrize(
    ("name", "stale"),
    [
        ("common/steps/guard", [True, True, True]),
        ("common/files/doctor/gpu.py", [True, True, True]),
        ("common/scripts/sealed", [True, True, False]),
        ("common/python3.6/scripts/sealed", [False, False, True]),
        ("wheels/cuda", [True, True, True]),
        ("common/wheels/of-no-cell/requirements.txt", [False, False, False]),
        ("docker-bake.json", [False, False, False]),
        ("own/lock.json", [True, False, False]),
        ("own/contract.json", [True, False, False]),
    ],
)
def test_what_cells_share_is_an_input_of_each(
    many: "tuple[Paths, tuple[Plan, ...]]", name: str, stale: "list[bool]"
) -> None:
    """An edit below images/common makes every cell stale that takes the file, and no other."""
    paths, plans = many
    name = name.replace("wheels/cuda", f"{context_of(plans[0]).wheels['cuda']}/requirements.txt")
    name = name.replace("own/", f"{plans[0].cell.id}/")
    before = [Inputs(paths).of(plan, {}) for plan in plans]
    path = paths.images / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((path.read_text() if path.exists() else "") + "# edited\n")
    after = [Inputs(paths).of(plan, {}) for plan in plans]
    assert [a != b for a, b in zip(before, after, strict=True)] == stale


def test_wheels_of_this_machine_lie_beside_their_pins(many: "tuple[Paths, tuple[Plan, ...]]", tmp_path: Path) -> None:
    """A copy of what the cell's build takes, with them; without any, all cells have one context."""
    paths, (plan, *_) = many
    torch = next(package for package in plan.lock.packages if package.name == "torch")
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / torch.file).write_bytes(b"a wheel")
    sha256 = hashlib.sha256(b"a wheel").hexdigest()
    layers = tuple(
        dataclasses.replace(
            x, packages=tuple(dataclasses.replace(p, sha256=sha256) for p in x.packages if p.name == "torch")
        )
        if x.name == "torch"
        else x
        for x in plan.layers
    )
    own = dataclasses.replace(plan, layers=layers)
    render.write_cell(own, paths.templates, paths.images)
    assert bake._context(Host(), own, paths, tmp_path / "work") == paths.images
    copy = bake._context(Host(folders=(folder,)), own, paths, tmp_path / "work")
    assert (copy / context_of(own).wheels["torch"] / torch.file).read_bytes() == b"a wheel"
    there = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
    assert there - {f"{context_of(own).wheels['torch']}/{torch.file}"} == set(
        render.Sources(paths.templates).files(own)
    )
