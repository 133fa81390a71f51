"""What a protocol may hold, from the schema of its own model: kinds, limits, choices, defaults, and help."""

from __future__ import annotations

import functools
import inspect
import io
import tokenize
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

Path = tuple[str | int, ...]
"""Keys and positions that lead to a value, as ("units", 0, "rule", "learning_rate")."""


class Kind(StrEnum):
    """What a key holds."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    FLAG = "true or false"
    CHOICE = "choice"
    TABLE = "table"
    TABLES = "list of tables"
    BY_NAME = "tables by name"
    PLUGIN = "name or table"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the schema. limits: as a person reads them, "above 0, at most 1"; keys: of a table, or of each entry.

    open_ended: further keys are allowed, which somebody else checks.
    """

    name: str
    kind: Kind
    required: bool = False
    default: Any = None
    choices: tuple[Any, ...] = ()
    limits: str = ""
    help: str = ""
    keys: tuple[Key, ...] = ()
    open_ended: bool = False

    @property
    def is_group(self) -> bool:
        """Whether it is shown with keys of its own below it."""
        return self.kind in (Kind.TABLE, Kind.TABLES, Kind.BY_NAME)


@functools.cache
def schema_of(model: type[BaseModel]) -> Key:
    """The keys of `model`, with the comments of its source as help."""
    schema = model.model_json_schema()
    comments = {name: comments_of(part) for name, part in _models(model).items()}
    return _table("", schema, schema.get("$defs", {}), comments, model.__name__, True)


def comments_of(model: type[BaseModel]) -> dict[str, str]:
    """Comments that stand behind the fields of a model in its source; none where the source is not at hand."""
    try:
        lines = inspect.getsource(model)
    except OSError:
        return {}
    found: dict[str, str] = {}
    first: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(inspect.cleandoc(lines)).readline):
        first.setdefault(token.start[0], token.string if token.type == tokenize.NAME else "")
        if token.type == tokenize.INDENT:
            first.pop(token.start[0], None)
        if token.type == tokenize.COMMENT:
            name = first.get(token.start[0], "")
            if name in model.model_fields:
                found[name] = token.string.lstrip("# ")
    return found


@functools.cache
def _models(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The model and all models that its fields lead to, by name."""
    found = {model.__name__: model}
    waiting: list[Any] = [field.annotation for field in model.model_fields.values()]
    while waiting:
        kind = waiting.pop()
        waiting += getattr(kind, "__args__", ())
        if inspect.isclass(kind) and issubclass(kind, BaseModel) and kind.__name__ not in found:
            found[kind.__name__] = kind
            waiting += [field.annotation for field in kind.model_fields.values()]
    return found


def _table(
    name: str,
    schema: dict[str, Any],
    parts: dict[str, Any],
    comments: dict[str, dict[str, str]],
    model: str,
    must: bool,
) -> Key:
    required = schema.get("required", ())
    keys = tuple(
        _key(key, part, parts, comments, key in required, comments.get(model, {}).get(key, ""))
        for key, part in schema.get("properties", {}).items()
    )
    return Key(
        name,
        Kind.TABLE,
        must,
        help=schema.get("description", ""),
        keys=keys,
        open_ended=bool(schema.get("additionalProperties", False)),
    )


def _key(
    name: str,
    schema: dict[str, Any],
    parts: dict[str, Any],
    comments: dict[str, dict[str, str]],
    required: bool,
    comment: str,
) -> Key:
    if "anyOf" in schema:  # the other one is null: the key may be left out
        schema = {**schema, **next(part for part in schema["anyOf"] if part.get("type") != "null")}
    if "$ref" in schema:
        model = schema["$ref"].rpartition("/")[2]
        table = _table(name, parts[model], parts, comments, model, required)
        kind = Kind.PLUGIN if model == "Named" else Kind.TABLE
        return Key(name, kind, required, help=comment or table.help, keys=table.keys, open_ended=table.open_ended)
    entry = schema.get("items", schema.get("additionalProperties"))
    if isinstance(entry, dict) and "$ref" in entry:
        model = entry["$ref"].rpartition("/")[2]
        table = _table(name, parts[model], parts, comments, model, required)
        kind = Kind.TABLES if "items" in schema else Kind.BY_NAME
        return Key(name, kind, required, help=comment or table.help, keys=table.keys, open_ended=table.open_ended)
    if schema.get("type") == "object":
        return Key(name, Kind.TABLE, required, help=comment, open_ended=True)
    kinds = {"integer": Kind.INTEGER, "number": Kind.NUMBER, "boolean": Kind.FLAG, "string": Kind.TEXT}
    choices = tuple(schema.get("enum", ()))
    kind = Kind.CHOICE if choices else kinds.get(str(schema.get("type")), Kind.ANY)
    return Key(name, kind, required, schema.get("default"), choices, _limits(schema, choices), comment)


def _limits(schema: dict[str, Any], choices: tuple[Any, ...]) -> str:
    if choices:
        return ", ".join(str(choice) for choice in choices)
    words = (
        ("exclusiveMinimum", "above"),
        ("minimum", "at least"),
        ("exclusiveMaximum", "below"),
        ("maximum", "at most"),
    )
    return ", ".join(f"{word} {schema[key]:,.12g}" for key, word in words if key in schema)
