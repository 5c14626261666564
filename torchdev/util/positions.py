"""Parses YAML and remembers the position of every value, so that each error names file, line and column."""

import codecs
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from torchdev.util import files, jsonfile
from torchdev.util.errors import InputError, Step
from torchdev.util.texts import quoted, shown

KeyPath = tuple["str | int", ...]
"""The keys and indexes that lead from the root to a value."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
TAG = "tag:yaml.org,2002:"
STRING, MERGE, NULL, BOOL = (f"{TAG}{name}" for name in ("str", "merge", "null", "bool"))
COLLECTIONS = (f"{TAG}map", f"{TAG}seq")

MOST_BYTES = 4_000_000
"""The largest size of a file, in bytes: tens of thousands of rows."""
MOST_NODES = 100_000
"""The most values and keys of a file, with every alias expanded."""
DEEPEST = 50
"""The deepest nesting of lists and mappings; a matrix needs five levels."""
NOT_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""Characters that YAML does not allow: YAML 1.1, section 5.1; a byte order mark only at the start."""
BREAK = "\r\n|[\r\n\x85\u2028\u2029]"
"""The end of a line, as YAML 1.1 counts lines."""


MERGE_IT = "merge it by hand: take one side, or both, and remove the lines that begin with <<<<<<<, =======, >>>>>>>"


class NotText:
    """A scalar that YAML reads as a number or a date."""


@dataclass
class _Extent:
    """A node while it is parsed: its anchor, how many nodes it expands to, and how deep they are nested."""

    anchor: "str | None"
    nodes: int
    height: int


@dataclass(frozen=True, order=True)
class Position:
    """A position in a file, counted from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Document:
    """The values of a YAML file, and the node of each value and each key."""

    file: str
    data: Any
    values: "dict[KeyPath, yaml.Node]"
    keys: "dict[KeyPath, yaml.Node]"

    def position(self, path: KeyPath = (), *, key: bool = False) -> Position:
        """The position of a value or of its key; for a missing value, that of the mapping or list it belongs in."""
        nodes = self.keys if key and path in self.keys else self.values
        while path not in nodes:
            path = path[:-1]
        return _position_of(nodes[path], self.file)

    def has(self, path: KeyPath) -> bool:
        """Whether there is a value at a path."""
        return path in self.values

    def error(self, path: KeyPath, what: str, next_step: Step = "", *, key: bool = False) -> InputError:
        """An error about a value or its key."""
        return InputError(what, where=str(self.position(path, key=key)), next_step=next_step)

    def kind(self, path: KeyPath) -> str:
        """The type of a value in YAML's words: mapping, list, string, int, float, bool, null."""
        node = self.values[path] if path in self.values else self.values[path[:-1]]
        if isinstance(node, yaml.MappingNode | yaml.SequenceNode):
            return "mapping" if isinstance(node, yaml.MappingNode) else "list"
        return "string" if node.tag == STRING else shown(node.tag.rsplit(":", 1)[-1])

    def written(self, path: KeyPath) -> str:
        """A scalar as written in the file, safe for a message."""
        node = self.values[path] if path in self.values else self.values[path[:-1]]
        return shown(node.value)


def read(path: Path, shown_as: str) -> Document:
    """Read a YAML file; a missing, empty, malformed or excessive one, or a key given twice, is an InputError."""
    try:
        text = _text(files.read(path, MOST_BYTES), shown_as)
        _bounded(text, shown_as)
        root = yaml.compose(text, Loader=LOADER)
    except yaml.MarkedYAMLError as error:
        raise _malformed(error, text, shown_as) from None
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), next_step="name one with --matrix-file") from None
    if root is None:
        raise InputError("the file is empty", where=f"{shown_as}:1:1", next_step="name at least one row: rows:")
    values: dict[KeyPath, yaml.Node] = {}
    keys: dict[KeyPath, yaml.Node] = {}
    return Document(shown_as, _construct(root, (), values, keys, shown_as), values, keys)


def read_own(path: Path, sections: "Collection[str]" = ()) -> Any:
    """The values of a YAML file of torchdev's own, such as facts.yaml, which people also edit.

    InputError with its position if it is malformed, or lacks one of the sections.
    """
    text, shown_as = _text(files.read(path, MOST_BYTES), str(path)), str(path)
    try:
        found = yaml.load(text, LOADER)
    except yaml.MarkedYAMLError as error:
        raise _malformed(error, text, shown_as) from None
    for section in sections:
        if not isinstance(found, dict) or not isinstance(found.get(section), dict):
            line = next((n for n, one in enumerate(text.split("\n"), 1) if one.startswith(f"{section}:")), 1)
            raise InputError(f"the section {section} is not there, or holds nothing", where=f"{shown_as}:{line}:1")
    return found


def _malformed(error: yaml.MarkedYAMLError, text: str, file: str) -> InputError:
    """The error for a text that is not YAML, with its position."""
    if line := jsonfile.conflict(text.encode()):
        return InputError(jsonfile.UNMERGED, where=f"{file}:{line}:1", next_step=MERGE_IT)
    mark = error.problem_mark or error.context_mark
    where = str(Position(file, mark.line + 1, mark.column + 1)) if mark else f"{file}:1:1"
    return InputError(f"not valid YAML: {shown(error.problem)}", where=where)


def _text(data: bytes, file: str) -> str:
    """A file's bytes as text: UTF-8, with or without a byte order mark, and nothing that YAML does not allow."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError("it is in UTF-16", where=f"{file}:1:1", next_step="save it in UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        where = _end_of(data[: error.start].decode("utf-8"), file)
        what = f"the byte 0x{data[error.start]:02x} is not UTF-8"
        raise InputError(what, where=str(where), next_step="save the file in UTF-8") from None
    if found := NOT_YAML.search(text):
        what = f"YAML does not allow the control character U+{ord(found[0]):04X}"
        raise InputError(what, where=str(_end_of(text[: found.start()], file)), next_step="remove it")
    return text


def _end_of(before: str, file: str) -> Position:
    """The position after a text."""
    *lines, last = re.split(BREAK, before)
    return Position(file, len(lines) + 1, len(last) + 1)


def _bounded(text: str, file: str) -> None:
    """Refuse what is nested too deeply, or has too many values once every alias is expanded.

    Events are read one by one, whereas nodes are composed by recursion, so this runs first.
    """
    above: list[_Extent] = []
    anchored: dict[str, _Extent] = {}
    for event in yaml.parse(text, Loader=LOADER):
        found = _extent(event, above, anchored, file)
        if len(above) + (found.height if found else 0) > DEEPEST:
            raise InputError(f"values are nested more than {DEEPEST} deep", where=str(_mark(event, file)))
        if found and above:
            above[-1].nodes += found.nodes
            above[-1].height = max(above[-1].height, found.height + 1)
        if sum(one.nodes for one in above) > MOST_NODES:
            what = f"it has more than {MOST_NODES:,} values, counting each as often as aliases repeat it"
            raise InputError(what, where=str(_mark(event, file)), next_step="name fewer")


def _extent(event: yaml.Event, above: "list[_Extent]", anchored: "dict[str, _Extent]", file: str) -> "_Extent | None":
    """The extent of the node that an event ends, if it ends one; `above` has the nodes that are still open."""
    found = None
    if isinstance(event, yaml.AliasEvent):
        if any(event.anchor == one.anchor for one in above):
            raise InputError("an anchor refers to itself", where=str(_mark(event, file)))
        return anchored.get(event.anchor or "")  # an alias without an anchor is refused when nodes are composed
    if isinstance(event, yaml.CollectionStartEvent):
        above.append(_Extent(event.anchor, 1, 1))
    elif isinstance(event, yaml.CollectionEndEvent):
        found = above.pop()
    elif isinstance(event, yaml.ScalarEvent):
        found = _Extent(event.anchor, 1, 1)
    if found and found.anchor:
        anchored[found.anchor] = found
    return found


def _mark(event: yaml.Event, file: str) -> Position:
    mark = event.start_mark
    return Position(file, mark.line + 1, mark.column + 1) if mark else Position(file, 1, 1)


def _construct(
    node: yaml.Node, path: KeyPath, values: "dict[KeyPath, yaml.Node]", keys: "dict[KeyPath, yaml.Node]", file: str
) -> Any:
    """The Python value of a node; `values` and `keys` note the nodes of it and below."""
    values[path] = node
    if not isinstance(node, yaml.ScalarNode) and node.tag not in COLLECTIONS:
        raise InputError(f"the tag {shown(node.tag)} is not supported", where=str(_position_of(node, file)))
    if isinstance(node, yaml.SequenceNode):
        return [_construct(item, (*path, number), values, keys, file) for number, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return _scalar(node)
    found = {}
    for name, key, value in _pairs(node, file):
        if name in found:
            first = _position_of(keys[*path, name], file)
            raise InputError(f"the key {quoted(name)} was given before, at {first}", where=str(_position_of(key, file)))
        keys[*path, name] = key
        found[name] = _construct(value, (*path, name), values, keys, file)
    return found


def _scalar(node: yaml.Node) -> "str | bool | NotText | None":
    """The value of a scalar. No key of a matrix takes a number or a date; they are kept to report that."""
    if node.tag == BOOL:
        return yaml.SafeLoader.bool_values.get(node.value.lower(), NotText())
    return str(node.value) if node.tag == STRING else None if node.tag == NULL else NotText()


def _pairs(node: yaml.MappingNode, file: str) -> "Iterator[tuple[str, yaml.Node, yaml.Node]]":
    """Key, its node and its value's; a key that is not a string is an error, since YAML reads 3.10 as 3.1."""
    for key, value in node.value:
        if key.tag == MERGE:
            step = "write the values out, or put them under axes:"
            raise InputError("merge keys (<<) are not supported", where=str(_position_of(key, file)), next_step=step)
        if not isinstance(key, yaml.ScalarNode) or key.tag != STRING:
            written = shown(key.value) if isinstance(key, yaml.ScalarNode) else "this"
            raise InputError(
                f"a key must be a string, and {written} is none",
                where=str(_position_of(key, file)),
                next_step=f'put it in quotes: "{written}"' if isinstance(key, yaml.ScalarNode) else "",
            )
        yield str(key.value), key, value


def _position_of(node: yaml.Node, file: str) -> Position:
    return Position(file, node.start_mark.line + 1, node.start_mark.column + 1)
