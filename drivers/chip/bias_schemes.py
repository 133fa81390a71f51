"""Which voltage each line of an array gets while one cell is pulsed, so that no other cell is written. Pure.

Lines are never left floating: each is on one of a few *buses*, and each bus is held by a source at a fraction of the
pulse's voltage V (the selected cell's row minus its column):

| scheme | selected row, column | other rows | other columns | largest voltage on another cell |
|---|---|---|---|---|
| 1t1r | 0 with its gate up, -V | 0, gates down | 0 | 0: they do not conduct, or have no voltage |
| v/2 | V, 0 | V/2 | V/2 | V/2, on the cells of the selected row and column |
| v/3 | V, 0 | V/3 | 2V/3 | V/3, on all cells |

With a transistor in each cell the pulse is applied to the column: the gate lines run along the rows, so the whole
selected row conducts, and its other cells see nothing only while their columns stand where the row stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from pib_lab.errors import ConfigurationError
from pib_lab.quantities import Array64, Counts, Mask


class Scheme(StrEnum):
    """How unselected cells are kept from being written."""

    TRANSISTOR = "1t1r"
    HALF = "v/2"
    THIRD = "v/3"


class Bus(StrEnum):
    """What a line can be connected to; plus and minus sense the two columns of a pair at 0 V."""

    GROUND = "ground"
    PLUS = "plus"
    MINUS = "minus"
    DRIVE = "drive"
    BIAS = "bias"
    BIAS_COLUMNS = "bias-columns"
    GATE = "gate"


@dataclass(frozen=True, slots=True)
class Selection:
    """The bus of each line while one cell is selected; `gates` is empty for a passive array."""

    rows: tuple[Bus, ...]
    columns: tuple[Bus, ...]
    gates: tuple[Bus, ...] = ()


_STAGES: dict[Scheme, tuple[tuple[Bus, float], ...]] = {
    Scheme.TRANSISTOR: ((Bus.GATE, 1.0), (Bus.DRIVE, -1.0)),
    Scheme.HALF: ((Bus.BIAS, 1 / 2), (Bus.DRIVE, 1.0)),
    Scheme.THIRD: (
        (Bus.BIAS, 1 / 3),
        (Bus.DRIVE, 1 / 3),
        (Bus.BIAS_COLUMNS, 2 / 3),
        (Bus.DRIVE, 1.0),
    ),
}


def stages(scheme: Scheme) -> tuple[tuple[Bus, float], ...]:
    """The order in which sources are raised: (bus, fraction of V), or of the gate's voltage for the gate.

    On the way, and on the way back in reverse, no other cell sees more than it sees at the end, and the selected one
    no more than the others do before the last stage, which is the pulse itself; the gate is up before the drain and
    down after it.
    """
    return _STAGES[scheme]


def fractions(scheme: Scheme) -> dict[Bus, float]:
    """Where each bus stands during the pulse, as a fraction of V (the gate: of its own voltage)."""
    return {Bus.GROUND: 0.0, **dict(_STAGES[scheme])}


def select(scheme: Scheme, shape: tuple[int, int], row: int, column: int) -> Selection:
    """The bus of each line of an array (rows, columns) while cell (row, column) is pulsed.

    Raises ConfigurationError for a cell outside the array.
    """
    rows, columns = shape
    if not (0 <= row < rows and 0 <= column < columns):
        raise ConfigurationError(f"cell ({row}, {column}) is outside an array of {rows} x {columns}")

    def lines(count: int, chosen: int, selected: Bus, others: Bus) -> tuple[Bus, ...]:
        return tuple(selected if line == chosen else others for line in range(count))

    if scheme is Scheme.TRANSISTOR:
        return Selection(
            lines(rows, row, Bus.GROUND, Bus.GROUND),
            lines(columns, column, Bus.DRIVE, Bus.GROUND),
            lines(rows, row, Bus.GATE, Bus.GROUND),
        )
    across = Bus.BIAS if scheme is Scheme.HALF else Bus.BIAS_COLUMNS
    return Selection(lines(rows, row, Bus.DRIVE, Bus.BIAS), lines(columns, column, Bus.GROUND, across))


def line_voltages(selection: Selection, at: dict[Bus, float], voltage_v: float) -> tuple[Array64, Array64]:
    """Volts of the rows and of the columns when the buses stand at the fractions `at` of `voltage_v`."""
    rows = np.array([at.get(bus, 0.0) for bus in selection.rows]) * voltage_v
    columns = np.array([at.get(bus, 0.0) for bus in selection.columns]) * voltage_v
    return rows, columns


def stress(selection: Selection, at: dict[Bus, float], voltage_v: float) -> Array64:
    """Volts across each cell (rows, columns), row minus column; 0 behind a gate that is down."""
    rows, columns = line_voltages(selection, at, voltage_v)
    across = rows[:, np.newaxis] - columns[np.newaxis, :]
    if selection.gates:
        up = np.array([bus is Bus.GATE and at.get(Bus.GATE, 0.0) > 0.0 for bus in selection.gates])
        across = np.where(up[:, np.newaxis], across, 0.0)
    return np.asarray(across)


def disturbed(scheme: Scheme, shape: tuple[int, int], row: int, column: int) -> Mask:
    """Cells other than the selected one that see part of the voltage during a pulse."""
    across = stress(select(scheme, shape, row, column), fractions(scheme), 1.0)
    seen = np.asarray(np.abs(across) > 1e-9)
    seen[row, column] = False
    return seen


def count_disturbs(counts: Counts, scheme: Scheme, row: int, column: int, pulses: int) -> None:
    """Add `pulses` to each cell of `counts` (rows, columns) that is disturbed by pulses on (row, column)."""
    rows, columns = counts.shape
    counts[disturbed(scheme, (rows, columns), row, column)] += np.int32(pulses)


def least_safe_threshold_v(scheme: Scheme, voltage_v: float) -> float:
    """What the cells' switching threshold must exceed for pulses of `voltage_v` to write the selected cell alone."""
    worst = {Scheme.TRANSISTOR: 0.0, Scheme.HALF: 1 / 2, Scheme.THIRD: 1 / 3}[scheme]
    return abs(voltage_v) * worst
