"""What a protocol says of a chip behind source-measure units and a switch matrix: instruments, wiring, writing."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from drivers.chip.bias_schemes import Bus, Scheme, fractions
from drivers.smu.switch_matrix import COLUMNS, SLOTS, crosspoint
from pib_lab.errors import ConfigurationError

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Line = Annotated[int, Field(ge=1, le=SLOTS * COLUMNS)]
Row = Literal["A", "B", "C", "D", "E", "F", "G", "H"]


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceOptions(_Options):
    """One channel of a source-measure unit; bus: the row of the matrix that its high terminal is wired to."""

    model: Literal["keithley-2400", "keithley-2450", "keithley-2600b"]
    address: str
    channel: Literal["a", "b"] = "a"
    bus: Row


class MatrixOptions(_Options):
    """A 707B. ground: the matrix row that is tied to ground; rows_from, columns_from, gates_from: the matrix column,
    counted from 1 through all slots, of the chip's first row, column and gate line; settle_s: after each closure."""

    address: str
    ground: Row = "H"
    rows_from: Line = 1
    columns_from: Line = 17
    gates_from: Line = 33
    settle_s: NonNegative = 0.01


class WriteOptions(_Options):
    """Pulses of a write: from start_v to limit_v by how far the cell is off, and step_v more while it hardly moves.

    threshold_v: below it no cell switches; unselected cells must stay there. compliance_a: of the driving source during
    a pulse, the chip's limit when left out. gate_v: of the selected row (1t1r).
    """

    start_v: Positive = 0.6
    step_v: Positive = 0.05
    limit_v: Positive = 0.95
    threshold_v: Positive = 0.5
    width_s: Positive = 1e-3
    compliance_a: Positive | None = None
    gate_v: Positive = 1.0


class ChipOptions(_Options):
    """All options of the device. drive_bits: planes in which a drive is sent; measure: "analog" sums of currents, or
    "cell-reads", a digital sum of single cells; gate_read_v: of the rows that are read (1t1r)."""

    profile: str = "chip-b"
    serial: str = "chip-1"
    override: dict[str, Any] = Field(default_factory=dict)
    rows: Annotated[int, Field(ge=1, le=16)] = 16
    columns: Annotated[int, Field(ge=2, le=16, multiple_of=2)] = 16
    scheme: Scheme = Scheme.HALF
    measure: Literal["analog", "cell-reads"] = "analog"
    drive_bits: Annotated[int, Field(ge=1, le=8)] = 3
    gate_read_v: Positive = 1.0
    nplc: Annotated[float, Field(ge=0.01, le=10.0)] = 0.1
    off_state: Literal["high impedance", "normal"] = "high impedance"
    matrix: MatrixOptions
    write: WriteOptions = WriteOptions()
    sources: dict[Bus, SourceOptions]

    @model_validator(mode="after")
    def _fits(self) -> ChipOptions:
        wanted = set(needed(self.scheme))
        missing, idle = wanted - set(self.sources), set(self.sources) - wanted
        if missing or idle:
            raise ValueError(
                f"sources: scheme {self.scheme} takes exactly {', '.join(sorted(wanted))}"
                + (f"; {', '.join(sorted(missing))} is missing" if missing else "")
                + (f"; {', '.join(sorted(idle))} is not used" if idle else "")
            )
        buses = [self.matrix.ground, *(source.bus for source in self.sources.values())]
        doubled = sorted({bus for bus in buses if buses.count(bus) > 1})
        if doubled:
            raise ValueError(f"sources: matrix row {doubled[0]} is wired to two things; give each a row of its own")
        channels = [(source.address, source.channel) for source in self.sources.values()]
        if len(set(channels)) < len(channels):
            raise ValueError("sources: two of them are the same channel of the same instrument")
        if not self.write.start_v <= self.write.limit_v:
            raise ValueError("write.start_v must not be above write.limit_v")
        self._lines_apart()
        return self

    def _lines_apart(self) -> None:
        m = self.matrix
        taken = [*range(m.rows_from, m.rows_from + self.rows), *range(m.columns_from, m.columns_from + self.columns)]
        if self.scheme is Scheme.TRANSISTOR:
            taken += range(m.gates_from, m.gates_from + self.rows)
        if len(set(taken)) < len(taken) or max(taken) > SLOTS * COLUMNS:
            raise ValueError(
                f"matrix: the chip's rows, columns and gates must lie on {len(taken)} different matrix columns, from "
                f"1 to {SLOTS * COLUMNS}"
            )

    def row_point(self, bus: Bus, row: int) -> str:
        """The crosspoint that connects the chip's row (from 0) to a bus."""
        return crosspoint(self._letter(bus), self.matrix.rows_from + row)

    def column_point(self, bus: Bus, column: int) -> str:
        """The crosspoint that connects the chip's column (from 0) to a bus."""
        return crosspoint(self._letter(bus), self.matrix.columns_from + column)

    def gate_point(self, bus: Bus, row: int) -> str:
        """The crosspoint that connects the gate line of the chip's row (from 0) to a bus."""
        return crosspoint(self._letter(bus), self.matrix.gates_from + row)

    def _letter(self, bus: Bus) -> str:
        return self.matrix.ground if bus is Bus.GROUND else self.sources[bus].bus


def needed(scheme: Scheme) -> tuple[Bus, ...]:
    """The sources that a scheme takes: those that its pulses need, and two that sense."""
    return (*(bus for bus in fractions(scheme) if bus is not Bus.GROUND), Bus.PLUS, Bus.MINUS)


def parse_options(options: dict[str, Any], where: str) -> ChipOptions:
    """Read the device's options. Raises ConfigurationError, a line per mistake, each with the key's path."""
    try:
        return ChipOptions.model_validate(options)
    except ValidationError as error:
        lines = []
        for detail in error.errors():
            path = ".".join([where, *(str(part) for part in detail["loc"])])
            text = detail["msg"].removeprefix("Value error, ")
            lines.append(f"{path}: {text[0].lower()}{text[1:]}")
        raise ConfigurationError("\n".join(dict.fromkeys(lines))) from None
