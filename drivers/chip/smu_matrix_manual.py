"""Source-measure units and a switch matrix in a person's hands: one cell at the read voltage at most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.chip.bias_schemes import Bus, Scheme
from drivers.chip.limits import ElectricalLimits
from drivers.chip.profiles import Use
from drivers.chip.smu_matrix_acts import bring_off
from drivers.chip.smu_matrix_rig import SmuMatrixRig
from drivers.controls import Control, Measured, control_named, require_output
from pib_lab.errors import ConfigurationError, DeviceError
from pib_lab.unit import SafeReport

if TYPE_CHECKING:
    from drivers.chip.smu_matrix_chip import MemristorSmuMatrix

SOURCES, CELL = "sources", "cell"
"""Outputs: all sources together, each at zero at first; and the relays that connect one cell to them."""


class ManualRig(SmuMatrixRig):
    """A rig whose levels stay where a person puts them."""

    def identities(self) -> dict[str, str]:
        """What every link answers to *IDN?."""
        return {address: link.query("*IDN?").strip() for address, link in self._transports.items()}

    def sources_on(self) -> bool:
        """Whether any source is on; all are read back."""
        states = [smu.is_on() for smu in self._sources.values()]
        return any(states)

    def relays_closed(self) -> bool:
        """Whether the matrix believes that any crosspoint is closed."""
        return bool(self._matrix.closed())

    def level_v(self, bus: Bus) -> float:
        """As read back."""
        return self._sources[bus].level()

    def hold(self, bus: Bus, level_v: float) -> None:
        """Ramp a source that is on to a level, and leave it there."""
        self._to(bus, level_v)

    def limit_drive(self, limit_a: float) -> None:
        """Compliance of the drive."""
        self._limit_drive(limit_a)

    def connect(self, row: int, column: int) -> None:
        """Drive on the row, the sensing source on the column, its gate on the gates' source, all else on ground.

        All sources go to zero first: no relay moves under current.
        """
        self.calm()
        o = self._options
        points = [o.row_point(Bus.DRIVE if line == row else Bus.GROUND, line) for line in range(o.rows)]
        points += [o.column_point(Bus.PLUS if line == column else Bus.GROUND, line) for line in range(o.columns)]
        if o.scheme is Scheme.TRANSISTOR:
            points += [o.gate_point(Bus.GATE if line == row else Bus.GROUND, line) for line in range(o.rows)]
        self._matrix.close_only(points)

    def disconnect_cell(self) -> None:
        """All sources to zero, then all relays open."""
        self.calm()
        self._matrix.open_all()

    def sources_off(self) -> None:
        """Drive first, gate last, each to zero and read back off."""
        self._held_v.clear()
        for bus in self._falling:
            bring_off(self._sources[bus])

    def read_all(self) -> list[Measured]:
        """Voltage and current of every source that is on."""
        found = []
        for bus, smu in self._sources.items():
            if not smu.on:
                continue
            reading = smu.read()
            note = "overflow" if reading.overflow else "at its limit" if reading.in_compliance else ""
            found.append(Measured(f"{bus} voltage", reading.voltage_v, "V", note))
            found.append(Measured(f"{bus} current", reading.current_a, "A", note))
        return found


class SmuMatrixManual:
    """One cell, or none, between the drive and the sensing source. drive_v, current_a: the protocol's own limits."""

    def __init__(self, device: MemristorSmuMatrix, drive_v: float, current_a: float) -> None:
        self._device = device
        held = device.electrical_limits(Use.READING)
        self._limits: ElectricalLimits = held.tightened(ElectricalLimits(drive_v, current_a))
        self._rig: ManualRig | None = None
        self._row = self._column = 0
        self._compliance_a = self._limits.current_a

    def open(self) -> None:
        """Connect and set everything up; outputs stay off, relays open."""
        rig = self._device._open_rig(ManualRig)
        assert isinstance(rig, ManualRig)
        self._rig = rig

    def identity(self) -> dict[str, str]:
        """What every link answers."""
        return {"chip": f"{self._device.serial} (as the protocol says)", **self._opened().identities()}

    def controls(self) -> list[Control]:
        """The cell, the drive's level and compliance, and the gate where there are transistors."""
        o, limits, rig = self._device.options, self._limits, self._opened()
        found = [
            Control("row", self._row, high=o.rows - 1, whole=True, help="of the cell to connect"),
            Control("column", self._column, high=o.columns - 1, whole=True, help="of the cell to connect"),
            Control(
                "compliance",
                self._compliance_a,
                "A",
                limits.current_a * 1e-2,
                limits.current_a,
                help="of the drive",
            ),
            Control(
                "drive",
                rig.level_v(Bus.DRIVE),
                "V",
                -limits.voltage_v,
                limits.voltage_v,
                help="row minus column; the sources must be on",
            ),
        ]
        if o.scheme is Scheme.TRANSISTOR:
            gate_v = min(limits.gate_v, o.gate_read_v)
            found.append(Control("gate", rig.level_v(Bus.GATE), "V", 0.0, gate_v, help="of the cell's row"))
        return found

    def set(self, name: str, value: object) -> None:
        """Set a control; another cell is connected at once where one is, with all sources at zero."""
        rig = self._opened()
        checked = control_named(self.controls(), name).checked(value)
        if name in ("row", "column"):
            place = {"row": self._row, "column": self._column} | {name: int(checked)}
            if rig.relays_closed():
                rig.connect(**place)
            self._row, self._column = place["row"], place["column"]
        elif name == "compliance":
            rig.limit_drive(float(checked))
            self._compliance_a = float(checked)
        else:
            if not rig.sources_on():
                raise ConfigurationError("switch the sources on first: they come up at zero")
            self._limits.check_voltage(float(checked) if name == "drive" else 0.0, self._compliance_a, name)
            rig.hold(Bus.DRIVE if name == "drive" else Bus.GATE, float(checked))

    def outputs(self) -> dict[str, bool]:
        """Sources, and the relays to the cell."""
        rig = self._opened()
        return {SOURCES: rig.sources_on(), CELL: rig.relays_closed()}

    def switch(self, output: str, on: bool) -> None:
        """Sources come up at zero and go down by ramps; relays move only with all sources at zero."""
        rig = self._opened()
        require_output(output, (SOURCES, CELL))
        if output == SOURCES:
            if on:
                rig.energise()
                rig.limit_drive(self._compliance_a)
            else:
                rig.sources_off()
        elif on:
            rig.connect(self._row, self._column)
        else:
            rig.disconnect_cell()

    def measure(self) -> list[Measured]:
        """Of all sources, where they are on; then the cell's conductance where one is connected and driven."""
        rig = self._opened()
        if not rig.sources_on():
            raise ConfigurationError("switch the sources on first: nothing can be measured while they are off")
        found = rig.read_all()
        values = {each.name: each for each in found}
        drive, sensed = values[f"{Bus.DRIVE} voltage"], values[f"{Bus.PLUS} current"]
        if rig.relays_closed() and not (drive.note or sensed.note) and abs(drive.value) >= 1e-3:
            siemens = -sensed.value / drive.value
            found.append(Measured(f"cell ({self._row}, {self._column})", siemens, "S", "line resistance included"))
        return found

    def make_safe(self) -> SafeReport:
        """All sources to zero and off, all relays open, read back."""
        name = self._device.context.name
        if self._rig is None:
            outputs = (*(str(bus) for bus in self._device.options.sources), "matrix")
            return SafeReport(name, (), outputs, "not open: nothing was read back")
        return SafeReport(name, *self._rig.make_safe())

    def close(self) -> None:
        """Make safe and disconnect. Idempotent."""
        if self._rig is not None:
            self._rig.close()
            self._rig = None

    def _opened(self) -> ManualRig:
        if self._rig is None:
            raise DeviceError("not open; call open() first")
        return self._rig
