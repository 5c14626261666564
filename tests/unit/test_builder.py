"""Which layers count as there, by the labels of the engine's images; and which failures are tried again."""

import dataclasses
from pathlib import Path

import pytest

from torchdev import builder, files
from torchdev.builder import ATTEMPTS, INPUTS_LABEL, LAYERS_LABEL, LOST_STEP, LOST_WHEELS, present
from torchdev.errors import BuildError
from torchdev.forecast import below, chain, needed
from torchdev.places import Places
from torchdev.plan import Plan, base_labels
from torchdev.redact import Private

STANDS = {"torchdev.invalid/bootstrap:debian": ("sha256:d", {}), "torchdev.invalid/bootstrap:python": ("sha256:p", {})}


def built(plan: Plan, inputs: str = "now", debian: str = "sha256:d", python: str = "sha256:p") -> builder.Names:
    """An engine with the stand-ins and a plan's image on stand-ins that had these ids."""
    bases = [(name, id_) for name, id_ in zip(STANDS, (debian, python), strict=True)]
    labels = {INPUTS_LABEL: inputs, LAYERS_LABEL: " ".join(chain(plan)), "io.torchdev.lock": plan.lock.digest}
    return {**STANDS, plan.tags[0]: ("sha256:i", {**labels, **base_labels("bootstrapped", *bases)})}


def changed(plan: Plan, name: str) -> Plan:
    """The plan after an edit of a template."""
    return dataclasses.replace(plan, templates=tuple((n, h + "!" * (n == name)) for n, h in plan.templates))


@pytest.fixture
def templated(first: Plan) -> Plan:
    """The small plan with some templates."""
    names = ("Dockerfile.j2", "files/uv", "layers/macros.j2", "scripts/seal", "steps/install-debs", "override/accept")
    return dataclasses.replace(first, templates=tuple((name, "1") for name in names))


def there(plan: Plan, names: builder.Names, wanted: str = "now") -> "list[str]":
    """The layers of a plan that count as there, by name; the base is one."""
    found = present(names, (plan,), lambda plan: {wanted})
    return [
        name for name, key in zip(("base", *(x.name for x in plan.layers)), chain(plan), strict=True) if key in found
    ]


@pytest.mark.parametrize(
    ("template", "kept"),
    [
        ("scripts/seal", ["base"]),
        ("layers/macros.j2", ["base"]),
        ("steps/install-debs", ["base", "cuda", "cudnn", "nccl"]),
        ("files/uv", ["base", "cuda", "cudnn", "nccl", "debian", "python", "torch", "packages"]),
    ],
)
def test_layers_of_an_older_template_are_not_there(templated: Plan, template: str, kept: "list[str]") -> None:
    """The lock is the same, but what it makes must be built anew, and takes room."""
    after = changed(templated, template)
    names = built(templated, "before")
    assert there(after, names) == kept
    assert needed([after], present(names, (after,), lambda plan: {"now"})) > 0


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


def test_layers_on_another_stand_in_are_not_there(first: Plan) -> None:
    """A Debian made anew has none of them, a Python made anew what lies below it."""
    assert there(first, built(first, "before", debian="sha256:older")) == []
    shared = ["base", *(layer.name for layer in below(first).layers)]
    assert there(first, built(first, "before", python="sha256:older")) == shared
    assert len(there(first, built(first, "before"))) == 1 + len(first.layers)


def test_layers_on_official_bases_serve_no_stand_ins(first: Plan) -> None:
    """Where it is known which ones a build takes."""
    names = built(first, "before")
    assert present(names, (first,), lambda plan: {"now"}, builder.OFFICIAL) == set()
    assert present(names, (first,), lambda plan: {"now"}, builder.BOOTSTRAPPED) == set(chain(first))


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
    monkeypatch.setattr(builder, "RETRY_AFTER", 0)
    engine = Fails(*words)
    builder._bake(engine, ["bake"], first, tmp_path / "log", None, tmp_path, Private())  # type: ignore[arg-type]
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
    monkeypatch.setattr(builder, "RETRY_AFTER", 0)
    engine = Fails(*words)
    with pytest.raises(BuildError):
        builder._bake(engine, ["bake"], first, tmp_path / "log", None, tmp_path, Private())  # type: ignore[arg-type]
    assert len(engine.commands) == tries


def test_what_a_killed_writer_left_is_no_input(first: Plan, tmp_path: Path) -> None:
    """Or an image would be built anew for it, and again once it is gone; every other file is one."""
    places = Places(tmp_path, tmp_path / "matrix.yaml")
    folder = places.images / first.cell.id
    files.write(folder / "steps" / "a", "x")
    before = builder.inputs(first, places, {})
    for name in (".lock.json.abcd1234.unfinished", "steps/.a.abcd1234.unfinished"):
        (folder / name).write_text("x")
    assert builder.inputs(first, places, {}) == before
    (folder / "steps" / "b.unfinished").write_text("x")
    assert builder.inputs(first, places, {}) != before
