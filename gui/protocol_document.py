"""A protocol that is being edited: TOML whose comments are kept, and what its own parser says about it. No Qt."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import tomlkit
from tomlkit.exceptions import ParseError, TOMLKitError
from tomlkit.items import AoT, Item

from gui.schema_tree import Key, Kind, Path, schema_of
from pib_lab.errors import ConfigurationError
from pib_lab.experiment import Experiment, parse_experiment
from pib_lab.procedure import Procedure, is_procedure, parse_procedure

_WHERE = re.compile(r"^([\w.-]+)(?: \([^)]*\))?((?:\.[\w.-]+)?): (.*)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: the path of the key that it belongs to, () for the whole protocol, and what is wrong."""

    path: Path
    message: str


class ProtocolDocument:
    """The text of a protocol, edited key by key. Nothing is checked by `put`: `problems` tells."""

    def __init__(self, text: str) -> None:
        """Raises ConfigurationError for a text that is no TOML."""
        try:
            self._tree = tomlkit.parse(text)
        except TOMLKitError as error:
            raise ConfigurationError(f"the protocol is not valid TOML: {error}") from None
        self._before: list[str] = []

    @property
    def text(self) -> str:
        """The protocol as it would be saved."""
        return tomlkit.dumps(self._tree)

    @property
    def schema(self) -> Key:
        """What the protocol may hold: a training's keys, or a bring-up procedure's."""
        return schema_of(Procedure if is_procedure(self.text) else Experiment)

    def value(self, path: Path) -> Any:
        """The plain value at `path`; None when the key is not there."""
        node = self._node(path)
        return node.unwrap() if isinstance(node, Item) else node

    def comment(self, path: Path) -> str:
        """The comment that stands behind the value at `path` in the text."""
        node = self._node(path)
        return node.trivia.comment.lstrip("# ") if isinstance(node, Item) else ""

    def put(self, path: Path, value: Any) -> None:
        """Set the value at `path`, with tables made on the way; None takes the key away. Comments stay."""
        text = self.text
        if value is None:
            parent = self._node(path[:-1])
            if parent is None or self._node(path) is None:
                return
            del parent[path[-1]]
        else:
            self._parent(path)[path[-1]] = value
        if self.text != text:
            self._before.append(text)

    def add_entry(self, path: Path) -> Path:
        """Append an entry to the list of tables at `path`: a copy of the last one, or an empty one. Its path."""
        entries = self._node(path)
        table = tomlkit.table()
        if entries is None:
            entries = tomlkit.aot()
            self._before.append(self.text)
            entries.append(table)
            self._parent(path)[path[-1]] = entries
            return (*path, 0)
        self._before.append(self.text)
        like = entries[-1].unwrap() if len(entries) else {}
        for key, value in like.items():
            table[key] = f"{value}-copy" if key == "name" else value
        entries.append(table)
        return (*path, len(entries) - 1)

    def undo(self) -> bool:
        """Take the last change back; False when there is none."""
        if not self._before:
            return False
        self._tree = tomlkit.parse(self._before.pop())
        return True

    def problems(self) -> list[Problem]:
        """What the protocol's own parser has to say, a problem for each line. Drivers check their options later."""
        text = self.text
        try:
            parse_procedure(text) if is_procedure(text) else parse_experiment(text)
        except ConfigurationError as error:
            return [_problem(line) for line in str(error).splitlines()]
        return []

    def number_keys(self) -> list[str]:
        """Paths of all keys that hold a number, as `--set` takes them: entries of lists by name."""
        found: list[str] = []

        def walk(key: Key, path: str) -> None:
            for part in key.keys:
                here = f"{path}{part.name}"
                if part.kind in (Kind.INTEGER, Kind.NUMBER):
                    found.append(here)
                elif part.kind is Kind.TABLE:
                    walk(part, f"{here}.")
                elif part.kind is Kind.TABLES:
                    for place, entry in enumerate(self.value((part.name,)) or ()):
                        walk(part, f"{here}.{entry.get('name', place)}.")

        walk(self.schema, "")
        return found

    def save(self, path: FilePath) -> None:
        """Write the text to `path`, whole or not at all. Raises ConfigurationError when that fails."""
        partial = path.with_name(f".{path.name}.partial")
        try:
            partial.write_text(self.text, encoding="utf-8")
            os.replace(partial, path)
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be written ({error.strerror}); choose another place") from error

    def _node(self, path: Path) -> Any:
        node: Any = self._tree
        for key in path:
            try:
                node = node[key]
            except (KeyError, IndexError, TypeError):
                return None
        return node

    def _parent(self, path: Path) -> Any:
        node: Any = self._tree
        for key in path[:-1]:
            if isinstance(node, (list, AoT)):
                node = node[int(key)]
                continue
            if key not in node:
                inside = isinstance(node, tomlkit.items.InlineTable)
                node[key] = tomlkit.inline_table() if inside else tomlkit.table()
            node = node[key]
        return node


def typed_value(text: str, kind: Kind) -> Any:
    """The value that a person means by `text`; None for nothing typed. What cannot be read stays a text.

    The parser then says of it what it says of any wrong value.
    """
    text = text.strip()
    if not text:
        return None
    if kind is Kind.TEXT:
        return text
    if kind is Kind.CHOICE:
        return int(text) if text.isdigit() else text
    try:
        value = tomlkit.value(text).unwrap()
    except (ParseError, ValueError):
        return text
    return float(value) if kind is Kind.NUMBER and isinstance(value, int) and not isinstance(value, bool) else value


def shown_value(value: Any) -> str:
    """A value as a person would type it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return str(tomlkit.item(value).as_string()).strip()


def _problem(line: str) -> Problem:
    found = _WHERE.match(line)
    if found is None:
        return Problem((), line)
    parts = (found[1] + found[2]).split(".")
    return Problem(tuple(int(part) if part.isdigit() else part for part in parts), found[3])
