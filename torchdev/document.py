"""YAML documents that remember where each value stands, so that every error can name file, line and column."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from torchdev.errors import InputError, Step

Trail = tuple["str | int", ...]
"""The keys and indexes that lead from the root to a value."""
STRING = "tag:yaml.org,2002:str"


MERGE = "tag:yaml.org,2002:merge"
NULL = "tag:yaml.org,2002:null"


class NotText:
    """A scalar that YAML reads as a number, a boolean or a date."""


@dataclass(frozen=True, order=True)
class Place:
    """A position in a file, counted from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Document:
    """The values of a YAML file, and the node that each of them and each key was read from."""

    file: str
    data: Any
    values: "dict[Trail, yaml.Node]"
    keys: "dict[Trail, yaml.Node]"

    def place(self, path: Trail = (), *, key: bool = False) -> Place:
        """Where a value, or its key, stands; for what is not in the file, where that is in which it belongs."""
        nodes = self.keys if key and path in self.keys else self.values
        while path not in nodes:
            path = path[:-1]
        return _place(nodes[path], self.file)

    def has(self, path: Trail) -> bool:
        """Whether there is a value at a path."""
        return path in self.values

    def error(self, path: Trail, what: str, next_step: Step = "", *, key: bool = False) -> InputError:
        """An error about a value or its key."""
        return InputError(what, where=str(self.place(path, key=key)), next_step=next_step)

    def kind(self, path: Trail) -> str:
        """What a value is, in YAML's words: mapping, list, string, int, float, bool, null."""
        node = self.values[path] if path in self.values else self.values[path[:-1]]
        if isinstance(node, yaml.MappingNode | yaml.SequenceNode):
            return "mapping" if isinstance(node, yaml.MappingNode) else "list"
        return "string" if node.tag == STRING else node.tag.rsplit(":", 1)[-1]

    def written(self, path: Trail) -> str:
        """A scalar as it stands in the file."""
        node = self.values[path] if path in self.values else self.values[path[:-1]]
        return str(node.value)


def read(path: Path, shown_as: str) -> Document:
    """Read a YAML file; a missing, empty or malformed one, or a key given twice, is an InputError."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        if root is None:
            raise InputError("the file is empty", where=f"{shown_as}:1:1", next_step="name at least one row: rows:")
        values: dict[Trail, yaml.Node] = {}
        keys: dict[Trail, yaml.Node] = {}
        return Document(shown_as, _construct(root, (), values, keys, shown_as), values, keys)
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), next_step="name one with --matrix-file") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = str(Place(shown_as, mark.line + 1, mark.column + 1)) if mark else shown_as
        raise InputError(f"not valid YAML: {error.problem}", where=where) from None
    except RecursionError:
        raise InputError("an anchor refers to itself", where=shown_as) from None
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror}", where=str(path)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"not valid YAML: {error}", where=shown_as) from None


def _construct(
    node: yaml.Node, path: Trail, values: "dict[Trail, yaml.Node]", keys: "dict[Trail, yaml.Node]", file: str
) -> Any:
    """The Python value of a node, with what it was read from noted in `values` and `keys`."""
    values[path] = node
    if isinstance(node, yaml.SequenceNode):
        return [_construct(item, (*path, number), values, keys, file) for number, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        # No key takes anything but strings, so what else a scalar may be matters only for saying so.
        return str(node.value) if node.tag == STRING else None if node.tag == NULL else NotText()
    found = {}
    for name, key, value in _pairs(node, file):
        if name in found:
            first = _place(keys[*path, name], file)
            raise InputError(f'the key "{name}" was given before, at {first}', where=str(_place(key, file)))
        keys[*path, name] = key
        found[name] = _construct(value, (*path, name), values, keys, file)
    return found


def _pairs(node: yaml.MappingNode, file: str) -> "Iterator[tuple[str, yaml.Node, yaml.Node]]":
    """Key, its node and its value's; a key that is not a string is an error, since YAML reads 3.10 as 3.1."""
    for key, value in node.value:
        if key.tag == MERGE:
            step = "write the values out, or put them under axes:"
            raise InputError("merge keys (<<) are not supported", where=str(_place(key, file)), next_step=step)
        if not isinstance(key, yaml.ScalarNode) or key.tag != STRING:
            written = key.value if isinstance(key, yaml.ScalarNode) else "this"
            raise InputError(
                f"a key must be a string, and {written} is none",
                where=str(_place(key, file)),
                next_step=f'put it in quotes: "{written}"' if isinstance(key, yaml.ScalarNode) else "",
            )
        yield str(key.value), key, value


def _place(node: yaml.Node, file: str) -> Place:
    return Place(file, node.start_mark.line + 1, node.start_mark.column + 1)
