"""A query, by the axes that it names: whether a combination is what it asks for, and how far from it one is."""

from torchdev.catalog import support
from torchdev.catalog.axes import AXES, Clash, Query
from torchdev.catalog.releases import Combination

STEP = 0.02
"""What each release, Python or CUDA between what is asked for and a combination costs."""


def checked(query: Query) -> Query:
    """The query with its values as they are written here; InputError for one that nothing could be judged by."""
    query = {axis: AXES[axis].spelled(value.strip()) for axis, value in query.items()}
    for axis, value in query.items():
        if unknown := AXES[axis].unknown(value):
            raise unknown
    return query


def text(axis: str, value: str) -> str:
    """What is asked for on an axis, in words: Python 3.9, cu130, torchaudio."""
    return AXES[axis].text(value)


def admits_all(query: Query, c: Combination) -> bool:
    """Whether a combination is all that is asked for."""
    return all(AXES[axis].admits(c, value, query) for axis, value in query.items())


def given_up(query: Query, c: Combination) -> tuple[str, ...]:
    """The axes on which a combination is something else, or which are to blame for that."""
    gone = {AXES[axis].to_blame(c, query) for axis, value in query.items() if not AXES[axis].admits(c, value, query)}
    return tuple(axis for axis in query if axis in gone)


def distance(query: Query, c: Combination) -> float:
    """How far a combination is from what is asked for; 0 if it is that."""
    return sum(AXES[axis].weight + STEP * AXES[axis].steps(c, query[axis]) for axis in given_up(query, c))


def clash(query: Query) -> "Clash | None":
    """What two values of a query have against each other, whatever the combination."""
    return next((found for axis in query if (found := AXES[axis].clash(query))), None)


def chosen_cudnn(query: Query, c: Combination) -> "str | None":
    """The cuDNN to name beside a combination: None if it is PyTorch's own."""
    found = support.cudnn_for(c, query["cudnn"]) if "cudnn" in query else None
    return found if found != c.build.cudnn else None
