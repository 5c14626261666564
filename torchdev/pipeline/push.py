"""Pushes a cell's image to a registry under all its tags, and then compares each tag with what was pushed."""

from collections.abc import Iterator
from contextlib import contextmanager

from torchdev.engine.client import Engine
from torchdev.image.plan import Plan
from torchdev.pipeline import tags
from torchdev.pipeline.run_lock import locked
from torchdev.pipeline.session import BuildSession
from torchdev.util.errors import BuildError, TorchdevError


def remotes(plan: Plan, target: str) -> "tuple[str, ...]":
    """The names of a cell's tags in a repository."""
    return tuple(f"{target}:{tag.rpartition(':')[2]}" for tag in plan.tags)


def push(session: BuildSession, plan: Plan, image: str, target: str, *, keep: bool) -> None:
    """Push an image, given by its id, under all tags of a cell; BuildError if the registry has something else
    afterwards.

    The local tags must point at the image: one that another program has moved is moved back first, with a message. With
    `keep`, the names in the repository stay on this engine, which then knows the digest that recipes use.
    """
    cell = plan.cell.id
    with locked(session.lock_dir, plan.candidate, lambda: session.say(f"{cell}: another run works on it; waiting")):
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
    """Push a name of an image; returns the digest that the registry must have for it then.

    Engines with containerd's store don't report what they have sent, but know the digest of the image itself.
    """
    digest, found = engine.push(remote), engine.image(image)
    repository = f"{remote.rpartition(':')[0]}@"
    known = [name.removeprefix(repository) for name in (found.pushed if found else ()) if name.startswith(repository)]
    if not known or (digest or known[0]) not in known:
        what = f"what was pushed is not the image that was checked, {image}: its name was moved meanwhile"
        raise BuildError(what, where=remote, next_step="see who else works with that name, then push again")
    return digest or known[0]


def _compare(engine: Engine, remote: str, digest: str) -> None:
    """Ask the registry what a tag points at; BuildError if it is not the pushed image."""
    found = engine.registry_digest(remote)
    if found != digest:
        there = f"it has {found} there" if found else "it does not answer for that tag"
        what = f"the registry was sent {digest}, but {there}"
        raise BuildError(what, where=remote, next_step="see who else pushes there, then push again")


@contextmanager
def _named(session: BuildSession, cell: str, image: str, name: str, *, keep: bool) -> Iterator[None]:
    """Give an image a name in the repository, because engines push by name alone; afterwards the name is as before.

    The name stays with the image only if it is to be kept, was free or torchdev's own, and the push succeeded.
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
    """The error, with the tags that were pushed before it."""
    if not pushed:
        return error
    what = f"{error.what}; pushed before it: {', '.join(pushed)}"
    return type(error)(what, where=error.where, next_step=error.next_step)
