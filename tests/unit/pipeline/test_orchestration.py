"""Who does what in which order, on an engine in memory: builds, checks, tags, pushes, locks, settings, consent."""

import dataclasses
import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from tests.unit.conftest import ROOT, make_package
from tests.unit.fake_engine import FakeEngine, session_of
from torchdev.bases import bootstrap
from torchdev.catalog.bases import Base
from torchdev.cli import arguments, build, push, quickstart
from torchdev.docgen.project import Project
from torchdev.engine.client import Engine
from torchdev.image import render
from torchdev.image.paths import Paths
from torchdev.image.plan import Plan
from torchdev.matrix.load import Cell
from torchdev.pipeline import batches, inventory, memory, session
from torchdev.pipeline.inventory import INPUTS_LABEL, Inputs
from torchdev.pipeline.report import State
from torchdev.pipeline.session import BuildSession, Options, Teller, begin, open_session
from torchdev.pipeline.verify import Outcome, Verdict
from torchdev.recipes import jobs
from torchdev.util import version
from torchdev.util.errors import EngineError, Exit, InputError
from torchdev.wheels import neighbours, pytorch, resolve
from torchdev.wheels.host import Host, host_of, read_host
from torchdev.wheels.settings import Settings, locations

TOP, COMMANDS = arguments.parser(ROOT / "matrix.yaml")
Checks = dict[str, Outcome]


@pytest.fixture
def engine() -> FakeEngine:
    """An engine without images."""
    return FakeEngine()


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Checks:
    """What the checks of a cell come to, by id: they pass unless it is otherwise here."""
    found: Checks = {}

    def verify(plan: Plan, image: str, gpu: str, paths: Paths, **more: object) -> "tuple[Verdict, ...]":
        outcome = found.get(plan.cell.id, Outcome.PASS)
        return (Verdict(cell=plan.cell.id, check="a check", outcome=outcome, why="", seconds=0.0),)

    monkeypatch.setattr(memory.verify, "verify", verify)
    monkeypatch.setattr(memory, "code", lambda checkout: "code")
    return found


@pytest.fixture
def plans(first: Plan, second: Plan, tmp_path: Path) -> "tuple[Plan, ...]":
    """Two cells that share what lies below Python, rendered; each with tags of its own."""
    found = first, dataclasses.replace(second, aliases=())
    for plan in found:
        render.write_cell(plan, ROOT / "templates", tmp_path / "images")
    return found


@pytest.fixture
def opened(engine: FakeEngine, tmp_path: Path, checks: Checks) -> BuildSession:
    """A session on that engine."""
    return session_of(engine, Paths(ROOT, tmp_path / "matrix.yaml"))


def states(opened: BuildSession, plans: "tuple[Plan, ...]") -> "list[State]":
    """A run of its own, and what it came to."""
    return [result.state for result in batches.run(opened, plans)]


def test_cells_are_built_checked_tagged_and_then_skipped(
    opened: BuildSession, engine: FakeEngine, plans: "tuple[Plan, ...]"
) -> None:
    """What they share comes first; no candidate is left; a second run builds nothing."""
    assert states(opened, plans) == [State.BUILT] * 2
    assert engine.built[0] == "shared"
    assert sorted(engine.built[1:]) == sorted(plan.target for plan in plans)
    assert set(engine.images) == {tag for plan in plans for tag in plan.tags}
    assert states(opened, plans) == [State.SKIPPED] * 2
    assert len(engine.built) == 3


def test_images_name_the_torchdev_that_built_them(
    opened: BuildSession, engine: FakeEngine, plans: "tuple[Plan, ...]", monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As `--version` prints it; another version makes no cell stale, and its label stays."""
    done = subprocess.run([sys.executable, ROOT / "build.py", "--version"], capture_output=True, text=True, check=True)
    batches.run(opened, plans)
    newer = tmp_path / "pyproject.toml"
    newer.write_text('[project]\nversion = "99.0.0"\n')
    monkeypatch.setattr(version, "FILE", newer)
    assert states(opened, plans) == [State.SKIPPED] * 2
    for plan in plans:
        image = engine.image(plan.tags[0])
        assert image
        assert f"torchdev {image.labels['io.torchdev.version']}\n" == done.stdout


def test_a_cell_whose_checks_fail_is_not_tagged(
    opened: BuildSession, engine: FakeEngine, plans: "tuple[Plan, ...]", checks: Checks
) -> None:
    """It stays under its candidate's name, and is checked again by the next run, which tags it."""
    checks[plans[0].cell.id] = Outcome.FAIL
    first, other = batches.run(opened, plans)
    assert (first.code, other.code) == (Exit.CHECK, Exit.OK)
    assert plans[0].candidate in engine.images
    assert not set(plans[0].tags) & set(engine.images)
    checks.clear()
    assert states(opened, plans) == [State.CHECKED, State.SKIPPED]
    assert set(plans[0].tags) <= set(engine.images)


def test_a_cell_that_fails_stops_no_other(opened: BuildSession, engine: FakeEngine, plans: "tuple[Plan, ...]") -> None:
    """It is named, and the others hold."""
    engine.failing.add(plans[0].target)
    results = batches.run(opened, plans)
    assert [result.code for result in results] == [Exit.BUILD, Exit.OK]
    assert plans[0].cell.id in results[0].error


def test_inputs_are_read_and_the_engine_is_looked_at_once_a_run(
    opened: BuildSession, engine: FakeEngine, plans: "tuple[Plan, ...]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many ask: what is there, what is current, what the label says."""
    read: list[str] = []
    real = inventory.context_files

    def counted(plan: Plan, paths: Paths) -> "list[tuple[str, Path]]":
        read.append(plan.cell.id)
        return real(plan, paths)

    monkeypatch.setattr(inventory, "context_files", counted)
    batches.run(opened, plans)
    assert sorted(read) == sorted(plan.cell.id for plan in plans)
    assert engine.looks == 1


def test_an_edit_makes_a_cell_stale_for_the_next_run(opened: BuildSession, plans: "tuple[Plan, ...]") -> None:
    """And no other cell."""
    states(opened, plans)
    opened.paths.contract(plans[0].cell.id).write_text("{}")
    assert states(opened, plans) == [State.BUILT, State.SKIPPED]


def test_a_cell_that_lacks_hashes_is_built_below_pytorch_alone(
    opened: BuildSession, engine: FakeEngine, plans: "tuple[Plan, ...]"
) -> None:
    """The reason that completing its lock ended with is its result."""
    packages = tuple(dataclasses.replace(p, sha256=None) for p in plans[0].lock.packages)
    plan = dataclasses.replace(plans[0], lock=dataclasses.replace(plans[0].lock, packages=packages))
    assert plan.lock.unresolved
    why = {plan.cell.id: EngineError("the index is silent")}
    [result] = batches.run(dataclasses.replace(opened, incomplete=why), (plan,))
    assert "the index is silent" in result.error
    assert engine.built == ["interpreter"]
    assert not engine.images


@pytest.fixture
def pushing(
    opened: BuildSession, engine: FakeEngine, plans: "tuple[Plan, ...]", monkeypatch: pytest.MonkeyPatch
) -> "Callable[[], None]":
    """The command push for both cells, which are built and checked."""
    project = cast(Project, Namespace(plans=lambda cells: plans, paths=opened.paths))
    monkeypatch.setattr(push, "Engine", lambda: engine)
    monkeypatch.setattr(push, "open_session", lambda *given, **more: opened)
    assert states(opened, plans) == [State.BUILT] * 2
    return lambda: push.push_cells(project, (), "registry.example/x", lambda text: None)


def test_push_sends_what_is_current_and_checked(
    pushing: "Callable[[], None]", engine: FakeEngine, plans: "tuple[Plan, ...]"
) -> None:
    """Under every tag."""
    pushing()
    assert engine.registry == {f"registry.example/x:{tag.rpartition(':')[2]}" for plan in plans for tag in plan.tags}


@pytest.mark.parametrize("what", ["stale", "unchecked", "another image", "gone"])
def test_push_refuses_what_is_stale_or_unchecked(
    pushing: "Callable[[], None]", opened: BuildSession, engine: FakeEngine, plans: "tuple[Plan, ...]", what: str
) -> None:
    """And pushes nothing at all then, not even the other cell."""
    tag = plans[1].tags[0]
    if what == "stale":
        dockerfile = opened.paths.dockerfile(plans[1].cell.id)
        dockerfile.write_text(dockerfile.read_text() + "# edited\n")
    elif what == "unchecked":
        for note in (opened.paths.work / "checked").iterdir():
            if plans[1].cell.id in note.read_text():
                note.unlink()
    elif what == "another image":
        engine.put(tag, {INPUTS_LABEL: Inputs(opened.paths).of(plans[1], {})}, "sha256:another")
    else:
        engine.untag(tag)
    with pytest.raises(InputError, match="has not been built from what is in this checkout, or its checks"):
        pushing()
    assert engine.registry == set()


def wanted(plan: Plan) -> "list[Base]":
    """The bases of a plan, each once."""
    return list(dict.fromkeys(plan.bases))


def test_bases_are_official_or_bootstrapped_and_never_mixed(engine: FakeEngine, first: Plan) -> None:
    """One that no registry has is reason enough to make all of them here; none, if all are there."""
    found = wanted(first)
    assert len(found) > 1
    chosen = lambda: bootstrap.choose(cast(Engine, engine), found)  # noqa: E731
    engine.registry = {base.ref for base in found[1:]}
    assert chosen() == found
    engine.registry = {base.ref for base in found}
    assert chosen() == []
    engine.registry = {found[0].ref}
    engine.put(found[1].ref)
    assert chosen() == (found if len(found) > 2 else [])


@pytest.fixture
def opening(
    engine: FakeEngine, first: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> "Callable[[list[str]], BuildSession]":
    """Open a session as a command line of build says, where no registry answers; bases are made at once."""
    monkeypatch.setattr(session, "read_host", Host)
    monkeypatch.setattr(session.buildx, "inspect", lambda *given: None)
    monkeypatch.setattr(session, "lock_dir_of", lambda engine: tmp_path / "locks")
    monkeypatch.setattr(bootstrap, "bootstrap", lambda *given: {})

    def opened(words: "list[str]") -> BuildSession:
        options = build.how(TOP.parse_args(["build", "--matrix", *words]))
        paths = Paths(ROOT, tmp_path / "matrix.yaml")
        return open_session(cast(Engine, engine), paths, (first,), options, Teller(say=lambda text: None))

    return opened


def test_no_bootstrap_turns_bootstrapping_off(opening: "Callable[[list[str]], BuildSession]", first: Plan) -> None:
    """And without it they are made."""
    assert opening([]).made == tuple(wanted(first))
    with pytest.raises(EngineError, match="--no-bootstrap turns bootstrapping off"):
        opening(["--no-bootstrap"])


def test_every_option_of_build_arrives(opening: "Callable[[list[str]], BuildSession]") -> None:
    """In the session, as it was typed."""
    flags = ["--no-test", "--verbose", "--rebuild", "--prune"]
    values = ["--jobs=3", "--room=5", "--gpu=none", "--push-to=r.example/x"]
    assert opening([*flags, *values]).options == Options(
        test=False,
        verbose=True,
        rebuild=True,
        jobs=3,
        prune=True,
        room=5_000_000_000,
        gpu="none",
        push_to="r.example/x",
    )
    assert opening([]).options == Options(jobs=arguments.AT_ONCE)


def test_logins_are_handed_to_builds(opened: BuildSession, engine: FakeEngine, first: Plan, tmp_path: Path) -> None:
    """By the environment of buildx, where the bake file names the secret; neither in the file nor in its words."""
    render.write_cell(first, ROOT / "templates", opened.paths.images)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine index.example login me password pa55word\n")
    netrc.chmod(0o600)
    host = host_of({}, Settings(index=locations(["https://index.example/simple"], "x")[0]), Settings(), netrc)
    batches.run(dataclasses.replace(opened, host=host), (first,))
    [private] = engine.private
    assert any("pa55word" in text for text in private.variables.values())
    assert any(option.startswith("id=netrc,") for option in host.secret_options())
    assert "pa55word" not in json.dumps(host.secret_options())


def test_lock_refuses_a_cudnn_that_can_not_serve_pytorch(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although uv can install it: another major version than the one that PyTorch was built with."""
    asked = dataclasses.replace(cell, cudnn="8.9.7.29")
    found = [Namespace(name="nvidia-cudnn-cu13", version="9.20.0.48")]
    monkeypatch.setattr(resolve, "compile_cell", lambda *given: found)
    monkeypatch.setattr(neighbours, "check", lambda *given: None)
    monkeypatch.setattr(resolve, "_pinned", lambda *given: (make_package("uv"),))
    monkeypatch.setattr(resolve, "_bundled_cuda", lambda *given: cell.cuda)
    monkeypatch.setattr(resolve, "_check_flavour", lambda *given: None)
    with pytest.raises(InputError, match="cuDNN"):
        resolve._resolve(asked, Host(), {}, pytorch.Index(Host(), asked.flavour, pytorch.Asked()))


class Answers:
    """A terminal, or none, with somebody who answers."""

    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal

    def isatty(self) -> bool:
        """Whether anybody can be asked."""
        return self.terminal


@pytest.mark.parametrize(
    ("yes", "terminal", "answer", "agreed"),
    [
        (True, False, "", True),
        (False, False, "y", False),
        (False, True, "y", True),
        (False, True, "", False),
        (False, True, "no", False),
    ],
)
def test_nothing_is_installed_without_consent(
    monkeypatch: pytest.MonkeyPatch, yes: bool, terminal: bool, answer: str, agreed: bool
) -> None:
    """It is given by --yes, or asked for where somebody can answer."""
    options = TOP.parse_args(["quickstart", *(["--yes"] if yes else [])])
    monkeypatch.setattr(sys, "stdin", Answers(terminal))
    monkeypatch.setattr("builtins.input", lambda question: answer)
    given: list[quickstart.Consent] = []
    monkeypatch.setattr(quickstart, "opened", lambda options, root: (None, (None,)))
    monkeypatch.setattr(quickstart, "quickstart", lambda project, cells, consent, say: given.append(consent) or 0)
    assert quickstart.run(options, ROOT) == 0
    if agreed:
        given[0].ask("Install it")
    else:
        with pytest.raises(EngineError, match=r"consent|not done"):
            given[0].ask("Install it")


def test_every_kind_of_recipe_can_be_asked_for() -> None:
    """The command line is read before the modules that know them, so it has a list of its own."""
    assert arguments.KINDS == jobs.KINDS
    for kind in jobs.KINDS:
        assert TOP.parse_args(["recipe", "latest", "--for", kind]).kind == kind


def test_cells_share_layers_only_where_the_same_tool_made_them(first: Plan) -> None:
    """uv, and the Python that runs it, take part in every layer below Python; the cell's own Python does not."""
    other = dataclasses.replace(first.tool, name="python:3.10-slim-bookworm")
    assert dataclasses.replace(first, tool=other).shared != first.shared
    own = dataclasses.replace(first.python, name="python:3.13-slim-bookworm")
    assert dataclasses.replace(first, python=own).shared == first.shared


ENV, PIP, UV = "https://env.example", "https://pip.example", "https://uv.example"


@pytest.mark.usefixtures("forked_pip")
@pytest.mark.parametrize(
    ("files", "variables", "index", "extra"),
    [
        ({"uv": f'[[index]]\nurl = "{UV}"\ndefault = true\n'}, {}, UV, ()),
        ({"uv": f'[[index]]\nurl = "{UV}"\n'}, {}, None, (UV,)),
        ({"uv": f'[[index]]\nurl = "{UV}"\ndefault = true\n'}, {"UV_DEFAULT_INDEX": ENV}, ENV, ()),
        ({"pip": f"[global]\nindex-url = {PIP}\n"}, {}, PIP, ()),
        ({"pip": f"[global]\nindex-url = {PIP}\n"}, {"PIP_INDEX_URL": ENV}, ENV, ()),
        ({}, {"PIP_EXTRA_INDEX_URL": ENV}, None, (ENV,)),
        ({"pip": f"[global]\nindex-url = {PIP}\n", "uv": f'index-url = "{UV}"\n'}, {}, UV, ()),
    ],
)
def test_indexes_are_those_that_the_machine_names(
    tmp_path: Path, files: "dict[str, str]", variables: "dict[str, str]", index: "str | None", extra: "tuple[str, ...]"
) -> None:
    """By files and by variables, uv's before pip's; a default index is no extra one."""
    (tmp_path / "uv").mkdir()
    (tmp_path / "uv" / "uv.toml").write_text(files.get("uv", ""))
    (tmp_path / "pip.conf").write_text(files.get("pip", ""))
    environment = {
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path),
        "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"),
    }
    found = read_host({**environment, **variables})
    assert (found.index, found.extra_indexes) == (index, extra)


def test_a_look_that_missed_new_bases_is_made_again(engine: FakeEngine, opened: BuildSession, first: Plan) -> None:
    """An earlier look is good until a base was made that it has not seen."""
    before = engine.names()
    for base in wanted(first):
        engine.put(base.substitute)
    made = dataclasses.replace(opened, made=tuple(wanted(first)))
    assert set(begin(made, (first,), before).names) > set(before)
    seen = engine.names()
    looks = engine.looks
    begin(made, (first,), seen)
    assert engine.looks == looks
