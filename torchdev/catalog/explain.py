"""Why a combination can or can't exist: the smallest conflicting constraints, the facts, the nearest that exist."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from itertools import combinations

from torchdev.catalog import facts, ids, releases, support
from torchdev.catalog import query as queries
from torchdev.catalog.axes import AXES, Asked, Query
from torchdev.catalog.builds import Source
from torchdev.catalog.facts import Fact
from torchdev.catalog.releases import Combination
from torchdev.catalog.versions import order
from torchdev.util import tables
from torchdev.util.commands import build_py
from torchdev.util.errors import InputError
from torchdev.util.texts import json_text

FAVOURITE_PYTHON = "3.12"
"""The Python that is preferred where the query names none: most releases have it."""
SHOWN = 4


@dataclass(frozen=True)
class Conflict:
    """The axes of a smallest set of constraints that conflict, and the facts that forbid all of them together."""

    axes: tuple[str, ...]
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Near:
    """A combination that exists, and the axes on which it differs from the query."""

    combination: Combination
    changed: tuple[str, ...]
    cudnn: "str | None" = None

    @property
    def id(self) -> str:
        """The id of a cell with this combination."""
        c = self.combination
        return ids.cell_id(c.python, c.flavour, c.torch, self.cudnn, arch=c.arch)


@dataclass(frozen=True)
class Explanation:
    """The answer to a query: the matching combinations, best first; else the conflicts and the nearest combinations."""

    query: Query
    found: tuple[Near, ...]
    conflicts: tuple[Conflict, ...] = ()
    nearest: tuple[Near, ...] = ()

    @property
    def possible(self) -> bool:
        """Whether a matching combination exists."""
        return bool(self.found)


def answer(cell: "str | None", constraints: Query) -> Explanation:
    """Whether a cell's id or short tag, with further constraints, can exist; InputError for what is no id or tag."""
    named = ids.query(cell) if cell is not None else {}
    if named is None:
        raise InputError(
            f'"{cell}" is not a cell\'s id or short tag',
            next_step="name one such as py311-cu130, or use --python, --cuda, --torch",
        )
    if not named | constraints:
        raise InputError("nothing was asked", next_step=build_py("explain", "--help"))
    return explain(_agreed(queries.checked(named), queries.checked(constraints), cell or ""))


def _agreed(named: Query, constraints: Query, cell: str) -> Query:
    """A cell's own values and further constraints as one query; InputError where they disagree.

    Where both name an axis, the fuller value is taken.
    """
    for axis in named.keys() & constraints.keys():
        own, constraint = named[axis], constraints[axis]
        if not AXES[axis].agree(own, constraint):
            what = f"{cell} is for {queries.text(axis, own)}, and --{axis} asks for {queries.text(axis, constraint)}"
            step = ("leave one of them out: ", build_py("explain", cell))
            raise InputError(what, where=f"--{axis}", next_step=step)
    return {axis: max(q[axis] for q in (named, constraints) if axis in q) for axis in named | constraints}


def explain(query: Query) -> Explanation:
    """Answer a query; its values must be as query.checked gives them."""
    pool = _pool(query)
    if not queries.clash(query):
        matches = [c for c in pool if queries.admits_all(query, c)]
        if matches:
            best = {(c.torch, c.flavour, c.arch): c for c in sorted(matches, key=_preference)}
            shown = sorted(best.values(), key=_preference, reverse=True)[:SHOWN]
            return Explanation(query, tuple(Near(c, (), queries.chosen_cudnn(query, c)) for c in shown))
    return Explanation(query, (), tuple(_conflicts(query, pool)), tuple(_nearest(query, pool)))


def possible(query: Query) -> bool:
    """Whether a matching combination exists; fast for a query that names Python, CUDA and PyTorch in full."""
    found = releases.find(query["torch"], query["cuda"], query.get("arch", "amd64"), query["python"])
    return found is not None and not queries.clash(query) and queries.admits_all(query, found)


def _pool(query: Query) -> tuple[Combination, ...]:
    """The combinations that are considered: those for amd64, unless the query names an architecture."""
    everything = releases.all_combinations()
    return everything if "arch" in query else tuple(c for c in everything if c.arch == "amd64")


def _preference(combination: Combination) -> "tuple[object, ...]":
    """Sort key, greatest is best: on PyPI, newest PyTorch, newest CUDA, preferred Python, newest Python."""
    return (
        combination.lockable,
        order(combination.torch),
        releases.flavour_order(combination.flavour),
        combination.python == FAVOURITE_PYTHON,
        order(combination.python),
    )


def _conflicts(query: Query, pool: "tuple[Combination, ...]") -> "list[Conflict]":
    """All smallest sets of constraints that no combination admits."""
    for size in range(1, len(query) + 1):
        sets = (dict(chosen) for chosen in combinations(query.items(), size))
        found = [Conflict(tuple(one), _facts(one, pool)) for one in sets if not _satisfiable(one, pool)]
        if found:
            return found
    raise AssertionError(f"{query} was not possible, and nothing in it conflicts")


def _satisfiable(constraints: Query, pool: "Iterable[Combination]") -> bool:
    return not queries.clash(constraints) and any(queries.admits_all(constraints, c) for c in pool)


def _facts(constraints: Query, pool: "tuple[Combination, ...]") -> tuple[Fact, ...]:
    """For each constraint, the facts about the combinations that satisfy all the others."""
    if clash := queries.clash(constraints):
        return (clash.fact,)
    found: dict[str, Fact] = {}
    for axis in constraints:
        others = {name: value for name, value in constraints.items() if name != axis}
        rest = tuple(c for c in pool if queries.admits_all(others, c))
        for fact in AXES[axis].reasons(Asked(constraints[axis], others, rest)):
            found.setdefault(fact.text, fact)
    return tuple(found.values())


def _nearest(query: Query, pool: "tuple[Combination, ...]") -> "list[Near]":
    """The nearest combination for each set of axes to give up, nearest first.

    Only combinations that can be locked are proposed: the catalog knows everything that their lock needs.
    """
    if clash := queries.clash(query):
        near = [(gone, explain({axis: v for axis, v in query.items() if axis != gone})) for gone in clash.axes]
        return [replace(n, changed=(*n.changed, gone)) for gone, e in near for n in (*e.found, *e.nearest)[:1]]
    lockable = [c for c in pool if c.lockable]
    found: dict[tuple[str, ...], Near] = {}
    for combination in sorted(lockable, key=lambda c: (-queries.distance(query, c), _preference(c)), reverse=True):
        changed = queries.given_up(query, combination)
        if not any(set(changed) >= set(known) for known in found):
            kept_constraints = {axis: value for axis, value in query.items() if axis not in changed}
            found[changed] = Near(combination, changed, queries.chosen_cudnn(kept_constraints, combination))
        if len(found) == SHOWN:
            break
    return list(found.values())


def as_text(said: Explanation) -> str:
    """An explanation for a terminal; the sources are listed once, below it."""
    asked = ", ".join(queries.text(*constraint) for constraint in said.query.items())
    if said.possible:
        return "\n".join([f"yes: {asked}", "", *(f"  {line}" for line in _lines(said.found))])
    blocks, sources = _told(said)
    near = "\n".join(["  nearest that exist:", *(f"    {line}" for line in _lines(said.nearest))])
    return "\n\n".join([f"no: {asked}", *blocks, near, sources])


def refusal(name: str, said: Explanation) -> str:
    """Why a cell can't exist, for an error: the conflicts, their facts and the sources of these."""
    blocks, sources = _told(said)
    return "\n".join([f"{name} can't exist", *blocks, sources])


def _told(said: Explanation) -> "tuple[list[str], str]":
    """A block of lines for each conflict, whose facts refer to sources by number; and the list of the sources."""
    cited = list(dict.fromkeys(s for conflict in said.conflicts for fact in conflict.facts for s in fact.sources))
    blocks = []
    for conflict in said.conflicts:
        lines = [f"  {_constraints(conflict, said.query)} can't be:"]
        blocks.append("\n".join(lines + [f"    {fact.text} {_marks(fact, cited)}" for fact in conflict.facts]))
    return blocks, "\n".join(f"  [{number}] {source}" for number, source in enumerate(cited, 1))


def _constraints(conflict: Conflict, query: Query) -> str:
    named = [queries.text(axis, query[axis]) for axis in conflict.axes]
    return " and ".join([", ".join(named[:-1]), named[-1]] if named[1:] else named)


def _marks(fact: Fact, cited: "list[Source]") -> str:
    return "".join(f"[{cited.index(source) + 1}]" for source in fact.sources)


def _lines(found: "tuple[Near, ...]") -> "list[str]":
    rows = [(near.id, f"{support.runs_on(near.combination)}{_other(near)}") for near in found]
    return tables.text(rows).splitlines()


def _other(near: Near) -> str:
    return f"; {', '.join(AXES[axis].other for axis in near.changed)}" if near.changed else ""


def as_json(said: Explanation) -> str:
    """An explanation as JSON."""
    conflicts = [{"axes": c.axes, "facts": [asdict(fact) for fact in c.facts]} for c in said.conflicts]
    whole = {
        "query": said.query,
        "possible": said.possible,
        "found": [_entry(near) for near in said.found],
        "conflicts": conflicts,
        "nearest": [_entry(near) for near in said.nearest],
    }
    return json_text(whole)


def _entry(near: Near) -> "dict[str, object]":
    c = near.combination
    driver = facts.driver(c.cuda) if c.cuda else None
    return {
        "id": near.id,
        "changed": near.changed,
        "python": c.python,
        "cuda": c.flavour,
        "torch": c.torch,
        "arch": c.arch,
        "cudnn": near.cudnn or c.build.cudnn,
        "nccl": c.build.nccl,
        "companions": dict(c.companions),
        "glibc": c.build.runs_from,
        "driver": driver[0] if driver else None,
        "architectures": c.build.architectures,
        "origin": c.build.origin,
        "sources": [asdict(source) for source in c.sources],
    }
