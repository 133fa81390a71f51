"""Values of TSP and what operators make of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

MAX_TEXT = 1_000_000
"""Characters of the longest string; a loop can double one at every pass."""


class TspError(Exception):
    """An entry for the error queue. Execution goes on with the next statement, unless it is a runtime error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class TspRuntimeError(TspError):
    """Error -286: the rest of the message is not executed."""

    def __init__(self, message: str) -> None:
        super().__init__(-286, f"TSP Runtime error at line 1: {message}")


@runtime_checkable
class Indexable(Protocol):
    """What can stand before a dot or a bracket."""

    def get_item(self, key: Value) -> Value:
        """The value under `key`. Raises TspError."""

    def set_item(self, key: Value, value: Value) -> None:
        """Put `value` under `key`. Raises TspError."""


Value = float | str | bool | None | Indexable | Callable[[list["Value"]], list["Value"]]


class Table:
    """A Lua table: any key but nil; a missing one reads as nil."""

    def __init__(self) -> None:
        self._items: dict[Value, Value] = {}

    def get_item(self, key: Value) -> Value:
        """The value, or nil."""
        return self._items.get(key)

    def set_item(self, key: Value, value: Value) -> None:
        """Put in place; nil removes. Raises TspRuntimeError for a key of nil or not-a-number."""
        if key is None or (isinstance(key, float) and math.isnan(key)):
            raise TspRuntimeError("table index is nil")
        if value is None:
            self._items.pop(key, None)
        else:
            self._items[key] = value

    def sequence(self) -> list[Value]:
        """The values under 1, 2, ... up to the first that is missing."""
        found: list[Value] = []
        while (value := self._items.get(float(len(found) + 1))) is not None:
            found.append(value)
        return found


def truth(value: Value) -> bool:
    """Everything but nil and false is true."""
    return value is not None and value is not False


def type_name(value: Value) -> str:
    """What Lua's `type` says."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "table" if isinstance(value, Indexable) else "function"


def as_number(value: Value, what: str) -> float:
    """A number, or a string that reads as one. Raises TspRuntimeError."""
    if isinstance(value, str):
        value = to_number(value)
    if isinstance(value, bool) or not isinstance(value, float):
        raise TspRuntimeError(f"{what} must be a number, not a {type_name(value)} value")
    return value


def to_number(text: str) -> float | None:
    """What `tonumber` makes of a string: nil when it is no number."""
    try:
        return float(text) if text.strip()[:1] not in ("n", "N", "i", "I", "_") and "_" not in text else None
    except ValueError:
        return None


T = TypeVar("T", float, str)


def _compare(operator: str, left: T, right: T) -> bool:
    if operator == "<":
        return left < right
    if operator == ">":
        return left > right
    return left <= right if operator == "<=" else left >= right


def unary(operator: str, value: Value) -> Value:
    if operator == "not":
        return not truth(value)
    if operator == "-":
        return -as_number(value, "operand of '-'")
    if isinstance(value, str):
        return float(len(value))
    if isinstance(value, Table):
        return float(len(value.sequence()))
    raise TspRuntimeError(f"attempt to get length of a {type_name(value)} value")


def binary(operator: str, left: Value, right: Value) -> Value:
    if operator in ("==", "~="):
        same = type_name(left) == type_name(right) and left == right
        return same == (operator == "==")
    if operator == "..":
        joined = _joinable(left) + _joinable(right)
        if len(joined) > MAX_TEXT:
            raise TspRuntimeError("not enough memory")
        return joined
    if operator in ("<", ">", "<=", ">="):
        if isinstance(left, str) and isinstance(right, str):
            return _compare(operator, left, right)
        if isinstance(left, float) and isinstance(right, float):
            return _compare(operator, left, right)
        raise TspRuntimeError(f"attempt to compare {type_name(left)} with {type_name(right)}")
    what = f"operand of '{operator}'"
    return _arithmetic(operator, as_number(left, what), as_number(right, what))


def _arithmetic(operator: str, left: float, right: float) -> float:
    try:
        if operator == "+":
            return left + right
        if operator == "-":
            return left - right
        if operator == "*":
            return left * right
        if operator == "/":
            return left / right
        if operator == "%":
            return left - math.floor(left / right) * right
        return math.pow(left, right)
    except ZeroDivisionError:
        return math.nan if left == 0.0 or operator == "%" else math.copysign(math.inf, left)
    except OverflowError:
        return math.inf
    except ValueError:  # no real number
        return math.nan


def _joinable(value: Value) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.14g}"
    raise TspRuntimeError(f"attempt to concatenate a {type_name(value)} value")
