"""Tables of a TSP instrument: attributes that are checked when set, constants, functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

from drivers.emulators.tsp_values import TspError, TspRuntimeError, Value, type_name

Function = Callable[[list[Value]], list[Value]]
Check = Callable[[Value], Value]


class Namespace:
    """An instrument's table, such as `smua.source`. Reading or setting what is not there is a runtime error.

    The instruments read an unknown attribute as nil and take some unknown ones silently; an emulator that did so would
    hide the client's mistake.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._read: dict[str, Callable[[], Value]] = {}
        self._write: dict[str, Callable[[Value], None]] = {}

    def constants(self, **values: float) -> None:
        """Names for numbers."""
        for name, value in values.items():
            self.attribute(name, lambda value=float(value): value)  # type: ignore[misc]

    def table(self, name: str, value: Value) -> None:
        """A table within this one, or a function."""
        self.attribute(name, lambda: value)

    def attribute(self, name: str, read: Callable[[], Value], write: Callable[[Value], None] | None = None) -> None:
        """Something that is computed when read; without `write` it cannot be set."""
        self._read[name] = read
        if write is not None:
            self._write[name] = write

    def get_item(self, key: Value) -> Value:
        """Read an attribute. Raises TspRuntimeError."""
        read = self._read.get(key) if isinstance(key, str) else None
        if read is None:
            raise TspRuntimeError(f"attempt to read unknown attribute `{_key(key)}' of {self.name} (a nil value)")
        return read()

    def set_item(self, key: Value, value: Value) -> None:
        """Set an attribute. Raises TspError for a value that it refuses, TspRuntimeError for one that cannot be set."""
        write = self._write.get(key) if isinstance(key, str) else None
        if write is None:
            what = "read-only" if isinstance(key, str) and key in self._read else "unknown"
            raise TspRuntimeError(f"attempt to set {what} attribute `{_key(key)}' of {self.name}")
        write(value)


class Settings:
    """Values that a reset brings back, bound to attributes by name."""

    def __init__(self) -> None:
        self._values: dict[str, Value] = {}
        self._defaults: dict[str, Value] = {}

    def bind(
        self,
        table: Namespace,
        name: str,
        key: str,
        default: Value,
        check: Check,
        after: Callable[[], None] | None = None,
    ) -> None:
        """Attribute `name` of `table` holds what `check` makes of a value, under `key`; once set, `after` is called."""

        def write(value: Value) -> None:
            self._values[key] = check(value)
            if after is not None:
                after()

        self.add(key, default)
        table.attribute(name, lambda: self._values[key], write)

    def add(self, key: str, default: Value) -> None:
        """A value that no attribute sets directly."""
        self._values[key] = self._defaults[key] = default

    def __setitem__(self, key: str, value: Value) -> None:
        self._values[key] = value

    def number(self, key: str) -> float:
        """A numeric setting."""
        value = self._values[key]
        assert isinstance(value, float)
        return value

    def __getitem__(self, key: str) -> Value:
        return self._values[key]

    def all(self) -> dict[str, Value]:
        """All settings by key."""
        return dict(self._values)

    def reset(self) -> None:
        """Back to the defaults."""
        self._values = dict(self._defaults)


def number(low: float, high: float, magnitude: bool = False) -> Check:
    """Accepts numbers from low to high; `magnitude`: the sign is dropped, as ranges do."""

    def check(value: Value) -> Value:
        found = _numeric(value)
        if magnitude:
            found = abs(found)
        if math.isnan(found) or found < low * (1 - 1e-9 * math.copysign(1, low)):
            raise TspError(1102, "Parameter too small")
        if found > high * (1 + 1e-9):
            raise TspError(1101, "Parameter too big")
        return found

    return check


def choice(values: Collection[float]) -> Check:
    """Accepts one of some numbers."""

    def check(value: Value) -> Value:
        found = _numeric(value)
        if found not in values:
            raise TspError(-224, "Illegal parameter value")
        return found

    return check


def argument(arguments: list[Value], position: int, default: float | None = None) -> float:
    """The number at `position`. Raises TspError -220 when it is missing or no number."""
    value = arguments[position] if position < len(arguments) else None
    if value is None and default is not None:
        return default
    return _numeric(value)


def string(arguments: list[Value], position: int = 0) -> str:
    """The string at `position`. Raises TspError -220 when it is missing or no string."""
    value = arguments[position] if position < len(arguments) else None
    if not isinstance(value, str):
        raise TspError(-220, f"Parameter error: expected a string, got {type_name(value)}")
    return value


def action(do: Callable[[], None]) -> Function:
    """A function without arguments and results."""

    def call(arguments: list[Value]) -> list[Value]:
        do()
        return []

    return call


def ignore(arguments: list[Value]) -> list[Value]:
    """A function without effect on anything emulated."""
    return []


def _numeric(value: Value) -> float:
    if isinstance(value, bool) or not isinstance(value, float):
        raise TspError(-220, f"Parameter error: expected a number, got {type_name(value)}")
    return value


def _key(key: Value) -> str:
    return key if isinstance(key, str) else f"[{key:g}]" if isinstance(key, float) else f"[{type_name(key)}]"
