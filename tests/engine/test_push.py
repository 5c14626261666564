"""Pushes on a real engine, to a registry of the test's own: what was checked arrives under every tag, or it is told."""

import _thread
import dataclasses
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import pytest

from tests.engine.fake_registry import FakeRegistry, serving
from tests.engine.test_batches import named, step, tight
from tests.engine.test_pipeline import Make, ids, make
from torchdev.engine.client import Engine
from torchdev.image.plan import Plan
from torchdev.pipeline import batches, run, verify
from torchdev.pipeline.progress import PUSHING, Event, Phase
from torchdev.pipeline.push import remotes
from torchdev.pipeline.report import State
from torchdev.pipeline.session import BuildSession, begin
from torchdev.pipeline.verify import Outcome, Verdict
from torchdev.util.errors import Exit

__all__ = ["make"]


@pytest.fixture
def base(tiny: str) -> str:
    """What is pushed is small, since the engine packs it anew each time."""
    return tiny


@pytest.fixture
def registry(engine: Engine) -> Iterator[FakeRegistry]:
    """A registry that this engine reaches; afterwards the engine has no name in it."""
    with serving() as found:
        engine.registry_digest(f"{found.host}/none:none")
        if not found.asked:
            pytest.skip("the engine does not reach a registry on this machine's loopback")
        yield found
        for name in engine.names():
            if name.startswith(found.host):
                engine.untag(name)


def pushing(session: BuildSession, registry: FakeRegistry, **options: object) -> BuildSession:
    """The same session, which pushes there."""
    return dataclasses.replace(
        session,
        options=dataclasses.replace(session.options, push_to=f"{registry.host}/x", **options),  # type: ignore[arg-type]
    )


def arrived(engine: Engine, registry: FakeRegistry) -> "dict[str, str]":
    """The ids of the images that the registry's tags are, on this engine."""
    known = {name.partition("@")[2]: image for image, names in pushed(engine).items() for name in names}
    return {name.partition(":")[2]: known.get(digest, "") for name, digest in registry.tags.items()}


def pushed(engine: Engine) -> "dict[str, tuple[str, ...]]":
    """What each image that has a name is called in registries, by digest."""
    images = {image for image, _ in engine.names().values()}
    return {image: found.pushed for image in images if (found := engine.image(image))}


def of(plan: Plan) -> "list[str]":
    """The tags of a cell, without repository."""
    return [tag.rpartition(":")[2] for tag in plan.tags]


def other_image(engine: Engine, base: str) -> str:
    """An image of somebody else's; its id. It has a name of its own, so that a moved tag doesn't end it."""
    name = f"torchdev-test-other:{uuid.uuid4().hex[:8]}"
    text = f"FROM {base}\nLABEL mine={uuid.uuid4().hex}\n"
    subprocess.run(["docker", "build", "--quiet", "--tag", name, "-"], input=text, text=True, check=True)
    found = engine.image(name)
    assert found
    return found.id


@pytest.fixture
def other(engine: Engine, base: str) -> Iterator[str]:
    """The id of an image that is the user's own."""
    yield other_image(engine, base)
    for name in [name for name in engine.names() if name.startswith("torchdev-test-other:")]:
        engine.untag(name)


def test_every_tag_is_the_image_that_was_built(make: Make, engine: Engine, registry: FakeRegistry) -> None:
    """Of a cell with an alias, too; the engine remembers the digest, as recipes need it."""
    session, plans = make()
    results = batches.run(pushing(session, registry), plans[:2])
    assert [result.state for result in results] == [State.BUILT] * 2
    images = {plan: result.image.id for plan, result in zip(plans, results, strict=False) if result.image}
    assert arrived(engine, registry) == {tag: images[plan] for plan in plans[:2] for tag in of(plan)}
    found = engine.image(images[plans[0]])
    assert found
    assert found.pushed == (f"{registry.host}/x@{registry.tags['x:latest']}",)


def test_an_alias_that_is_swapped_before_the_push(
    make: Make, engine: Engine, registry: FakeRegistry, other: str
) -> None:
    """After the check, by somebody else: what was checked arrives, the alias is put right, and it is told."""
    session, plans = make()
    said: list[str] = []

    def swap(event: Event) -> None:
        if isinstance(event, Phase) and event.phase == PUSHING:
            for tag in plans[0].tags:
                engine.tag(other, tag)

    session = dataclasses.replace(pushing(session, registry), say=said.append, report=swap)
    (result,) = batches.run(session, plans[:1])
    assert result.state is State.BUILT
    assert result.image
    assert arrived(engine, registry) == dict.fromkeys(of(plans[0]), result.image.id)
    assert ids(engine, plans[0]) == {result.image.id}
    assert len([line for line in said if f"pointed at another image, {other}" in line]) == len(plans[0].tags)


def test_the_users_name_is_only_borrowed(make: Make, engine: Engine, registry: FakeRegistry, other: str) -> None:
    """An image that has the name of a tag in the registry keeps it, in batches, too."""
    session, plans = make({"3.11": step()})
    name = remotes(plans[0], f"{registry.host}/x")[0]
    engine.tag(other, name)
    for how in (pushing(session, registry), tight(pushing(session, registry), plans)):
        (result,) = batches.run(how, plans[:1])
        assert result.code is Exit.OK
        assert registry.tags
        found = engine.image(name)
        assert found
        assert found.id == other


def test_batches_leave_no_name(make: Make, engine: Engine, registry: FakeRegistry) -> None:
    """Pushed and removed: neither tags nor names in the registry are left here; all cells are there."""
    session, plans = make({"3.11": step(), "3.13": step(), "3.14": step()})
    results = batches.run(tight(pushing(session, registry), plans), plans)
    assert [(result.state, result.removed) for result in results] == [(State.BUILT, True)] * 3
    assert sorted(registry.tags) == sorted(f"x:{tag}" for plan in plans for tag in of(plan))
    assert named(engine, plans[0].image) == named(engine, registry.host) == set()
    assert not any(engine.image(result.image.id) for result in results if result.image)


def test_a_registry_that_refuses_halfway(make: Make, engine: Engine, registry: FakeRegistry) -> None:
    """The first tag has arrived, the second not: told, failed, and the image stays although it was to be removed."""
    session, plans = make({"3.11": step(), "3.13": step()})
    registry.refuse = lambda method, path: 403 if method == "PUT" and path.endswith("/manifests/latest") else 0
    results = batches.run(tight(pushing(session, registry), plans[:2]), plans[:2])
    assert [(result.code, result.removed) for result in results] == [(Exit.BUILD, False), (Exit.OK, True)]
    assert results[0].image
    assert ids(engine, plans[0]) == {results[0].image.id}
    assert "not today" in results[0].error or "denied" in results[0].error
    assert f"pushed before it: {registry.host}/x:{plans[0].cell.id}" in results[0].error
    assert named(engine, registry.host) == set()
    registry.refuse = lambda method, path: 0
    (again,) = batches.run(tight(pushing(session, registry), plans[:1]), plans[:1])
    assert (again.state, again.code) == (State.SKIPPED, Exit.OK)
    assert set(arrived(engine, registry)) >= set(of(plans[0]))


@pytest.mark.parametrize("where", ["/blobs/uploads/", ""])
def test_a_registry_that_refuses_all(make: Make, engine: Engine, registry: FakeRegistry, where: str) -> None:
    """Before the first byte of a layer, or at once."""
    session, plans = make({"3.11": step()})
    registry.refuse = lambda method, path: 401 if path.endswith(where) else 0
    (result,) = batches.run(tight(pushing(session, registry), plans[:1]), plans[:1])
    assert (result.state, result.code, result.removed) == (State.FAILED, Exit.BUILD, False)
    assert "docker login" in result.error
    assert "" not in ids(engine, plans[0])
    assert named(engine, registry.host) == set()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT as a terminal gives it, also where it is ignored, as in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_push(make: Make, engine: Engine, registry: FakeRegistry) -> None:
    """Ctrl-C while a layer is on its way: told so, and the image stays, with its own names alone."""
    session, plans = make({"3.11": step()})

    def interrupt(method: str, path: str) -> int:
        if method == "PUT" and "/manifests/" in path:
            _thread.interrupt_main()
            time.sleep(1)
            return 403
        return 0

    registry.refuse = interrupt
    (result,) = batches.run(tight(pushing(session, registry), plans[:1]), plans[:1])
    assert (result.state, result.code, result.removed) == (State.FAILED, Exit.INTERRUPTED, False)
    assert "interrupted before it was pushed" in result.error
    assert "" not in ids(engine, plans[0])
    assert named(engine, registry.host) == set()


def test_what_somebody_else_pushes_meanwhile(make: Make, engine: Engine, registry: FakeRegistry) -> None:
    """The first tag is another image when the last one has arrived."""
    session, plans = make()
    first, *_, last = (f"x:{tag}" for tag in of(plans[0]))

    def theirs(name: str) -> None:
        if name == last:
            kind, content = registry.manifests[registry.tags[last]]
            registry.manifests["sha256:" + "1" * 64] = (kind, content + b" ")
            registry.tags[first] = "sha256:" + "1" * 64

    registry.tagged = theirs
    (result,) = batches.run(pushing(session, registry), plans[:1])
    assert (result.state, result.code) == (State.FAILED, Exit.BUILD)
    assert f"{registry.host}/{first}: the registry was sent {registry.tags[last]}, but it has" in result.error


def test_a_pass_is_of_an_image_and_not_of_its_tag(make: Make, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own image under our tag, also one that is derived and has our labels, is checked like any other."""
    checked: list[str] = []

    def check(plan: Plan, image: str, *arguments: object, **options: object) -> "tuple[Verdict, ...]":
        checked.append(image)
        outcome = Outcome.PASS if len(checked) == 1 else Outcome.FAIL
        return (Verdict(cell=plan.cell.id, check="a check", outcome=outcome, why="", seconds=0.0),)

    monkeypatch.setattr(verify, "verify", check)
    session, plans = make(test=True)
    (result,) = run.run(session, begin(session, plans), plans[:1])
    assert result.image
    assert checked == [result.image.id]
    assert [found.state for found in run.run(session, begin(session, plans), plans[:1])] == [State.SKIPPED]
    text = f"FROM {plans[0].tags[0]}\nRUN touch /mine\n"
    command = ["docker", "build", "--quiet", "--tag", plans[0].tags[0], "-"]
    subprocess.run(command, input=text, text=True, check=True, stdout=subprocess.DEVNULL)
    (derived,) = ids(engine, dataclasses.replace(plans[0], aliases=()))
    (result,) = run.run(session, begin(session, plans), plans[:1])
    assert (result.state, result.code) == (State.FAILED, Exit.CHECK)
    assert checked[1:] == [derived]


@pytest.mark.full
def test_push_of_build_py(small: Plan, registry: FakeRegistry, engine: Engine) -> None:
    """The command itself, on the cell of tests/cpu: only an image whose checks have passed."""
    command = [sys.executable, "build.py", "push", small.cell.id, "--matrix-file", "tests/cpu/matrix.yaml"]
    done = subprocess.run([*command, "--to", f"{registry.host}/cpu"], capture_output=True, text=True, check=False)
    there = engine.image(small.tags[0])
    assert there
    if done.returncode == Exit.INPUT:
        assert "its checks have not passed" in done.stderr
        assert registry.tags == {}
        pytest.skip(f"needs checks that have passed: build.py test {small.cell.id} --matrix-file tests/cpu/matrix.yaml")
    assert done.returncode == 0, done.stderr
    assert set(registry.tags) == {f"cpu:{tag}" for tag in of(small)}
