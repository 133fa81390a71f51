"""The tree of an instrument's commands, and carrying out messages on it by the rules of SCPI-99 and IEEE 488.2."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from drivers.emulators.scpi_numbers import plain
from drivers.emulators.scpi_status import ScpiError, Status
from drivers.emulators.scpi_syntax import Parameter, forms, parse_unit, split_message

Parameters = Sequence[Parameter]
Setter = Callable[[Parameters], None]
Getter = Callable[[Parameters], str | None]  # None: no answer comes

_PATTERN = re.compile(r"\[(:[^\]]+)\]|(:[A-Za-z0-9_]+)")


@dataclass
class _Node:
    children: dict[str, _Node] = field(default_factory=dict)
    set: Setter | None = None
    get: Getter | None = None
    set_counts: tuple[int, int] = (0, 0)
    get_counts: tuple[int, int] = (0, 0)


class CommandTree:
    """Commands by pattern: ":SENSe:CURRent[:DC]:RANGe[:UPPer]"; capitals are the short form, brackets are optional.

    A node without a digit also answers to the suffix 1. Common commands are named as they are written ("*RST").
    """

    def __init__(self) -> None:
        self._root = _Node()
        self._common: dict[str, _Node] = {}

    def add(
        self,
        pattern: str,
        set: Setter | None = None,
        get: Getter | None = None,
        counts: tuple[int, int] = (0, 0),
        query_counts: tuple[int, int] = (0, 0),
    ) -> None:
        """Register the command and query forms of a header, with the least and most parameters each takes."""
        for node in self._nodes(pattern):
            if set is not None:
                node.set, node.set_counts = set, counts
            if get is not None:
                node.get, node.get_counts = get, query_counts

    def number(
        self,
        pattern: str,
        read: Callable[[], float],
        write: Callable[[float], None],
        low: float,
        high: float,
        default: float,
        unit: str = "",
        form: Callable[[float], str] = plain,
        named: Callable[[str], float | None] = lambda word: None,
    ) -> None:
        """A setting that is a number: MIN, MAX and DEF are understood in the command and in the query."""

        def get(parameters: Parameters) -> str:
            if not parameters:
                return form(read())
            parameters[0].word()
            return form(parameters[0].number(low, high, default, unit))

        self.add(
            pattern,
            lambda parameters: write(parameters[0].number(low, high, default, unit, named)),
            get,
            (1, 1),
            (0, 1),
        )

    def boolean(self, pattern: str, read: Callable[[], bool], write: Callable[[bool], None]) -> None:
        """A setting that is on or off; the query answers 1 or 0."""
        self.add(pattern, lambda p: write(p[0].boolean()), lambda p: str(int(read())), (1, 1))

    def choice(self, pattern: str, options: str, read: Callable[[], str], write: Callable[[str], None]) -> None:
        """A setting that is one of space-separated words; the query answers the short form."""
        self.add(pattern, lambda p: write(p[0].choice(options)), lambda p: read(), (1, 1))

    def execute(self, message: str, status: Status) -> list[str]:
        """Carry out one message: its answers, joined by `;` into one. Whatever is wrong goes into `status`.

        A command that cannot be understood ends the message; one that cannot be carried out does not.
        """
        answers: list[str] = []
        try:
            level = self._root
            for text in split_message(message):
                level = self._run(text, level, answers, status)
        except ScpiError as error:
            status.push(error.code, error.message)
        return [";".join(answers)] if answers else []

    def _run(self, text: str, level: _Node, answers: list[str], status: Status) -> _Node:
        unit = parse_unit(text)
        if unit.common:
            node = self._common.get(unit.path[0])
        else:
            level = self._root if unit.rooted else level
            for mnemonic in unit.path[:-1]:
                level = _child(level, mnemonic)
            node = _child(level, unit.path[-1])
        handler, counts = (None, (0, 0)) if node is None else _form(node, unit.query)
        if handler is None:
            raise ScpiError(-113)
        if len(unit.parameters) < counts[0]:
            raise ScpiError(-109)
        if len(unit.parameters) > counts[1]:
            raise ScpiError(-108)
        try:
            answer = handler(unit.parameters)
        except ScpiError as error:
            if -200 < error.code < 0:
                raise
            status.push(error.code, error.message)
        else:
            if answer is not None:
                answers.append(answer)
        return level

    def _nodes(self, pattern: str) -> list[_Node]:
        if pattern.startswith("*"):
            return [self._common.setdefault(pattern, _Node())]
        nodes = [self._root]
        for optional, required in _PATTERN.findall(pattern):
            grown = [_grow(node, (optional or required)[1:]) for node in nodes]
            nodes = nodes + grown if optional else grown
        return nodes


def _grow(parent: _Node, mnemonic: str) -> _Node:
    long, short = forms(mnemonic)
    child = parent.children.get(long) or parent.children.get(short) or _Node()
    parent.children[long] = parent.children[short] = child
    return child


def _child(node: _Node, mnemonic: str) -> _Node:
    child = node.children.get(mnemonic)
    if child is not None:
        return child
    base = mnemonic.rstrip("0123456789")
    suffix = mnemonic[len(base) :]
    if suffix == "1" and base in node.children:
        return node.children[base]
    numbered = base in node.children or any(key.rstrip("0123456789") == base for key in node.children)
    raise ScpiError(-114 if suffix and numbered else -113)


def _form(node: _Node, query: bool) -> tuple[Setter | Getter | None, tuple[int, int]]:
    return (node.get, node.get_counts) if query else (node.set, node.set_counts)
