"""A memristor chip behind the serial crossbar board: whole vectors, analog sums. Device `memristor-board`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from drivers.board.crossbar_board import CrossbarBoard
from drivers.board.link import TIMEOUT_S, BoardLink
from drivers.board.ports import open_port
from drivers.board.protocol import DEFAULT_DEADMAN_MS, MAX_DEADMAN_MS, OUTPUT_NAMES, Identity
from drivers.board.tiles import Tiling
from drivers.chip.board_probe import BoardProbe
from drivers.chip.differential import DifferentialPairs
from drivers.chip.limits import ElectricalLimits
from drivers.chip.probe import ChipProbe
from drivers.chip.profiles import Use, electrical_limits, load_real_profile
from drivers.device import Achieved, DeviceSession, once_answered
from drivers.mock.frontend import pick_range, range_series
from drivers.mock.wires import cell_attenuation
from drivers.safe.commands import SafeAction
from drivers.safe.recipes import crossbar_board
from pib_lab.capabilities import UnitCosts
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.errors import ConfigurationError, DeviceError, LinkError
from pib_lab.experiment import check_options
from pib_lab.quantities import Array, Counts, Mask, Quantity
from pib_lab.unit import CancelToken, Measurement, SafeReport, UnitSpec

BLOCK = 512
"""Samples between looks at the cancel token."""
GATE_V = 2.5
OUTPUTS = tuple(OUTPUT_NAMES.values())
_LEAST_DEADMAN_S = 0.05  # a computer's scheduler may keep a heartbeat for some ten milliseconds


class MemristorBoard:
    """A board with its chip. Options: address, profile, override, serial (of the chip, checked), deadman_s, timeout_s,
    gate_v.

    The profile says what the chip is; the board says what it can do and which limits it holds; the tighter hold.
    """

    is_mock = False
    mock_driver = "mock-memristor-chip"

    def __init__(self, options: dict[str, Any], context: DeviceContext) -> None:
        where = f"hardware.{context.name}"
        known = ("address", "profile", "override", "serial", "deadman_s", "timeout_s", "gate_v")
        check_options(options, known, where)
        if not isinstance(options.get("address"), str):
            raise ConfigurationError(
                f'{where}.address: say where the board is, such as "serial:/dev/ttyACM0" or "socket://127.0.0.1:5025"'
            )
        override = options.get("override", {})
        if not isinstance(override, Mapping):
            raise ConfigurationError(f"{where}.override: must be a table of profile keys and values")
        self.profile = load_real_profile(str(options.get("profile", "chip-b")), override)
        self._name, self._address = context.name, options["address"]
        self._serial = options.get("serial")
        self._gate_v = _positive(options, "gate_v", GATE_V, math.inf, where)  # how much is a matter of limits
        electrical_limits(self.profile, Use.GATES).check_gate(self._gate_v, f"{where}.gate_v")
        self._pulses_for = Use.WRITING
        self._deadman_s = _positive(options, "deadman_s", DEFAULT_DEADMAN_MS / 1000, MAX_DEADMAN_MS / 1000, where)
        if self._deadman_s < _LEAST_DEADMAN_S:
            raise ConfigurationError(
                f"{where}.deadman_s: {self._deadman_s:g} s is too short for a heartbeat; choose {_LEAST_DEADMAN_S:g} s"
            )
        self._timeout_s = _positive(options, "timeout_s", TIMEOUT_S, 60.0, where)
        self._context = context
        self._allocated: dict[str, tuple[tuple[int, int], int]] = {}
        self._next_array = 0
        self._let_go = False
        self.cancel = CancelToken()
        self.session = DeviceSession(f"board at {self._address}", self._connect, CrossbarBoard.close)

    def unit(self, request: UnitRequest) -> BoardCrossbar:
        """A crossbar on arrays of its own, given out in the order in which units are first asked for."""
        shape = request.inputs, request.outputs
        tiling = Tiling(*shape, self.profile.rows, self.profile.columns // 2)
        known = self._allocated.get(request.name)
        if known is None or known[0] != shape:
            self._allocated[request.name] = shape, self._next_array
            self._next_array += tiling.arrays
        return BoardCrossbar(self, request, tiling, self._allocated[request.name][1], self._context)

    def probe(self, rows: int, columns: int) -> ChipProbe:
        """Bring-up of the board's first array, or the first part of it: from the next connection on, pulses may form.

        A board that is connected already keeps the limits of writing, for a session's limits are never raised.
        """
        self._pulses_for = Use.FORMING
        return BoardProbe(self, rows, columns)

    def safe_actions(self) -> list[SafeAction]:
        """How another process switches the board's outputs off."""
        return [crossbar_board(self._name, self._address)]

    def close(self) -> None:
        """Let go of the board for good, after all units are closed."""
        self._let_go = True

    @property
    def gate_v(self) -> float:
        """Word-line bias of reads and of verified writes."""
        return self._gate_v

    def _connect(self) -> CrossbarBoard:
        if self._let_go:
            raise LinkError(f"board at {self._address}: the device has been closed; open the lab again")
        p = self.profile
        link = BoardLink(
            self._name,
            lambda: open_port(self._address, self._context.traffic),
            deadman_s=self._deadman_s,
            timeout_s=self._timeout_s,
            address=self._address,
        )
        link.stopped = lambda: self.cancel.cancelled
        try:
            self._check(link.identity)
            reading, pulses = electrical_limits(p, Use.READING), electrical_limits(p, self._pulses_for)
            with once_answered():
                return CrossbarBoard(link, reading, self._gate_v, self._context.require_guard, pulses)
        except BaseException:
            link.close()
            raise

    def _check(self, board: Identity) -> None:
        """Raise ConfigurationError unless the board carries the chip that the protocol names."""
        p, where = self.profile, f"hardware.{self._name}"
        if self._serial is not None and board.chip_serial != self._serial:
            raise ConfigurationError(f"{where}.serial: {self._serial!r}, but the board carries {board.chip_serial!r}")
        stated = {
            "rows": (p.rows, board.rows),
            "columns": (p.columns, board.columns),
            "g_min_siemens": (p.g_min_siemens, board.low_ps * 1e-12),
            "g_max_siemens": (p.g_max_siemens, board.high_ps * 1e-12),
            "v_read_v": (p.v_read_v, board.dac_full_uv * 1e-6),
            "dac_bits": (p.dac_bits or board.dac_bits, board.dac_bits),
            "adc_bits": (p.adc_bits or board.adc_bits, board.adc_bits),
        }
        for key, (mine, its) in stated.items():
            if not math.isclose(mine, its, rel_tol=1e-6, abs_tol=1e-12):
                raise ConfigurationError(
                    f"{where}.profile: {key} is {mine:g}, but the board at {self._address} says {its:g}; "
                    "name the profile of the chip that it carries"
                )


class BoardCrossbar(DifferentialPairs):
    """One layer on the board: g+ and g- of a pair in neighbouring columns, rows driven, differences sensed."""

    def __init__(
        self, chip: MemristorBoard, request: UnitRequest, tiling: Tiling, first_array: int, context: DeviceContext
    ) -> None:
        check_options(dict(request.options), ("drive_limit_v", "current_limit_a"), f"units.{request.name}.options")
        p = self._profile = chip.profile
        self._session, self._clock, self._tiling = chip.session, context.clock, tiling
        self._chip, self._device_name = chip, context.name
        self._tiles = tiling.tiles(first_array)
        self._alike = tiling.alike(first_array)
        self._drive_limit_v = min(p.v_read_v, float(request.options.get("drive_limit_v", math.inf)))
        self._current_limit_a = min(p.current_limit_a, float(request.options.get("current_limit_a", math.inf)))
        if not (self._drive_limit_v > 0.0 and self._current_limit_a > 0.0):
            raise ConfigurationError(f"unit {request.name}: limits of drive and current must be positive")
        n_in, n_out = request.inputs, request.outputs
        dac_step_v = p.v_read_v / (2**p.dac_bits - 1) if p.dac_bits else 0.0
        self._spec = UnitSpec(
            name=request.name,
            drive=Quantity("V", (n_in,), 0.0, self._drive_limit_v, dac_step_v),
            response=Quantity("A", (n_out,)),
            parameters=Quantity("S", (n_in, n_out, 2), p.g_min_siemens, p.g_max_siemens, p.level_siemens),
            settle_s=p.settle_s,
        )
        self._believed: Array = np.full(self._spec.parameters.shape, p.g_min_siemens, np.float32)
        self._known = False  # what the cells hold has been written or read by this unit
        self._pulses: Counts = np.zeros(self._believed.shape, np.int32)
        self._misses: Counts = np.zeros(self._believed.shape, np.int32)
        self._verify_passes = 0
        self._cancel = CancelToken()
        self._ranges = range_series(p.range_min_a, p.range_max_a)
        typical_a = 0.5 * math.sqrt(tiling.rows) * p.span_siemens * p.v_read_v  # of random pairs, with room
        self._full_scale_a = pick_range(self._ranges, typical_a)

    # PhysicalUnit

    def open(self) -> None:
        """Connect, take the unit's arrays into use and set their range; outputs stay off.

        Raises LinkError, or ConfigurationError when the board has too few arrays or carries another chip.
        """
        name = self._spec.name
        self._session.open(name)
        try:
            with once_answered(), self._session.link(name) as board:
                board.tighten(ElectricalLimits(math.inf, self._current_limit_a))
                for tile in self._tiles:
                    board.use(tile.window)
                self._ranges = tuple(full * 1e-9 for full in board.identity.ranges_na)
                self._full_scale_a = self._in_force(board, self._full_scale_a)
        except BaseException:
            self._session.close(name)
            raise

    def close(self) -> None:
        """Let go of the unit; the last unit to close switches outputs off and lets go of the board."""
        self._session.close(self._spec.name)

    def make_safe(self) -> SafeReport:
        """Switch the board's row drivers and word lines off and read both back. They are those of all its units."""

        def off(board: CrossbarBoard) -> Achieved:
            still_on = board.switch_off()
            return tuple(output for output in OUTPUTS if output not in still_on), still_on, ""

        return self._session.switch_off(self._spec.name, OUTPUTS, off)

    def measure(self, drive: Array, *, cancel: CancelToken) -> Measurement:
        """Difference currents (batch, n_out) in amperes for read voltages (batch, n_in), digitised tile by tile.

        Raises LimitError beyond the read voltage, DeviceError when not open, LinkError for a dead link, Cancelled
        between blocks of samples.
        """
        name, drive = self._spec.name, np.asarray(drive, np.float32)
        self._spec.drive.check_batch(drive, f"{name}: drive")
        started_s = self._clock.now_s()
        values = np.zeros((len(drive), *self._spec.response.shape), np.float32)
        saturated = np.zeros(values.shape, np.bool_)
        with self._session.link(name) as board:
            codes = self._drive_codes(drive, board.identity)
            lsb = np.float32(self._full_scale_a / (2 ** (board.identity.adc_bits - 1) - 1))
            for start in range(0, len(drive), BLOCK):
                cancel.raise_if_cancelled()
                board.switch_on()
                block = slice(start, start + BLOCK)
                for rows, pairs, tiles in self._alike:
                    made = board.measure([tile.window.array for tile in tiles], pairs, codes[block, rows])
                    for tile, code, clipped in zip(tiles, made.codes, made.saturated, strict=True):
                        values[block, tile.pairs] += code * lsb
                        saturated[block, tile.pairs] |= clipped
        return Measurement(values, saturated, len(drive), started_s, self._clock.now_s())

    def program(self, parameters: Array, where: Mask | None = None) -> Array:
        """Write conductances (n_in, n_out, 2) where `where`; return what the cells are believed to hold.

        Write-verify: the last verify reading; open loop: the old belief plus the expected change. Unwritten cells keep
        theirs; the cells of a chip that this unit has not written yet are read before they are trusted. Raises
        LimitError outside the window, ConfigurationError for a wrong shape, DeviceError when not open, Cancelled
        between requests.
        """
        p, shape = self._profile, self._spec.parameters.shape
        parameters = np.asarray(parameters, np.float32)
        if parameters.shape != shape or (where is not None and where.shape != shape):
            raise ConfigurationError(f"{self._spec.name}: parameters and mask must have the shape {shape}")
        mask = np.ones(shape, np.bool_) if where is None else np.asarray(where, np.bool_)
        self._spec.parameters.check_limits(parameters[mask], f"{self._spec.name}: conductances")
        verified = p.programming == "write-verify"
        with self._session.link(self._spec.name) as board:
            if not self._known and not (verified and mask.all()):
                self._believed = np.clip(self._read(board, self._cancel), 0.0, None)
                self._verify_passes += 2 * self._spec.drive.size
                self._known = True
            if not mask.any():
                return self._believed.copy()
            target_ps = _picosiemens(self._levels(parameters))
            start_ps = None if verified else _picosiemens(self._believed)
            board.switch_on()
            for tile in self._tiles:
                self._write_tile(board, tile.rows, tile.pairs, tile.window.array, mask, target_ps, start_ps)
            self._known = True
        return self._believed.copy()

    def read_parameters(self, *, cancel: CancelToken) -> tuple[Array, int]:
        """Each row alone at the read voltage, + and - columns sensed apart: 2 n_in passes.

        Line resistance is corrected as for cells that are all mid-window; what the real cells change is left in.
        """
        with self._session.link(self._spec.name) as board:
            return self._read(board, cancel), self.costs().read_passes

    # Capabilities

    def device_name(self) -> str:
        """Of the board."""
        return self._device_name

    def cancel_with(self, token: CancelToken) -> None:
        """Writes stop between requests once `token` is set, and none is sent again; a board takes none that keeps it
        busy for long."""
        self._cancel = self._chip.cancel = token

    def pulses(self) -> Counts:
        """Programming pulses of each cell so far; of a write whose answer was lost, as many as it was allowed."""
        return self._pulses.copy()

    def verify_passes(self) -> int:
        """Rows driven to verify writes so far."""
        return self._verify_passes

    def write_misses(self) -> Counts:
        """Consecutive writes of each cell that ended outside the tolerance, as far as verify reads tell."""
        return self._misses.copy()

    def chip_serial(self) -> str:
        """As the board tells it."""
        with self._session.link(self._spec.name) as board:
            return board.identity.chip_serial

    def cell_sites(self) -> Counts:
        """The board's array, row and column of each cell; the cells of a pair are neighbouring columns."""
        sites: Counts = np.empty((*self._spec.parameters.shape, 3), np.int32)
        for tile in self._tiles:
            shape = (tile.window.rows, tile.window.pairs, 2)
            row, pair, polarity = np.indices(shape, np.int32)
            array = np.full(shape, tile.window.array, np.int32)
            sites[tile.rows, tile.pairs] = np.stack([array, row, 2 * pair + polarity], axis=-1)
        return sites

    def costs(self) -> UnitCosts:
        """Times and bounds of the profile. A verify pass is one row of one polarity of all tiles beside each other."""
        p, lines = self._profile, 2 * self._spec.drive.size
        verified = p.programming == "write-verify"
        verify_passes = self._tiling.across * lines * (p.max_pulses + 1) if verified else 0
        sample_s = self._tiling.down * (p.settle_s + p.conversion_s)  # tiles beside each other convert at once
        return UnitCosts(sample_s, p.pulse_s, p.verify_s, p.max_pulses, verify_passes, lines)

    def current_limit_a(self) -> float:
        """Current at which sensed lines are clamped: the profile's, or a tighter one of the protocol."""
        return self._current_limit_a

    def full_scale(self) -> float:
        """Full scale of one tile's difference current, in amperes."""
        return self._full_scale_a

    def set_full_scale(self, value: float) -> float:
        """Choose the nearest range not below `value`, or the largest; returns what the board says is in force."""
        wanted = pick_range(self._ranges, value)
        with self._session.link(self._spec.name) as board:
            self._full_scale_a = self._in_force(board, wanted)
        return self._full_scale_a

    # How

    def _in_force(self, board: CrossbarBoard, full_scale_a: float) -> float:
        """Set the range of all arrays. Raises DeviceError when they do not agree."""
        told = {board.set_range(tile.window.array, full_scale_a) for tile in self._tiles}
        if len(told) != 1:
            raise DeviceError(f"unit {self._spec.name}: its arrays are in different ranges: {sorted(told)} A")
        return told.pop()

    def _drive_codes(self, drive: Array, board: Identity) -> np.ndarray[Any, np.dtype[np.uint16]]:
        """DAC codes; rounding never leads beyond the drive limit."""
        lsb = np.float32(self._profile.v_read_v / (2**board.dac_bits - 1))
        codes = np.rint(drive * (np.float32(1.0) / lsb))
        highest = math.floor(self._drive_limit_v / float(lsb) * (1.0 + 1e-6))
        return np.asarray(np.clip(codes, 0, highest), np.uint16)

    def _levels(self, parameters: Array) -> Array:
        p = self._profile
        levels = np.rint((parameters - np.float32(p.g_min_siemens)) * np.float32(1.0 / p.level_siemens))
        return np.asarray(levels * np.float32(p.level_siemens) + np.float32(p.g_min_siemens))

    def _write_tile(
        self,
        board: CrossbarBoard,
        rows: slice,
        pairs: slice,
        array: int,
        mask: Mask,
        target_ps: np.ndarray[Any, np.dtype[np.int32]],
        start_ps: np.ndarray[Any, np.dtype[np.int32]] | None,
    ) -> None:
        chosen = mask[rows, pairs]
        if not chosen.any():
            return
        flat = chosen.reshape(len(chosen), -1)
        start = None if start_ps is None else start_ps[rows, pairs][chosen]
        parts = board.write_in_parts(array, flat, target_ps[rows, pairs][chosen], start, self._profile.max_pulses)
        left = chosen.copy()
        while left.any():
            self._cancel.raise_if_cancelled()
            try:
                part, done = next(parts)
            except LinkError:  # it may have been carried out: the wear counts as its worst, and the belief is void
                self._pulses[rows, pairs] += self._profile.max_pulses * left
                self._known = False
                raise
            here, misses = chosen[part], self._misses[rows, pairs][part]
            self._believed[rows, pairs][part][here] = done.believed_ps * 1e-12
            self._pulses[rows, pairs][part][here] += done.pulses
            misses[here] = (misses[here] + 1) * done.missed
            self._verify_passes += done.verify_passes
            left[part] = False

    def _read(self, board: CrossbarBoard, cancel: CancelToken) -> Array:
        p = self._profile
        cancel.raise_if_cancelled()
        board.switch_on()
        full_scale_a = pick_range(self._ranges, 1.2 * p.g_max_siemens * p.v_read_v)
        lsb_a = full_scale_a / (2 ** (board.identity.adc_bits - 1) - 1)
        values: Array = np.empty(self._spec.parameters.shape, np.float32)
        for tile in self._tiles:
            cancel.raise_if_cancelled()
            codes = board.read_cells(tile.window, full_scale_a).codes
            rows, pairs = tile.window.rows, tile.window.pairs
            middle = np.full((rows, 1, 2 * pairs), (p.g_min_siemens + p.g_max_siemens) / 2, np.float32)
            seen = cell_attenuation(middle, p.segment_ohm).reshape(rows, pairs, 2) * np.float32(p.v_read_v)
            values[tile.rows, tile.pairs] = codes * np.float32(lsb_a) / seen
        return values


def _picosiemens(conductance: Array) -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.rint(conductance.astype(np.float64) * 1e12).astype(np.int32)


def _positive(options: Mapping[str, Any], name: str, default: float, most: float, where: str) -> float:
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value <= most:
        raise ConfigurationError(f"{where}.{name}: {value!r} is not a number above 0 and at most {most:g}")
    return float(value)
