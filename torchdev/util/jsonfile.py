"""Reads JSON files strictly: every error has a line, and no value is used before it was validated."""

import json
import re
from collections.abc import Iterable, Iterator
from json.decoder import scanstring  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any, TypeVar

from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from torchdev.util import files
from torchdev.util.texts import Kind, quoted, shown

T = TypeVar("T")
STRICT = ConfigDict(strict=True, extra="forbid")
"""For dataclasses: values are not converted from other types, and unknown keys are refused."""
KeyPath = tuple["str | int", ...]
"""The keys and indexes that lead from the root to a value."""
CONFLICT = re.compile(rb"^(<{7}|={7}|>{7}|\|{7})", re.MULTILINE)
"""Conflict markers, which git leaves in a file that it could not merge."""
SURROGATE = re.compile("[\ud800-\udfff]")
"""A lone surrogate, which a JSON escape can contain."""
DIGITS = re.compile(r"-?([0-9]{1000,})")
"""A whole number that is too large for any field."""
UNMERGED = "git could not merge it: it has conflict markers"
_DECODER = json.JSONDecoder(parse_int=str)  # Python's int refuses thousands of digits, and the value is not needed
_GAP = re.compile(r"[\s,:]*")


class Malformed(ValueError):
    """A malformed file: `what` is wrong in it, on which line, counted from 1."""

    def __init__(self, what: str, line: int) -> None:
        super().__init__(what)
        self.what = what
        self.line = line


def of(kind: Kind) -> Any:
    """The annotation of a field that holds a kind of text."""
    return AfterValidator(kind.of)


def read(path: Path, adapter: "TypeAdapter[T]") -> "tuple[T, bytes]":
    """The content of a JSON file, and its bytes; Malformed if it is invalid, InputError if it can't be read."""
    data = files.read(path)
    return parse(data, adapter), data


def parse(data: bytes, adapter: "TypeAdapter[T]") -> T:
    """The value of a JSON text, validated by its type; Malformed if it is no JSON or not of that type."""
    text = _decoded(data)
    if text.startswith("\ufeff"):
        raise Malformed("not JSON: it begins with a byte order mark; save it in UTF-8 without one", 1)
    try:
        json.loads(text, object_pairs_hook=_once, parse_int=str)
    except json.JSONDecodeError as error:
        if line := conflict(data):
            raise Malformed(UNMERGED, line) from None
        raise Malformed("the file is empty" if not text.strip() else f"not JSON: {error.msg}", error.lineno) from None
    except _Twice as error:
        raise Malformed(f"the key {quoted(error.key)} is there twice", _line_of_second(text, error.key)) from None
    except RecursionError:
        raise Malformed("it is nested too deeply", 1) from None
    except ValueError as error:
        raise Malformed(f"not JSON: {shown(error)}", 1) from None
    try:
        return adapter.validate_json(data)
    except ValidationError as error:
        if error.errors(include_url=False)[0]["type"] == "json_invalid":
            raise _unlike_python(text) from None
        first = min(error.errors(include_url=False), key=lambda e: line_of(text, e["loc"]))
        raise Malformed(_told(first), line_of(text, first["loc"])) from None


def conflict(data: bytes) -> int:
    """The line of the first conflict marker of git; 0 if there is none."""
    found = CONFLICT.search(data)
    return _line(data, found.start()) if found else 0


def line_of(text: "str | bytes", path: KeyPath) -> int:
    """The line of a value in JSON that was parsed before; for a missing value, that of the object it belongs in."""
    text = text.decode() if isinstance(text, bytes) else text
    try:
        offsets = dict(_values(text, _skip(text, 0), ()))
    except (RecursionError, ValueError, IndexError):
        return 1
    while path not in offsets and path:
        path = path[:-1]
    return _line(text, offsets.get(path, 0))


class _Twice(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _once(pairs: "Iterable[tuple[str, Any]]") -> dict[str, Any]:
    """An object's keys and values; a repeated key is refused."""
    pairs = list(pairs)
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Twice(next(key for number, key in enumerate(keys) if key in keys[:number]))
    return found


def _unlike_python(text: str) -> Malformed:
    """Errors that pydantic refuses and Python's parser accepts: lone surrogates, thousands of digits, deep nesting."""
    for path, offset in _values(text, _skip(text, 0), ()):
        if digits := DIGITS.match(text, offset):
            return Malformed(f"{_path(path)}: a number of {len(digits[1]):,} digits is too large", _line(text, offset))
        value = scanstring(text, offset + 1)[0] if text[offset] == '"' else ""
        for found, what in ((path[-1] if path else "", "the key "), (value, f"{_path(path)}: ")):
            if SURROGATE.search(str(found)):
                return Malformed(f"{what}{quoted(found)} is not text: it has half a character", _line(text, offset))
    return Malformed("it is nested too deeply", 1)


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("it is not text in UTF-8", _line(data, error.start)) from None


def _line(text: "str | bytes", offset: int) -> int:
    return 1 + (text.count(b"\n", 0, offset) if isinstance(text, bytes) else text.count("\n", 0, offset))


def _line_of_second(text: str, key: str) -> int:
    """The line of the first value with a repeated key."""
    seen: set[KeyPath] = set()
    for path, offset in _values(text, _skip(text, 0), ()):
        if path in seen and path[-1] == key:
            return _line(text, offset)
        seen.add(path)
    return 1


def _skip(text: str, at: int) -> int:
    match = _GAP.match(text, at)
    return match.end() if match else at


def _values(text: str, at: int, path: KeyPath) -> "Iterator[tuple[KeyPath, int]]":
    """Every value of well-formed JSON with its offset, in the order of the text."""
    yield path, at
    if text[at] not in "{[":
        return
    number, closing = 0, "}" if text[at] == "{" else "]"
    at = _skip(text, at + 1)
    while text[at] != closing:
        key: str | int = number
        if closing == "}":
            key, at = scanstring(text, at + 1)
            at = _skip(text, at)
        yield from _values(text, at, (*path, key))
        number, at = number + 1, _skip(text, _DECODER.raw_decode(text, at)[1])


WORDS = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number that is not that large",
    "float_type": "a number",
    "bool_type": "true or false",
    "finite_number": "a finite number",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "dataclass_type": "an object",
    "dataclass_exact_type": "an object",
}
"""pydantic's type errors, and the expected type in words."""


def _told(error: ErrorDetails) -> str:
    """An error in one sentence that names the value by its path."""
    key, found = _path(error["loc"]), quoted(error["input"])
    match error["type"]:
        case "missing":
            return f"{key} is missing"
        case "extra_forbidden" | "unexpected_keyword_argument":
            return f"{key} is not a key that is known here"
        case "value_error":
            return f"{key}: {error['msg'].removeprefix('Value error, ')}"
        case kind if kind in WORDS:
            return f"{key}: expected {WORDS[kind]}, found {found}"
    return f"{key}: {found}: {shown(error['msg'][:1].lower() + error['msg'][1:])}"


def _path(path: KeyPath) -> str:
    """A path as jq writes it, without its first point: packages[3].sha256."""
    parts = (f"[{step}]" if isinstance(step, int) else f".{shown(step)}" for step in path)
    return "".join(parts).removeprefix(".") or "the file"
