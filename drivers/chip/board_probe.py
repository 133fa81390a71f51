"""Bring-up over the crossbar board: cells are read and pulsed, vectors measured; single lines it cannot sense."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from drivers.board.crossbar_board import CrossbarBoard
from drivers.board.protocol import Window
from drivers.chip.limits import ElectricalLimits
from drivers.chip.probe import Pulse
from drivers.chip.profiles import Use, electrical_limits
from drivers.mock.frontend import pick_range
from drivers.mock.wires import cell_attenuation
from pib_lab.device import UnitRequest
from pib_lab.errors import ConfigurationError, DeviceError
from pib_lab.quantities import Array64, Counts, Mask
from pib_lab.unit import CancelToken, PhysicalUnit, SafeReport

if TYPE_CHECKING:
    from drivers.chip.board_chip import MemristorBoard

_NAME = "chip"


class BoardProbe:
    """A probe over one array of the board, through a unit of its own. Columns are sensed in pairs."""

    def __init__(self, device: MemristorBoard, rows: int, columns: int) -> None:
        profile = device.profile
        if rows > profile.rows or columns > profile.columns:
            raise ConfigurationError(
                f"array: {rows} x {columns} cells, but the chip's arrays have {profile.rows} x {profile.columns}; "
                "bring up one array at a time"
            )
        self._device, self._profile, self._shape = device, profile, (rows, columns)
        self._unit = device.unit(UnitRequest(_NAME, rows, columns // 2))
        self._window = Window(int(self._unit.cell_sites()[..., 0].flat[0]), rows, columns // 2)
        self._serial = ""
        self._limits: ElectricalLimits | None = None
        self._pulses: Counts = np.zeros(self._shape, np.int32)

    # ChipProbe

    @property
    def serial(self) -> str:
        """As the board tells it."""
        if not self._serial:
            raise DeviceError("board: the chip's serial number is known once it is open; call open() first")
        return self._serial

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._shape

    @property
    def window_siemens(self) -> tuple[float, float]:
        """Of the profile."""
        return self._profile.g_min_siemens, self._profile.g_max_siemens

    @property
    def read_v(self) -> float:
        """Of the profile."""
        return self._profile.v_read_v

    @property
    def read_gate_v(self) -> float:
        """Of the device's options."""
        return self._device.gate_v

    @property
    def limits(self) -> ElectricalLimits:
        """Those of pulses: the tighter of the profile's, to form, and the board's."""
        if self._limits is None:
            raise DeviceError("board: its limits are known once it is open; call open() first")
        return self._limits

    def planned_limits(self, *, held: bool) -> ElectricalLimits:
        """Of the profile, to form."""
        return electrical_limits(self._profile, Use.FORMING)

    def open(self) -> None:
        """Connect; outputs stay off."""
        self._unit.open()
        with self._device.session.link(_NAME) as board:
            self._serial, self._limits = board.identity.chip_serial, board.pulse_limits

    def close(self) -> None:
        """Let go of the board."""
        self._unit.close()

    def make_safe(self) -> SafeReport:
        """Row drivers and word lines off, read back."""
        return self._unit.make_safe()

    def pulses(self) -> Counts:
        """Raw pulses through this probe, and those of writes through its unit."""
        return self._pulses + self._unit.pulses().reshape(self._shape)

    def read_map(self, *, cancel: CancelToken) -> Array64:
        """Each row alone at the read voltage, line resistance corrected as for cells that are all mid-window."""
        cancel.raise_if_cancelled()
        with self._device.session.link(_NAME) as board:
            board.bias_gate(self._device.gate_v)
            board.switch_on()
            values, clipped = self._read(board, 1.2 * self._profile.g_max_siemens * self.read_v)
            if clipped.any():  # formed or shorted cells are far above the window
                wide, beyond = self._read(board, board.identity.ranges_na[-1] * 1e-9)
                values = np.where(clipped, np.where(beyond, np.inf, wide), values)
        return values

    def read_cell(self, row: int, column: int) -> float:
        """From a reading of the whole array, which is what the board offers."""
        return float(self.read_map(cancel=CancelToken())[row, column])

    def _read(self, board: CrossbarBoard, full_scale_a: float) -> tuple[Array64, Mask]:
        p = self._profile
        full_scale_a = pick_range(tuple(full * 1e-9 for full in board.identity.ranges_na), full_scale_a)
        made = board.read_cells(self._window, full_scale_a)
        lsb_a = full_scale_a / (2 ** (board.identity.adc_bits - 1) - 1)
        rows, columns = self._shape
        middle = np.full((rows, 1, columns), (p.g_min_siemens + p.g_max_siemens) / 2, np.float32)
        volts = cell_attenuation(middle, p.segment_ohm).reshape(rows, columns) * p.v_read_v
        return made.codes.reshape(rows, columns) * lsb_a / volts, made.saturated.reshape(rows, columns)

    # Capabilities

    def pulse(self, row: int, column: int, pulse: Pulse, count: int = 1) -> None:
        """Raw pulses at the highest rate that the limits allow. Counted before they are sent."""
        limits, what = self.limits, f"cell ({row}, {column})"
        period_s = max(2.0 * pulse.width_s, 1.0 / limits.pulse_rate_hz)
        limits.check_gate(pulse.gate_v, what)
        limits.check_pulse(pulse.level_v, pulse.current_a, pulse.width_s, period_s, what, energised=pulse.gate_v > 0.0)
        with self._device.session.link(_NAME) as board:
            board.bias_gate(pulse.gate_v)
            board.switch_on()
            self._pulses[row, column] += count
            got = board.pulse(
                self._window.array, row, column, pulse.level_v, pulse.width_s, count, period_s, pulse.current_a
            )
        if got != count:
            raise DeviceError(f"board: {what} got {got} of {count} pulses; look at the board's state before going on")

    def offsets(self) -> Array64:
        """Difference currents of the pairs with all rows at 0 V."""
        return self.column_currents(np.zeros(self._shape[0]))

    def column_currents(self, drive_v: Array64) -> Array64:
        """Difference currents of the pairs: the board senses no single column."""
        with self._device.session.link(_NAME) as board:
            board.bias_gate(self._device.gate_v)
        drive = np.asarray(drive_v, np.float32)[None]
        return np.asarray(self._unit.measure(drive, cancel=CancelToken()).values[0], np.float64)

    def strongest_write(self) -> Pulse:
        """The board sizes the pulses of writes itself, up to the limits that it is given or its own tighter ones."""
        limits = self.planned_limits(held=False)
        current_a = min(limits.current_a, self._profile.g_max_siemens * limits.voltage_v)
        return Pulse(limits.voltage_v, self._profile.pulse_s, self._device.gate_v, current_a)

    def scan_unit(self) -> PhysicalUnit:
        """The unit over the same cells."""
        return self._unit
