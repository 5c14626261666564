"""YAML values that remember where they stand, so that every error can name file, line and column."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from torchdev.errors import InputError


@dataclass(frozen=True, order=True)
class Place:
    """A position in a file, counted from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Value:
    """One YAML node with its place; the methods read it as a given type or raise InputError."""

    node: yaml.Node
    file: str

    @property
    def place(self) -> Place:
        """Where the value begins."""
        mark = self.node.start_mark
        return Place(self.file, mark.line + 1, mark.column + 1)

    def error(self, what: str, next_step: str = "") -> InputError:
        """An error about this value."""
        return InputError(what, where=str(self.place), next_step=next_step)

    def text(self) -> str:
        """A string; a number, a boolean or null in its stead is an error, since YAML reads 3.10 as 3.1."""
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.error(f"expected a string, found a {self.kind}")
        if self.node.tag != "tag:yaml.org,2002:str":
            kind = self.node.tag.rsplit(":", 1)[-1]
            raise self.error(
                f"expected a string, but YAML reads {self.node.value} as {kind}",
                f'put it in quotes: "{self.node.value}"',
            )
        return str(self.node.value)

    def items(self) -> "list[Value]":
        """The values of a list; a single value stands for a list of one."""
        if isinstance(self.node, yaml.SequenceNode):
            return [Value(node, self.file) for node in self.node.value]
        return [self]

    def mapping(self) -> "dict[str, tuple[Value, Value]]":
        """Key to (key, value) of a mapping; a key that is no string or comes twice is an error."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.error(f"expected a mapping, found a {self.kind}")
        found: dict[str, tuple[Value, Value]] = {}
        for key_node, value_node in self.node.value:
            key = Value(key_node, self.file)
            name = key.text()
            if name in found:
                raise key.error(f'the key "{name}" was given before, at {found[name][0].place}')
            found[name] = (key, Value(value_node, self.file))
        return found

    def record(self, *, required: set[str], optional: "set[str] | frozenset[str]" = frozenset()) -> "dict[str, Value]":
        """A mapping with just these keys; an unknown or a missing one is an error."""
        found = self.mapping()
        known = required | optional
        for name, (key, _) in found.items():
            if name not in known:
                raise key.error(f'unknown key "{name}"', f"use one of: {', '.join(sorted(known))}")
        for name in sorted(required - found.keys()):
            raise self.error(f'the key "{name}" is missing')
        return {name: value for name, (_, value) in found.items()}

    @property
    def kind(self) -> str:
        """The YAML kind of the node, in words."""
        names = {yaml.ScalarNode: "single value", yaml.SequenceNode: "list", yaml.MappingNode: "mapping"}
        return names[type(self.node)]


def read(path: Path, shown_as: str) -> Value:
    """The root value of a YAML file; a missing, empty or malformed file is an InputError."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except FileNotFoundError:
        raise InputError("no such file", where=shown_as, next_step="name one with --matrix-file") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = str(Place(shown_as, mark.line + 1, mark.column + 1)) if mark else shown_as
        raise InputError(f"not valid YAML: {error.problem}", where=where) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"not valid YAML: {error}", where=shown_as) from None
    if root is None:
        raise InputError("the file is empty", where=f"{shown_as}:1:1", next_step="name at least one row under rows:")
    return Value(root, shown_as)
