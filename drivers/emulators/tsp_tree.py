"""The tree of a TSP message: expressions and statements."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, string, boolean or nil."""

    value: float | str | bool | None


@dataclass(frozen=True, slots=True)
class Name:
    """A local or global variable."""

    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """`table.key` or `table[key]`."""

    table: Expression
    key: Expression


@dataclass(frozen=True, slots=True)
class Call:
    """`function(arguments)`; the only expression that is also a statement."""

    function: Expression
    arguments: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """One or two operands under an operator."""

    operator: str
    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Constructor:
    """`{1, 2, x = 3}`: keys are None where the position counts."""

    items: tuple[tuple[Expression | None, Expression], ...]


Expression = Literal | Name | Index | Call | Operation | Constructor


@dataclass(frozen=True, slots=True)
class Assign:
    """`a, b.c = x, y`; local: the targets are new names."""

    targets: tuple[Name | Index, ...]
    values: tuple[Expression, ...]
    local: bool


@dataclass(frozen=True, slots=True)
class If:
    """Conditions with their blocks, tried in order; `else` is the literal true."""

    branches: tuple[tuple[Expression, Block], ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """`while` (tested before) and `repeat ... until` (tested after, ends when true)."""

    condition: Expression
    body: Block
    test_first: bool


@dataclass(frozen=True, slots=True)
class For:
    """`for name = start, stop, step do`."""

    name: str
    bounds: tuple[Expression, ...]
    body: Block


@dataclass(frozen=True, slots=True)
class Do:
    """A block with locals of its own."""

    body: Block


@dataclass(frozen=True, slots=True)
class Break:
    """Leaves the innermost loop."""


Statement = Call | Assign | If | Loop | For | Do | Break
Block = tuple[Statement, ...]
