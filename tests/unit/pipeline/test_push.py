"""Pushing: by the image that was checked, whatever its tags point at meanwhile; each remote tag compared afterwards."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.fake_engine import session_of
from torchdev.engine.client import Engine, Image
from torchdev.image.paths import Paths
from torchdev.image.plan import Plan
from torchdev.pipeline import tags
from torchdev.pipeline.push import push, remotes
from torchdev.pipeline.session import BuildSession
from torchdev.util.errors import BuildError

CHECKED, OTHER = "sha256:checked", "sha256:other"
TARGET = "registry.example/team/x"


class FakeEngine:
    """Names of images, and a registry that holds what was pushed; `meddle` is called before a push has its effect."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.images = {CHECKED, OTHER}
        self.registry: dict[str, str] = {}
        self.sent: dict[str, set[str]] = {}
        self.meddle: Callable[[str], None] = lambda name: None
        self.after: Callable[[str], None] = lambda name: None

    def image(self, name: str) -> "Image | None":
        """As the engine's."""
        id_ = name if name in self.images else self.tags.get(name, "")
        return Image(id=id_, size=1, layers=(), labels={}, pushed=tuple(self.sent.get(id_, ()))) if id_ else None

    def tag(self, image: str, name: str) -> None:
        """As the engine's."""
        self.tags[name] = image

    def untag(self, name: str) -> None:
        """As the engine's."""
        self.tags.pop(name, None)

    give_back = Engine.give_back

    def push(self, name: str) -> str:
        """What the name points at arrives."""
        self.meddle(name)
        digest = f"{self.tags[name]}-manifest"
        self.sent.setdefault(self.tags[name], set()).add(f"{name.rpartition(':')[0]}@{digest}")
        self.registry[name] = digest
        self.after(name)
        return digest

    def registry_digest(self, name: str) -> "str | None":
        """As the engine's."""
        return self.registry.get(name)


@pytest.fixture
def engine(plan: Plan) -> FakeEngine:
    """All tags of the plan point at the checked image."""
    made = FakeEngine()
    made.tags = dict.fromkeys(plan.tags, CHECKED)
    return made


@pytest.fixture
def said() -> "list[str]":
    """What the user is told."""
    return []


@pytest.fixture
def session(engine: FakeEngine, tmp_path: Path, plan: Plan, said: "list[str]") -> BuildSession:
    """A session on that engine."""
    paths = Paths(tmp_path, tmp_path / "matrix.yaml")
    tags.note(paths, plan.cell.id, dict.fromkeys(plan.tags, CHECKED))
    return session_of(engine, paths, say=said.append, lock_dir=tmp_path)


def test_every_tag_arrives_and_stays(session: BuildSession, engine: FakeEngine, plan: Plan) -> None:
    """As the image that was checked; the engine keeps the names, by which it remembers the digest."""
    push(session, plan, CHECKED, TARGET, keep=True)
    assert engine.registry == dict.fromkeys(remotes(plan, TARGET), f"{CHECKED}-manifest")
    assert len(engine.registry) == len(plan.tags) == 2
    assert {engine.tags[name] for name in remotes(plan, TARGET)} == {CHECKED}


def test_names_go_where_they_are_not_to_be_kept(session: BuildSession, engine: FakeEngine, plan: Plan) -> None:
    """As in batches, which remove the image."""
    push(session, plan, CHECKED, TARGET, keep=False)
    assert set(engine.tags) == set(plan.tags)


@pytest.mark.parametrize("number", [0, 1])
def test_a_swapped_tag_is_put_right_and_told(
    session: BuildSession, engine: FakeEngine, plan: Plan, said: "list[str]", number: int
) -> None:
    """Between check and push: what arrives is what was checked, under that tag, too."""
    engine.tags[plan.tags[number]] = OTHER
    push(session, plan, CHECKED, TARGET, keep=True)
    assert set(engine.registry.values()) == {f"{CHECKED}-manifest"}
    assert set(engine.tags.values()) == {CHECKED}
    assert any(f"{plan.tags[number]} pointed at another image, {OTHER}" in line for line in said)


def test_a_tag_that_is_gone_is_made_again(session: BuildSession, engine: FakeEngine, plan: Plan) -> None:
    """`docker rmi` took it."""
    del engine.tags[plan.tags[1]]
    push(session, plan, CHECKED, TARGET, keep=True)
    assert engine.tags[plan.tags[1]] == CHECKED


def test_a_name_that_is_moved_during_the_push_is_noticed(session: BuildSession, engine: FakeEngine, plan: Plan) -> None:
    """What arrived is then another image; the name stays with whoever took it."""
    name = remotes(plan, TARGET)[1]
    engine.meddle = lambda pushed: engine.tag(OTHER, pushed) if pushed == name else None
    with pytest.raises(BuildError, match="is not the image that was checked") as caught:
        push(session, plan, CHECKED, TARGET, keep=True)
    assert caught.value.where == name
    assert f"pushed before it: {remotes(plan, TARGET)[0]}" in caught.value.what
    assert engine.tags[name] == OTHER


def test_what_somebody_else_pushes_over_it_is_noticed(session: BuildSession, engine: FakeEngine, plan: Plan) -> None:
    """Also for the first tag, when the last one has arrived."""
    first, last = remotes(plan, TARGET)
    engine.after = lambda name: engine.registry.update({first: "sha256:theirs"}) if name == last else None
    with pytest.raises(BuildError, match="it has sha256:theirs there") as caught:
        push(session, plan, CHECKED, TARGET, keep=True)
    assert caught.value.where == first


def test_a_registry_that_does_not_have_it_is_noticed(session: BuildSession, engine: FakeEngine, plan: Plan) -> None:
    """It took the push and answers for no tag."""
    engine.after = lambda name: engine.registry.clear()
    with pytest.raises(BuildError, match="it does not answer for that tag"):
        push(session, plan, CHECKED, TARGET, keep=True)


@pytest.mark.parametrize("keep", [True, False])
def test_the_users_own_name_is_only_borrowed(
    session: BuildSession, engine: FakeEngine, plan: Plan, said: "list[str]", keep: bool
) -> None:
    """An image of the user's under the name that the tag has in the registry has that name again, and it is told."""
    name = remotes(plan, TARGET)[1]
    engine.tags[name] = OTHER
    push(session, plan, CHECKED, TARGET, keep=keep)
    assert engine.registry[name] == f"{CHECKED}-manifest"
    assert engine.tags[name] == OTHER
    assert any(f"{name} is the name of another image here, {OTHER}" in line for line in said)


def test_the_users_own_name_comes_back_after_a_refusal(session: BuildSession, engine: FakeEngine, plan: Plan) -> None:
    """And after an interrupt; a name that was free is free again."""
    first, last = remotes(plan, TARGET)
    for error in (BuildError("refused"), KeyboardInterrupt()):
        engine.tags[last] = OTHER

        def refuse(name: str, error: BaseException = error) -> None:
            raise error

        engine.meddle = refuse
        with pytest.raises(type(error)):
            push(session, plan, CHECKED, TARGET, keep=True)
        assert engine.tags[last] == OTHER
        assert first not in engine.tags


def test_a_name_that_an_earlier_push_left_moves_on(session: BuildSession, engine: FakeEngine, plan: Plan) -> None:
    """It is torchdev's own: nothing is told, and it is not given back to the older image."""
    push(session, plan, OTHER, TARGET, keep=True)
    push(session, plan, CHECKED, TARGET, keep=True)
    assert {engine.tags[name] for name in remotes(plan, TARGET)} == {CHECKED}


def test_notes_that_are_broken_are_none(session: BuildSession, engine: FakeEngine, plan: Plan) -> None:
    """Then every name that something else has is taken for the user's."""
    push(session, plan, OTHER, TARGET, keep=True)
    for text in ("", "[]", "[1]", "null", '"x"', "{"):
        (session.paths.work / "names" / f"{plan.cell.id}.json").write_text(text)
        assert tags.noted(session.paths, plan.cell.id) == {}
    push(session, plan, CHECKED, TARGET, keep=True)
    assert {engine.tags[name] for name in remotes(plan, TARGET)} == {OTHER}
