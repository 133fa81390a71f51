"""Array aliases and physical quantities: unit, shape and limits live in a type and reach the run file."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pib_lab.errors import ConfigurationError, LimitError

Array = npt.NDArray[np.float32]
Array64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int8]
Counts = npt.NDArray[np.int32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Quantity:
    """What an array of numbers means: its SI unit, its shape (per sample, for drives and responses) and its limits.

    `resolution` is the smallest step that the hardware can make or tell apart, 0 when unknown or continuous.
    `periodic`: the high limit is the low one again, as 2 pi is 0 for a phase; the span is the period.
    """

    unit: str
    shape: tuple[int, ...]
    low: float = -math.inf
    high: float = math.inf
    resolution: float = 0.0
    periodic: bool = False

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def span(self) -> float:
        """Width of the allowed interval."""
        return self.high - self.low

    def check_batch(self, values: npt.NDArray[Any], name: str) -> None:
        """Refuse a batch `(n, *shape)` of the wrong shape, with values that are not finite, or beyond the limits.

        Raises ConfigurationError for a shape, LimitError for a value.
        """
        if values.ndim != len(self.shape) + 1 or values.shape[1:] != self.shape:
            raise ConfigurationError(
                f"{name}: shape {values.shape} does not fit (batch, {', '.join(map(str, self.shape))})"
            )
        self.check_limits(values, name)

    def check_limits(self, values: npt.NDArray[Any], name: str) -> None:
        """Raise LimitError unless every value is finite and within the limits, to one part in a million of the span."""
        if values.size == 0:
            return
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise LimitError(f"{name}: holds values that are not finite numbers; nothing was sent")
        slack = 1e-6 * self.span if math.isfinite(self.span) else 0.0
        if low < self.low - slack or high > self.high + slack:
            raise LimitError(
                f"{name}: values from {low:.6g} to {high:.6g} {self.unit} exceed the limits "
                f"{self.low:.6g} to {self.high:.6g} {self.unit}; nothing was sent"
            )


_UNIT = r"°?[^\W\d_]\w{0,30}( ?(\*\*|\^) ?[+-]?\d)?"
_NUMBER = r"[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,3})?"
_NUMBER_AND_UNIT = re.compile(rf"{_NUMBER}\s{{0,9}}(%|({_UNIT}( ?[ */·] ?{_UNIT}){{0,4}})?)")


@functools.cache
def _registry() -> Any:
    import pint  # costs a quarter of a second, so only a command that reads quantities pays it

    return pint.UnitRegistry()


def parse_quantity(text: str | float, unit: str) -> float:
    """Read "200 mV" as 0.2 when `unit` is "V". A bare number is refused: a limit without a unit is an accident.

    Raises ConfigurationError for a text that is no quantity, has no unit or has the wrong dimension.
    """
    if isinstance(text, bool) or not isinstance(text, str):
        raise ConfigurationError(f'{text!r} has no unit: write a text such as "{text} {unit}"')
    if not _NUMBER_AND_UNIT.fullmatch(text.strip()):  # pint would compute whatever it is given, and 9**9**9 has no end
        raise ConfigurationError(f'{text[:80]!r} is not a quantity: write a number and a unit, such as "1 {unit}"')
    import pint

    try:
        value = _registry().Quantity(text.strip())
        converted = float(value.to(unit).magnitude)
    except pint.DimensionalityError as error:
        raise ConfigurationError(f"{text!r} is not a quantity in {unit}: {error}") from None
    except Exception as error:  # pint raises tokenizer and arithmetic errors of many kinds for a text it cannot read
        raise ConfigurationError(
            f'{text!r} is not a quantity: write a number and a unit, such as "1 {unit}"'
        ) from error
    if not math.isfinite(converted):
        raise ConfigurationError(f"{text!r} is not a finite quantity")
    return converted
