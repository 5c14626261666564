"""Queries: whether a combination satisfies all constraints, and how far it is from them."""

from torchdev.catalog import support
from torchdev.catalog.axes import AXES, Clash, Query
from torchdev.catalog.releases import Combination

STEP = 0.02
"""Distance of each release, Python or CUDA version between the wanted value and that of a combination."""


def checked(query: Query) -> Query:
    """The query with values in canonical spelling; InputError for a value that is invalid or not known."""
    query = {axis: AXES[axis].spelled(value.strip()) for axis, value in query.items()}
    for axis, value in query.items():
        if unknown := AXES[axis].unknown(value):
            raise unknown
    return query


def text(axis: str, value: str) -> str:
    """A constraint in words: Python 3.9, cu130, torchaudio."""
    return AXES[axis].text(value)


def admits_all(query: Query, c: Combination) -> bool:
    """Whether a combination satisfies all constraints."""
    return all(AXES[axis].admits(c, value, query) for axis, value in query.items())


def given_up(query: Query, c: Combination) -> tuple[str, ...]:
    """The axes to give up for a combination: those on which it differs, or those that cause the difference."""
    gone = {AXES[axis].to_blame(c, query) for axis, value in query.items() if not AXES[axis].admits(c, value, query)}
    return tuple(axis for axis in query if axis in gone)


def distance(query: Query, c: Combination) -> float:
    """How far a combination is from a query; 0 if it satisfies all constraints."""
    return sum(AXES[axis].weight + STEP * AXES[axis].steps(c, query[axis]) for axis in given_up(query, c))


def clash(query: Query) -> "Clash | None":
    """The conflict between two values of a query, whatever the combination; None if there is none."""
    return next((found for axis in query if (found := AXES[axis].clash(query))), None)


def chosen_cudnn(query: Query, c: Combination) -> "str | None":
    """The cuDNN to name beside a combination: None if it is PyTorch's own."""
    found = support.cudnn_for(c, query["cudnn"]) if "cudnn" in query else None
    return found if found != c.build.cudnn else None
