"""A cell's image to a registry, under all its tags: by its id, and each tag compared afterwards with what arrived."""

from collections.abc import Iterator
from contextlib import contextmanager

from torchdev.engine.client import Engine
from torchdev.image.plan import Plan
from torchdev.pipeline import tags
from torchdev.pipeline.run_lock import locked
from torchdev.pipeline.session import BuildSession
from torchdev.util.errors import BuildError, TorchdevError


def remotes(plan: Plan, target: str) -> "tuple[str, ...]":
    """What the tags of a cell are called in a repository."""
    return tuple(f"{target}:{tag.rpartition(':')[2]}" for tag in plan.tags)


def push(session: BuildSession, plan: Plan, image: str, target: str, *, keep: bool) -> None:
    """Push an image, given by its id, under all tags of a cell; BuildError where a registry has not got what was sent.

    The tags here must point at it: what some other program has moved is put right first, and told. With `keep`, names
    in the repository stay on this engine, which so remembers the digest that recipes name the image by.
    """
    cell = plan.cell.id
    with locked(session.lock_dir, plan.candidate, lambda: session.say(f"{cell}: another run is at it; waiting")):
        tags.point(session, plan, image)
        pushed: dict[str, str] = {}
        for remote in remotes(plan, target):
            try:
                with _named(session, cell, image, remote, keep=keep):
                    pushed[remote] = _sent(session.engine, image, remote)
                    _compare(session.engine, remote, pushed[remote])
            except TorchdevError as error:
                raise _told(error, [name for name in pushed if name != remote]) from None
            session.say(f"{cell}: pushed {remote}@{pushed[remote]}")
        for remote, digest in pushed.items():
            _compare(session.engine, remote, digest)
        tags.point(session, plan, image)


def _sent(engine: Engine, image: str, remote: str) -> str:
    """Push a name that was given to an image; the digest by which a registry must have it then.

    Engines with containerd's store don't tell what they have sent, but know the digest that the image itself has.
    """
    digest, found = engine.push(remote), engine.image(image)
    repository = f"{remote.rpartition(':')[0]}@"
    known = [name.removeprefix(repository) for name in (found.pushed if found else ()) if name.startswith(repository)]
    if not known or (digest or known[0]) not in known:
        what = f"what was pushed is not the image that was checked, {image}: its name was moved meanwhile"
        raise BuildError(what, where=remote, next_step="see who else works with that name, then push again")
    return digest or known[0]


def _compare(engine: Engine, remote: str, digest: str) -> None:
    """Ask the registry what a tag points at; BuildError if that is not what was pushed."""
    found = engine.registry_digest(remote)
    if found != digest:
        there = f"it has {found} there" if found else "it does not answer for that tag"
        what = f"the registry was sent {digest}, but {there}"
        raise BuildError(what, where=remote, next_step="see who else pushes there, then push again")


@contextmanager
def _named(session: BuildSession, cell: str, image: str, name: str, *, keep: bool) -> Iterator[None]:
    """An image under one more name of this engine, which pushes by name alone; afterwards the name is as it was.

    Only one that was free, or torchdev's own, stays with the image if it is to be kept and the push came to its end.
    """
    before = session.engine.image(name)
    own = not before or before.id in (image, tags.noted(session.paths, cell).get(name))
    if before and not own:
        session.say(f"{cell}: {name} is the name of another image here, {before.id}, which has it again after the push")
    session.engine.tag(image, name)
    arrived = False
    try:
        yield
        arrived = True
    finally:
        if arrived and keep and own:
            tags.note(session.paths, cell, {name: image})
        else:
            session.engine.give_back(name, image, before.id if before else "")


def _told(error: TorchdevError, pushed: "list[str]") -> TorchdevError:
    """The error, with the tags that the registry has got before."""
    if not pushed:
        return error
    what = f"{error.what}; pushed before it: {', '.join(pushed)}"
    return type(error)(what, where=error.where, next_step=error.next_step)
