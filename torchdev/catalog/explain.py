"""Why a combination can or can't exist: the smallest set of wishes that conflict, the facts, and what is nearest."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from itertools import combinations

from torchdev.catalog import facts, ids, releases, support
from torchdev.catalog import query as terms
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
"""Where no Python was asked for: the one that most releases have."""
SHOWN = 4


@dataclass(frozen=True)
class Conflict:
    """Wishes of which any but one could be had together, by their axes, and the facts that forbid all of them."""

    axes: tuple[str, ...]
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Near:
    """A combination that exists, and the axes on which it is not what was asked for."""

    combination: Combination
    changed: tuple[str, ...]
    cudnn: "str | None" = None

    @property
    def id(self) -> str:
        """The id that a cell of it has."""
        c = self.combination
        return ids.cell_id(c.python, c.flavour, c.torch, self.cudnn, arch=c.arch)


@dataclass(frozen=True)
class Explanation:
    """The answer to a query: what was found, best first; else the conflicts and what is nearest, nearest first."""

    query: Query
    found: tuple[Near, ...]
    conflicts: tuple[Conflict, ...] = ()
    nearest: tuple[Near, ...] = ()

    @property
    def possible(self) -> bool:
        """Whether what was asked for exists."""
        return bool(self.found)


def answer(cell: "str | None", wishes: Query) -> Explanation:
    """Whether there can be what a cell's id or short tag and single wishes ask for; InputError for what is neither."""
    named = ids.wishes(cell) if cell is not None else {}
    if named is None:
        raise InputError(
            f'"{cell}" is not a cell\'s id or short tag',
            next_step="name one such as py311-cu130, or use --python, --cuda, --torch",
        )
    if not named | wishes:
        raise InputError("nothing was asked", next_step=build_py("explain", "--help"))
    return explain(_agreed(terms.checked(named), terms.checked(wishes), cell or ""))


def _agreed(named: Query, wishes: Query, cell: str) -> Query:
    """A cell's own values and single wishes as one query, of each pair the fuller; InputError where they disagree."""
    for axis in named.keys() & wishes.keys():
        own, wish = named[axis], wishes[axis]
        if not AXES[axis].agree(own, wish):
            what = f"{cell} is for {terms.text(axis, own)}, and --{axis} asks for {terms.text(axis, wish)}"
            step = ("leave one of them out: ", build_py("explain", cell))
            raise InputError(what, where=f"--{axis}", next_step=step)
    return {axis: max(q[axis] for q in (named, wishes) if axis in q) for axis in named | wishes}


def explain(query: Query) -> Explanation:
    """Answer a query; its values must be ones that terms.checked gives."""
    pool = _pool(query)
    if not terms.clash(query):
        matches = [c for c in pool if terms.admits_all(query, c)]
        if matches:
            best = {(c.torch, c.flavour, c.arch): c for c in sorted(matches, key=_preference)}
            shown = sorted(best.values(), key=_preference, reverse=True)[:SHOWN]
            return Explanation(query, tuple(Near(c, (), terms.chosen_cudnn(query, c)) for c in shown))
    return Explanation(query, (), tuple(_conflicts(query, pool)), tuple(_nearest(query, pool)))


def possible(query: Query) -> bool:
    """Whether what was asked for exists: for a query that names Python, CUDA and PyTorch in full, found at once."""
    found = releases.find(query["torch"], query["cuda"], query.get("arch", "amd64"), query["python"])
    return found is not None and not terms.clash(query) and terms.admits_all(query, found)


def _pool(query: Query) -> tuple[Combination, ...]:
    """The combinations that are thought of: those for amd64, unless the query is about architectures."""
    everything = releases.all_combinations()
    return everything if "arch" in query else tuple(c for c in everything if c.arch == "amd64")


def _preference(combination: Combination) -> "tuple[object, ...]":
    """The greatest is best: on PyPI, the newest PyTorch, the newest CUDA, the favourite Python, then the newest."""
    return (
        combination.lockable,
        order(combination.torch),
        releases.flavour_order(combination.flavour),
        combination.python == FAVOURITE_PYTHON,
        order(combination.python),
    )


def _conflicts(query: Query, pool: "tuple[Combination, ...]") -> "list[Conflict]":
    """All smallest sets of wishes that no combination admits."""
    for size in range(1, len(query) + 1):
        sets = (dict(chosen) for chosen in combinations(query.items(), size))
        found = [Conflict(tuple(wishes), _facts(wishes, pool)) for wishes in sets if not _satisfiable(wishes, pool)]
        if found:
            return found
    raise AssertionError(f"{query} was not possible, and nothing in it conflicts")


def _satisfiable(wishes: Query, pool: "Iterable[Combination]") -> bool:
    return not terms.clash(wishes) and any(terms.admits_all(wishes, c) for c in pool)


def _facts(wishes: Query, pool: "tuple[Combination, ...]") -> tuple[Fact, ...]:
    """For each wish, what those combinations have that admit all the others."""
    if clash := terms.clash(wishes):
        return (clash.fact,)
    found: dict[str, Fact] = {}
    for axis in wishes:
        others = {name: value for name, value in wishes.items() if name != axis}
        rest = tuple(c for c in pool if terms.admits_all(others, c))
        for fact in AXES[axis].reasons(Asked(wishes[axis], others, rest)):
            found.setdefault(fact.text, fact)
    return tuple(found.values())


def _nearest(query: Query, pool: "tuple[Combination, ...]") -> "list[Near]":
    """The nearest combination for each set of axes that has to give way, nearest first.

    Only those are proposed whose lock needs nothing that the catalog does not know.
    """
    if clash := terms.clash(query):
        near = [(gone, explain({axis: v for axis, v in query.items() if axis != gone})) for gone in clash.axes]
        return [replace(n, changed=(*n.changed, gone)) for gone, e in near for n in (*e.found, *e.nearest)[:1]]
    lockable = [c for c in pool if c.lockable]
    found: dict[tuple[str, ...], Near] = {}
    for combination in sorted(lockable, key=lambda c: (-terms.distance(query, c), _preference(c)), reverse=True):
        changed = terms.given_up(query, combination)
        if not any(set(changed) >= set(known) for known in found):
            kept_wishes = {axis: value for axis, value in query.items() if axis not in changed}
            found[changed] = Near(combination, changed, terms.chosen_cudnn(kept_wishes, combination))
        if len(found) == SHOWN:
            break
    return list(found.values())


def as_text(said: Explanation) -> str:
    """An explanation for a terminal; the sources are listed once, below it."""
    asked = ", ".join(terms.text(*wish) for wish in said.query.items())
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
    """A block of lines for each conflict, whose facts have the numbers of their sources; the list of the sources."""
    cited = list(dict.fromkeys(s for conflict in said.conflicts for fact in conflict.facts for s in fact.sources))
    blocks = []
    for conflict in said.conflicts:
        lines = [f"  {_wishes(conflict, said.query)} can't be:"]
        blocks.append("\n".join(lines + [f"    {fact.text} {_marks(fact, cited)}" for fact in conflict.facts]))
    return blocks, "\n".join(f"  [{number}] {source}" for number, source in enumerate(cited, 1))


def _wishes(conflict: Conflict, query: Query) -> str:
    named = [terms.text(axis, query[axis]) for axis in conflict.axes]
    return " and ".join([", ".join(named[:-1]), named[-1]] if named[1:] else named)


def _marks(fact: Fact, cited: "list[Source]") -> str:
    return "".join(f"[{cited.index(source) + 1}]" for source in fact.sources)


def _lines(found: "tuple[Near, ...]") -> "list[str]":
    rows = [(near.id, f"{support.runs_on(near.combination)}{_other(near)}") for near in found]
    return tables.text(rows).splitlines()


def _other(near: Near) -> str:
    return f"; {', '.join(AXES[axis].other for axis in near.changed)}" if near.changed else ""


def as_json(said: Explanation) -> str:
    """The same for a program."""
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
