"""The mock memristor chip: crossbars of differential pairs behind a DAC and an ADC, on a clock of their own."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from drivers.chip.differential import DifferentialPairs
from drivers.chip.probe import ChipProbe
from drivers.chip.profiles import load_profile
from drivers.device import DeviceSession
from drivers.mock.crossbar import CrossbarPhysics
from drivers.mock.frontend import pick_range, range_series
from drivers.mock.link import OUTPUTS, ChipLink
from drivers.mock.programming import open_loop, write_verify
from pib_lab.capabilities import UnitCosts
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.errors import ConfigurationError, DeviceError
from pib_lab.experiment import check_options
from pib_lab.quantities import Array, Codes, Counts, Mask, Quantity
from pib_lab.unit import CancelToken, Measurement, SafeReport, State, UnitSpec

BLOCK = 512
"""Samples between looks at the cancel token; traps keep their state within a block."""


LINK_OPTIONS = (
    *("address", "deadman_s", "timeout_s", "gate_v"),
    *("rows", "columns", "scheme", "measure", "drive_bits", "gate_read_v", "nplc", "off_state"),
    *("matrix", "write", "sources"),
)
"""Options of a real chip's links: accepted and without effect, so that a protocol for hardware runs under --mock."""


class MockMemristorChip:
    """A chip with as many arrays as its units need. Options: profile, serial, override (table of profile keys).

    defects: a table, what is wrong with the chip when it is brought up (drivers/mock/bringup_physics.py).
    """

    is_mock = True

    def __init__(self, options: dict[str, Any], context: DeviceContext) -> None:
        check_options(options, ("profile", "serial", "override", "defects", *LINK_OPTIONS), f"hardware.{context.name}")
        override = options.get("override", {})
        if not isinstance(override, Mapping):
            raise ConfigurationError(f"hardware.{context.name}.override: must be a table of profile keys and values")
        self.profile = load_profile(str(options.get("profile", "chip-b")), override)
        self.serial = str(options.get("serial", "mock-1"))
        self.defects = options.get("defects", {})
        self._link = ChipLink(self.serial)
        self.session = DeviceSession(f"chip {self.serial}", lambda: self._link, lambda link: None)
        self._context = context

    def unit(self, request: UnitRequest) -> MockCrossbar:
        """A crossbar of `inputs` rows and `outputs` differential pairs, tiled over arrays of the profile's size."""
        return MockCrossbar(self, request, self._context)

    def probe(self, rows: int, columns: int) -> ChipProbe:
        """Bring-up of an array of that size, of the same cells as the unit "chip" of that size."""
        from drivers.chip.mock_probe import make_mock_probe  # it is built on this module

        return make_mock_probe(self, rows, columns, self._context)

    def close(self) -> None:
        """Let go of the chip, for all its units and for good."""
        self._link.close()


class MockCrossbar(DifferentialPairs):
    """One layer: g+ and g- of each pair sit in neighbouring columns, rows are driven, differences are sensed."""

    def __init__(self, chip: MockMemristorChip, request: UnitRequest, context: DeviceContext) -> None:
        check_options(dict(request.options), ("drive_limit_v", "current_limit_a"), f"units.{request.name}.options")
        p = self._profile = chip.profile
        self._session, self._clock = chip.session, context.clock
        n_in, n_out = request.inputs, request.outputs
        self._drive_limit_v = min(p.v_read_v, float(request.options.get("drive_limit_v", math.inf)))
        self._current_limit_a = min(p.current_limit_a, float(request.options.get("current_limit_a", math.inf)))
        if not (self._drive_limit_v > 0.0 and self._current_limit_a > 0.0):
            raise ConfigurationError(f"unit {request.name}: limits of drive and current must be positive")
        dac_step_v = p.v_read_v / (2**p.dac_bits - 1) if p.dac_bits else 0.0
        self._spec = UnitSpec(
            name=request.name,
            drive=Quantity("V", (n_in,), 0.0, self._drive_limit_v, dac_step_v),
            response=Quantity("A", (n_out,)),
            parameters=Quantity("S", (n_in, n_out, 2), p.g_min_siemens, p.g_max_siemens, p.level_siemens),
            settle_s=p.settle_s,
        )
        seeds = [context.seed, zlib.crc32(chip.serial.encode()), zlib.crc32(request.name.encode())]
        made, lived = np.random.SeedSequence(seeds).spawn(2)
        self._rng = np.random.Generator(np.random.SFC64(lived))
        born = np.random.Generator(np.random.SFC64(made))
        self._identity = f"{seeds} {n_in}x{n_out} {p.model_dump_json()}"
        self._physics = CrossbarPhysics(n_in, n_out, p, self._clock.now_s(), born)
        self._believed: Array = np.full(2 * n_in * n_out, p.g_min_siemens, np.float32)
        self._misses: Counts = np.zeros(2 * n_in * n_out, np.int32)
        self._verify_passes = 0
        self._cancel = CancelToken()
        self._ranges = range_series(p.range_min_a, p.range_max_a)
        typical_a = 0.5 * math.sqrt(self._physics.tile_rows) * p.span_siemens * p.v_read_v  # of random pairs, with room
        self._full_scale_a = pick_range(self._ranges, typical_a)

    @property
    def physics(self) -> CrossbarPhysics:
        """The truth, for what shares these cells."""
        return self._physics

    # PhysicalUnit

    def open(self) -> None:
        """Connect, as one of the units that share the chip; outputs stay off."""
        self._session.open(self._spec.name)

    def close(self) -> None:
        """Let go of the unit; the last unit to close lets go of the chip."""
        self._session.close(self._spec.name)

    def make_safe(self) -> SafeReport:
        """Switch read voltage and word lines off and read both back."""
        name = self._spec.name
        try:
            with self._session.link(name) as link:
                link.switch(name, on=False)
                still_on = link.read_back(name)
        except DeviceError as problem:  # not open, or a dead link: nothing was read back, so nothing is confirmed
            return SafeReport(name, (), OUTPUTS, str(problem))
        return SafeReport(name, tuple(output for output in OUTPUTS if output not in still_on), still_on)

    def measure(self, drive: Array, *, cancel: CancelToken) -> Measurement:
        """Difference currents (batch, n_out) in amperes for read voltages (batch, n_in), digitised tile by tile.

        Raises LimitError beyond the read voltage, DeviceError when not open, Cancelled between blocks of samples.
        """
        name, drive = self._spec.name, np.asarray(drive, np.float32)
        self._spec.drive.check_batch(drive, f"{name}: drive")
        started_s = self._clock.now_s()
        limits = (self._drive_limit_v, self._current_limit_a)
        values = np.empty((len(drive), *self._spec.response.shape), np.float32)
        saturated = np.zeros(values.shape, np.bool_)
        with self._session.link(name) as link, link.energised(name):
            for start in range(0, len(drive), BLOCK):
                cancel.raise_if_cancelled()
                block = drive[start : start + BLOCK]
                self._clock.sleep_s(len(block) * (self._profile.settle_s + self._profile.conversion_s))
                values[start : start + BLOCK], saturated[start : start + BLOCK] = self._physics.respond(
                    block, limits, self._full_scale_a, self._clock.now_s(), self._rng
                )
        return Measurement(values, saturated, len(drive), started_s, self._clock.now_s())

    def program(self, parameters: Array, where: Mask | None = None) -> Array:
        """Write conductances (n_in, n_out, 2) where `where`; return what the cells are believed to hold.

        Write-verify: the last verify reading; open loop: the old belief plus the expected change. Unwritten cells keep
        theirs. Raises LimitError outside the window, ConfigurationError for a wrong shape, DeviceError when not open,
        Cancelled before anything is written.
        """
        p, shape = self._profile, self._spec.parameters.shape
        parameters = np.asarray(parameters, np.float32)
        if parameters.shape != shape or (where is not None and where.shape != shape):
            raise ConfigurationError(f"{self._spec.name}: parameters and mask must have the shape {shape}")
        index = np.arange(parameters.size) if where is None else np.flatnonzero(where)
        wanted = parameters.reshape(-1)[index]
        self._spec.parameters.check_limits(wanted, f"{self._spec.name}: conductances")
        levels = np.rint((wanted - np.float32(p.g_min_siemens)) * np.float32(1.0 / p.level_siemens))
        target = levels * np.float32(p.level_siemens) + np.float32(p.g_min_siemens)
        physics = self._physics
        with self._session.link(self._spec.name) as link, link.energised(self._spec.name):
            self._cancel.raise_if_cancelled()
            physics.age(self._clock.now_s())
            if p.programming == "write-verify":
                write = write_verify(physics.cells, physics.telegraph, index, target, self._rng)
                self._misses[index] = (self._misses[index] + 1) * write.missed
            else:
                write = open_loop(physics.cells, index, target, self._believed[index], self._rng)
            self._clock.sleep_s(int(write.pulses.sum()) * p.pulse_s + write.verify_passes * p.verify_s)
            physics.cells.commit(index, write.conductance, write.pulses, self._clock.now_s(), self._rng)
        self._believed[index] = write.believed
        self._verify_passes += write.verify_passes
        physics.rewire()
        return self._believed.reshape(shape).copy()

    # Capabilities

    def cancel_with(self, token: CancelToken) -> None:
        """No write begins once `token` is set; one takes no real time, so none is cut short."""
        self._cancel = token

    def read_parameters(self, *, cancel: CancelToken) -> tuple[Array, int]:
        """Each row alone at the read voltage, + and - columns sensed apart: 2 n_in passes.

        Line resistance is corrected as for cells that are all mid-window; what the real cells change is left in.
        """
        p = self._profile
        passes = self.costs().read_passes
        cancel.raise_if_cancelled()
        with self._session.link(self._spec.name) as link, link.energised(self._spec.name):
            self._clock.sleep_s(passes * (p.settle_s + p.conversion_s))
            full_scale_a = pick_range(self._ranges, 1.2 * p.g_max_siemens * p.v_read_v)
            reading = self._physics.read_cells(full_scale_a, self._clock.now_s(), self._rng)
        return reading, passes

    def true_parameters(self) -> Array:
        """Conductances now, relaxed, aged and stuck, free of read noise."""
        self._physics.age(self._clock.now_s())
        return self._physics.cells.effective.reshape(self._spec.parameters.shape).copy()

    def true_transfer(self) -> Array:
        """Siemens (n_in, n_out) from read voltages to difference currents, wires and faults included, no noise."""
        seen = self.true_parameters() * self._physics.attenuation()
        return np.asarray(seen[..., 0] - seen[..., 1])

    def true_faults(self) -> Codes:
        """FaultKind codes of all cells."""
        return self._physics.cells.faults.reshape(self._spec.parameters.shape).copy()

    def inject_faults(self, kind: str, fraction: float, cluster: str, seed: int) -> int:
        """Strike healthy cells; a cluster is a whole "row" or "column" line of one array."""
        if cluster not in ("none", "row", "column"):
            raise ConfigurationError(f"fault cluster {cluster!r} does not exist (known: none, row, column)")
        rng = np.random.Generator(np.random.SFC64(seed))
        lines = None if cluster == "none" else self._physics.lines(cluster)
        self._physics.age(self._clock.now_s())
        struck = self._physics.cells.strike(kind, fraction, lines, rng)
        self._physics.rewire()
        return struck

    def pulses(self) -> Counts:
        """Programming pulses of each cell so far."""
        return self._physics.cells.pulses.reshape(self._spec.parameters.shape).copy()

    def verify_passes(self) -> int:
        """Rows driven to verify writes so far."""
        return self._verify_passes

    def write_misses(self) -> Counts:
        """Consecutive writes of each cell that ended outside the tolerance, as far as verify reads tell."""
        return self._misses.reshape(self._spec.parameters.shape).copy()

    def costs(self) -> UnitCosts:
        """Times and bounds of the profile. A verify pass is one row of one polarity; a write ends with a verify."""
        p, lines = self._profile, 2 * self._spec.drive.size
        verify_passes = lines * (p.max_pulses + 1) if p.programming == "write-verify" else 0
        return UnitCosts(p.settle_s + p.conversion_s, p.pulse_s, p.verify_s, p.max_pulses, verify_passes, lines)

    def current_limit_a(self) -> float:
        """Current at which sensed lines are clamped: the profile's, or a tighter one of the protocol."""
        return self._current_limit_a

    def full_scale(self) -> float:
        """Full scale of one tile's difference current, in amperes."""
        return self._full_scale_a

    def set_full_scale(self, value: float) -> float:
        """Choose the nearest range not below `value`, or the largest."""
        self._full_scale_a = pick_range(self._ranges, value)
        return self._full_scale_a

    def snapshot(self) -> State:
        """All state of cells, traps, counters, range and noise generator, and the clock's time."""
        generator = self._rng.bit_generator.state
        words = {key: np.asarray(value).tolist() for key, value in generator["state"].items()}
        return {
            **self._physics.snapshot(),
            "believed": self._believed.copy(),
            "misses": self._misses.copy(),
            "verify_passes": self._verify_passes,
            "full_scale_a": self._full_scale_a,
            "rng": json.dumps({**generator, "state": words}),
            "clock_s": self._clock.now_s(),
            "identity": self._identity,
        }

    def restore(self, state: State) -> None:
        """Go back to a snapshot of this very chip; the clock is the lab's. Raises ConfigurationError for another's."""
        if state["identity"] != self._identity:
            raise ConfigurationError(
                f"unit {self._spec.name}: the snapshot is of another chip; use the same seed, serial, profile and shape"
            )
        self._physics.restore(state)
        self._believed = np.array(state["believed"], np.float32)
        self._misses = np.array(state["misses"], np.int32)
        self._verify_passes = int(_number(state["verify_passes"]))
        self._full_scale_a = _number(state["full_scale_a"])
        generator = json.loads(str(state["rng"]))
        generator["state"] = {key: np.array(value, np.uint64) for key, value in generator["state"].items()}
        self._rng.bit_generator.state = generator


def _number(value: Any) -> float:
    return float(value)
