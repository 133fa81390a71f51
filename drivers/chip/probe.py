"""What bring-up needs of whatever reaches a chip's lines and cells: one small interface and a few capabilities.

A probe sees the chip as an array of cells (row, column), counted from 0. An absent capability is an absent method: a
procedure that needs it says that it did not test, which is neither a pass nor a failure.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from drivers.chip.limits import ElectricalLimits
from pib_lab.quantities import Array64, Counts, Mask
from pib_lab.unit import CancelToken, PhysicalUnit, SafeReport


class LineKind(StrEnum):
    """Lines of an array; a passive one has no gates."""

    ROW = "row"
    COLUMN = "column"
    GATE = "gate"


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """One line of the array."""

    kind: LineKind
    index: int

    def __str__(self) -> str:
        return f"{self.kind} {self.index}"


@dataclass(frozen=True, slots=True)
class Pulse:
    """Across one cell, positive to SET and to form; the gate is up before and down after it.

    current_a: what the pulse may drive through the cell; held by the gate, so it enters the checks of limits.
    """

    level_v: float
    width_s: float
    gate_v: float
    current_a: float


@dataclass(frozen=True, slots=True)
class LineReading:
    """Current into the sensed line; clamped: the source was at its limit, so the true one is larger; not settled: it
    was still changing when the probe gave up waiting, so the value tells nothing."""

    current_a: float
    clamped: bool = False
    settled: bool = True


@dataclass(frozen=True, slots=True)
class ReferenceReading:
    """A resistor of known conductance as the front end measures it."""

    name: str
    nominal_siemens: float
    measured_siemens: float


class ChipProbe(Protocol):
    """Reaches a chip for bring-up. Values are SI; what is beyond a limit is refused before anything is sent.

    Methods raise LinkError for a link that fails, LimitError for a limit, DeviceError when not open.
    """

    @property
    def serial(self) -> str:
        """The chip's serial number, under which its passport is kept; known once the probe is open."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def window_siemens(self) -> tuple[float, float]:
        """The conductance window that the chip's profile states."""

    @property
    def read_v(self) -> float:
        """The voltage at which cells are read."""

    @property
    def read_gate_v(self) -> float:
        """The voltage of gates while cells are read; 0 where there are none, or the chip's own electronics set it."""

    @property
    def limits(self) -> ElectricalLimits:
        """What lines and cells may be driven with while the chip is brought up; known once the probe is open."""

    def planned_limits(self, *, held: bool) -> ElectricalLimits:
        """What is known of `limits` before anything is open; the device itself may allow less.

        held: of levels that stay while currents are measured, else of pulses.
        """

    def open(self) -> None:
        """Connect; outputs stay off until they are needed."""

    def read_map(self, *, cancel: CancelToken) -> Array64:
        """Conductances of all cells (rows, columns), each read once."""

    def read_cell(self, row: int, column: int) -> float:
        """Conductance of one cell, read once."""

    def pulses(self) -> Counts:
        """Pulses that each cell (rows, columns) has had through this probe."""

    def make_safe(self) -> SafeReport:
        """All outputs off and read back. Never raises; says what was NOT confirmed."""

    def close(self) -> None:
        """Let go of the device. Idempotent."""


@runtime_checkable
class PulsesCells(Protocol):
    """Gives raw pulses to single cells."""

    def pulse(self, row: int, column: int, pulse: Pulse, count: int = 1) -> None:
        """Give `count` pulses to one cell and count them. Raises LimitError before anything is sent."""


@runtime_checkable
class HalfSelects(Protocol):
    """Pulses on one cell put a part of their voltage on others, for no transistor keeps it from them."""

    def check_others(self, level_v: float, what: str) -> None:
        """Raise LimitError, with what to do, for a pulse of `level_v` under which any other cell might be written."""


@runtime_checkable
class SweepsCells(Protocol):
    """Holds a voltage across a cell while it measures the current."""

    def sweep(
        self, row: int, column: int, levels_v: Array64, gate_v: float, compliance_a: float
    ) -> tuple[Array64, Mask]:
        """Currents at the levels, in their order, and True where the source clamped at the compliance."""


@runtime_checkable
class SensesLines(Protocol):
    """Drives and senses lines one by one, all others held at 0 V."""

    def has_gates(self) -> bool:
        """Whether there are gate lines: one a row."""

    def line_current(
        self, driven: Collection[Line], level_v: float, sensed: Line, *, gates_v: float = 0.0, within_a: float = 0.0
    ) -> LineReading:
        """With `driven` at `level_v`, gates at `gates_v` and all other lines at 0 V: the current into `sensed`.

        Read once it has settled: until two readings agree within `within_a`, or within a few percent of their value.

        A driven line's current counts positive into the chip, that of a line at 0 V positive out of it.
        """


@runtime_checkable
class ReadsReferences(Protocol):
    """Has resistors of known conductance in the place of cells."""

    def references(self) -> list[ReferenceReading]:
        """Each reference, measured now."""


@runtime_checkable
class ReadsOffset(Protocol):
    """Can read its columns with nothing driven."""

    def offsets(self) -> Array64:
        """Amperes of each column, or pair of columns, with all rows at 0 V."""


@runtime_checkable
class MeasuresVectors(Protocol):
    """Drives all rows at once and senses all columns: the analog sum."""

    def column_currents(self, drive_v: Array64) -> Array64:
        """Amperes of the columns, or of the differences of pairs, for voltages of the rows (rows,)."""


@runtime_checkable
class ReadsTemperature(Protocol):
    """Knows how warm the chip is."""

    def temperature_k(self) -> float:
        """Kelvin, measured now."""


@runtime_checkable
class ScansFaults(Protocol):
    """Reaches the cells through a physical unit as well, so that the fault scan of training runs on it."""

    def strongest_write(self) -> Pulse:
        """The strongest pulse of the unit's writes, as far as it is known before anything is open."""

    def scan_unit(self) -> PhysicalUnit:
        """The unit over the same cells, shape (rows, columns / 2, 2). Opened by the probe."""


@runtime_checkable
class OffersProbe(Protocol):
    """A device through which a chip can be brought up."""

    def probe(self, rows: int, columns: int) -> ChipProbe:
        """A probe for that part of the chip. No I/O. Raises ConfigurationError for a part that it cannot reach."""


def has_gates(probe: ChipProbe) -> bool:
    """Whether a transistor holds each cell's current; so it is where nobody can say otherwise."""
    return not isinstance(probe, SensesLines) or probe.has_gates()
