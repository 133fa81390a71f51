"""Reading buffers of a TSP source-measure unit: dedicated ones (`smua.nvbuffer1`) and those of `makebuffer`."""

from __future__ import annotations

from collections.abc import Callable

from drivers.emulators.tsp_objects import Namespace, Settings, action, choice, number
from drivers.emulators.tsp_values import TspError, TspRuntimeError, Value


class Column:
    """One column of a buffer, such as `buffer.readings`: indexed from 1, nil beyond the end."""

    def __init__(self, values: Callable[[], list[float]]) -> None:
        self._values = values

    def get_item(self, key: Value) -> Value:
        """The value at a position."""
        values = self._values()
        if isinstance(key, float) and key.is_integer() and 1 <= key <= len(values):
            return values[int(key) - 1]
        return None

    def set_item(self, key: Value, value: Value) -> None:
        """Readings cannot be set."""
        raise TspRuntimeError("attempt to set a reading of a buffer")


class ReadingBuffer(Namespace):
    """Readings with source values and time stamps (seconds since the buffer's first reading)."""

    def __init__(self, name: str, capacity: int) -> None:
        super().__init__(name)
        self.capacity = capacity
        self.readings: list[float] = []
        self.source_values: list[float] = []
        self.timestamps: list[float] = []
        self._base_s = 0.0
        self._settings = settings = Settings()
        self.attribute("n", lambda: float(len(self.readings)))
        self.attribute("capacity", lambda: float(self.capacity))
        self.attribute("basetimestamp", lambda: self._base_s)
        for name_, column in (
            ("readings", lambda: self.readings),
            ("sourcevalues", lambda: self.source_values),
            ("timestamps", lambda: self.timestamps),
        ):
            self.table(name_, Column(column))
        for flag, default in (("appendmode", 0.0), ("collectsourcevalues", 0.0), ("collecttimestamps", 0.0)):
            settings.bind(self, flag, flag, default, choice((0.0, 1.0)))
        settings.bind(self, "cachemode", "cachemode", 1.0, choice((0.0, 1.0)))
        settings.bind(self, "fillmode", "fillmode", 0.0, choice((0.0, 1.0)))
        settings.bind(self, "fillcount", "fillcount", float(capacity), number(1.0, float(capacity)))
        self.table("clear", action(self.clear))
        self.table("clearcache", action(lambda: None))

    def get_item(self, key: Value) -> Value:
        """A reading by position, or an attribute by name."""
        return Column(lambda: self.readings).get_item(key) if isinstance(key, float) else super().get_item(key)

    def clear(self) -> None:
        """Forget all readings."""
        self.readings, self.source_values, self.timestamps = [], [], []

    def reset(self) -> None:
        """Forget readings and settings."""
        self.clear()
        self._settings.reset()

    def begin(self) -> None:
        """A measurement into this buffer starts: without append mode, what it held is gone."""
        if not self._settings["appendmode"]:
            self.clear()

    def append(self, reading: float, source_value: float, now_s: float) -> None:
        """Store one reading. Raises TspError when the buffer is full."""
        if len(self.readings) >= self.capacity:
            raise TspError(5002, "Data buffer full")
        if not self.readings:
            self._base_s = now_s
        self.readings.append(reading)
        self.source_values.append(source_value)
        self.timestamps.append(now_s - self._base_s)


def interleaved(arguments: list[Value]) -> list[float]:
    """Numbers that `printbuffer(start, end, column, ...)` prints. Raises TspError for what is no buffer.

    Positions beyond the end of the shortest column are left out.
    """
    if len(arguments) < 3 or not isinstance(arguments[0], float) or not isinstance(arguments[1], float):
        raise TspError(-220, "Parameter error: printbuffer(start, end, buffer, ...)")
    columns = []
    for column in arguments[2:]:
        if not isinstance(column, Column | ReadingBuffer):
            raise TspError(-220, "Parameter error: expected a reading buffer")
        columns.append(column)
    start, end = max(arguments[0], 1.0), min(arguments[1], 1e6)
    found: list[float] = []
    position = float(int(start)) if start < 1e6 else 1e6
    while position <= end:
        row = [column.get_item(position) for column in columns]
        numbers = [value for value in row if isinstance(value, float)]
        if len(numbers) < len(row):
            break
        found += numbers
        position += 1.0
    return found
