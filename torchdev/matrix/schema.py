"""What may stand in matrix.yaml: the models that validate it, and the JSON schema for editors made from them."""

import json
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError

from torchdev.util import texts
from torchdev.util.errors import InputError
from torchdev.util.positions import Document, KeyPath, read
from torchdev.util.texts import Kind, quoted, shown

SCHEMA_FILE = "matrix.schema.json"
AXES = ("python", "cuda", "torch", "cudnn", "variant", "arch")
CHOSEN_ELSEWHERE = ("torch", "torchvision", "torchaudio")
T = TypeVar("T")


class WithSingle:
    """Makes the JSON schema of a list accept a single item, too."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> "dict[str, Any]":
        """The hook that pydantic looks for."""
        found = handler(core)
        return {"anyOf": [found["items"], found]}


def _of(kind: Kind) -> AfterValidator:
    """The validator of a kind of text; only `re` decides, so that the matrix is validated like all other input."""

    def check(text: str) -> str:
        if refusal := kind.refusal(text):
            raise PydanticCustomError("kind", "{refusal}", {"refusal": refusal})
        return text

    return AfterValidator(check)


def _shown(kind: Kind) -> Any:
    """The same kind in the JSON schema."""
    pattern: dict[str, Any] = {"pattern": f"^({kind.pattern})$", "maxLength": kind.longest}
    return Field(description=kind.words, json_schema_extra=pattern)


Python = Annotated[str, _of(texts.SERIES), _shown(texts.SERIES)]
Flavour = Annotated[str, _of(texts.FLAVOUR), _shown(texts.FLAVOUR)]
Torch = Annotated[str, _of(texts.RELEASE), _shown(texts.RELEASE)]
Cudnn = Annotated[str, _of(texts.CUDNN), _shown(texts.CUDNN)]
Variant = Annotated[str, _of(texts.VARIANT), _shown(texts.VARIANT)]
Arch = Annotated[str, _of(texts.ARCH), _shown(texts.ARCH)]
Companion = Annotated[str, _of(texts.COMPANION), _shown(texts.COMPANION)]
Repository = Annotated[str, _of(texts.REPOSITORY), _shown(texts.REPOSITORY)]
Name = Annotated[str, _of(texts.TAG), _shown(texts.TAG)]


def _requirement(text: str) -> str:
    problem = requirement_problem(text)
    if problem:
        raise PydanticCustomError("kind", "{refusal}", {"refusal": f"{quoted(text)} {problem}"})
    return text


def requirement_problem(text: str) -> str:
    """Why a requirement of the matrix is refused; empty if it is accepted."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return f"is not {texts.REQUIREMENT.words}"
    if requirement.url:
        return f"is not {texts.REQUIREMENT.words}: locks hold no URLs"
    if canonicalize_name(requirement.name) in CHOSEN_ELSEWHERE:
        return "can't be chosen here, but by the keys torch and companions"
    return ""


def _stripped(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("reason", "this needs a reason")
    return text.strip()  # a folded block of YAML ends with a line break


Package = Annotated[str, _of(texts.REQUIREMENT), AfterValidator(_requirement), _shown(texts.REQUIREMENT)]
Reason = Annotated[str, AfterValidator(_stripped), _of(texts.SENTENCE)]
Many = Annotated[
    list[T],
    Field(min_length=1),
    BeforeValidator(lambda v: v if isinstance(v, list) else [v]),
    WithSingle(),
]
"""A list, or a single value in place of a list of one."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _about(text: str) -> ConfigDict:
    """The description of a model in the JSON schema. `python -OO` removes docstrings, and must make the same schema."""
    return ConfigDict(json_schema_extra={"description": text})


class Axes(_Model):
    """Values of the axes."""

    model_config = _about("Values of the axes.")

    python: Many[Python] | None = None
    cuda: Many[Flavour] | None = None
    torch: Many[Torch] | None = None
    cudnn: Many[Cudnn] | None = Field(default=None, description="another cuDNN than the one that PyTorch pins")
    variant: Many[Variant] | None = Field(default=None, description="devel adds nvcc and CUDA's headers")
    arch: Many[Arch] | None = Field(default=None, description="the processor's architecture; amd64 unless given")


class Row(Axes):
    """A row: the product of its values, with those of `axes` where it names none."""

    model_config = _about("A row: the product of its values, with those of `axes` where it names none.")

    packages: list[Package] = Field(default=[], description="packages beside those of the whole matrix")
    constraints: list[Package] = Field(default=[], description="bounds on packages beside those of the whole matrix")
    companions: list[Companion] | None = Field(default=None, description="instead of those of the whole matrix")
    unlocked: Reason | None = Field(
        default=None, description="why these cells have no lock, if that is known and no mistake"
    )
    legacy: Reason | None = Field(
        default=None, description="why one should move on from these cells; said wherever they are listed"
    )


class Exclusion(Axes):
    """Takes away the cells that have one of the named values on every axis it names."""

    model_config = _about("Takes away the cells that have one of the named values on every axis it names.")

    reason: Reason


class MatrixFile(_Model):
    """matrix.yaml: what torchdev builds."""

    model_config = _about("matrix.yaml: what torchdev builds.")

    image: Repository
    packages: list[Package] = Field(default=[], description="in every image, beside torch and its companions")
    constraints: list[Package] = Field(default=[], description="bounds on packages, whether or not they are asked for")
    companions: list[Companion] = Field(
        ["torchvision", "torchaudio"], description="installed where the release has them"
    )
    slim: bool = Field(default=True, description="leave out of wheels what nothing loads: docs/slimming.md")
    axes: Axes = Field(default=Axes(), description="values for the axes that a row does not name")
    rows: list[Row]
    exclude: list[Exclusion] = Field(default=[], description="cells of the rows that are not wanted, and why")
    include: list[Row] = Field(default=[], description="rows that no exclusion touches")
    aliases: dict[Name, str] = Field(default={}, description="tag to the cell id or short tag it points at")
    groups: dict[Name, Annotated[list[str], Field(min_length=1)]] = Field(
        default={}, description="name to the ids, short tags or globs of its cells"
    )


@cache
def json_schema() -> str:
    """The JSON schema of matrix.yaml, for editors; made from the models that validate."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **MatrixFile.model_json_schema()}
    return json.dumps(schema, indent=2) + "\n"


def read_matrix(path: Path) -> "tuple[MatrixFile, Document]":
    """Read and validate a matrix file, with the positions of its values; the first mistake is an InputError."""
    document = read(path, path.name)
    try:
        return MatrixFile.model_validate(document.data), document
    except ValidationError as error:
        first = min(error.errors(), key=lambda e: document.position(_own(tuple(e["loc"])), key=_of_key(e)))
        raise _explain(first, document) from None


def _explain(error: ErrorDetails, document: Document) -> InputError:
    path: KeyPath = tuple(error["loc"])
    match error["type"]:
        case "extra_forbidden":
            known = ", ".join(sorted(_model(path[:-1]).model_fields))
            return document.error(path, f"unknown key {quoted(path[-1])}", f"use one of: {known}", key=True)
        case "missing":
            return document.error(path[:-1], f'the key "{path[-1]}" is missing')
        case "string_type" if document.kind(path) not in ("mapping", "list"):
            written = document.written(path)
            what = f"expected a string, but YAML reads {shown(written)} as {document.kind(path)}"
            return document.error(path, what, f"put it in quotes: {quoted(written)}")
        case "kind":
            return document.error(_own(path), error["msg"], key=_of_key(error))
        case "too_short":
            return document.error(path, "the list is empty", "name at least one value, or leave the key out")
        case "string_type" | "list_type" | "dict_type" | "model_type" | "bool_type":
            wanted = {"string_type": "a string", "list_type": "a list", "bool_type": "true or false"}.get(
                error["type"], "a mapping"
            )
            return document.error(path, f"expected {wanted}, found a {document.kind(path)}")
    return document.error(path, error["msg"])


def _of_key(error: ErrorDetails) -> bool:
    """Whether an error is about a key; pydantic marks the keys of free mappings so."""
    return error["type"] == "extra_forbidden" or error["loc"][-1:] == ("[key]",)


def _own(path: KeyPath) -> KeyPath:
    return path[:-1] if path[-1:] == ("[key]",) else path


def _model(path: KeyPath) -> "type[_Model]":
    """The model of the mapping at a path of the file."""
    models: dict[str | int, type[_Model]] = {"axes": Axes, "rows": Row, "include": Row, "exclude": Exclusion}
    return models[path[0]] if path else MatrixFile
