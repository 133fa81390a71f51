"""What the operations of an array behind source-measure units and a matrix take, before anything is connected.

Each is the sum of its messages (a command is followed by a query of the error queue), of its relays with their
settling, and of its conversions, by `drivers.latencies`. Relays are taken to move for every reading.
"""

from __future__ import annotations

import math

from drivers.chip.bias_schemes import Bus, Scheme, stages
from drivers.chip.smu_matrix_acts import RAMP_STEP_V
from drivers.chip.smu_matrix_options import ChipOptions
from drivers.latencies import LIKE_REAL, Latency
from pib_lab.capabilities import UnitCosts

_COMMAND, _QUERY = 2, 1
_MOVE = _COMMAND + _QUERY  # closed, then read back
_SWEEP = 17  # of a 2400 that steps through two levels; a 2450 takes about as many


def unit_costs(
    options: ChipOptions, shape: tuple[int, int], read_v: float, max_pulses: int, latency: Latency = LIKE_REAL
) -> UnitCosts:
    """Costs of a unit of `shape` (inputs, pairs) that reads at `read_v` volts and pulses a cell `max_pulses` times a
    write at most. A sample is taken to drive rows in each of its bit planes, a pulse to go to `write.limit_v`."""
    times = _Times(options, latency)
    inputs, pairs = shape
    planes = options.drive_bits if options.measure == "analog" else 0
    sense_s, look_s = times.sense_s(read_v), times.read_s(Bus.DRIVE)
    return UnitCosts(
        sample_s=planes * (pairs * sense_s + look_s),
        pulse_s=times.pulse_s(),
        verify_s=sense_s + look_s,
        pulses_per_write_max=max_pulses,
        verify_passes_max=inputs * pairs * (max_pulses + 1),
        read_passes=inputs * pairs,
    )


class _Times:
    """Seconds of the steps that operations are made of."""

    def __init__(self, options: ChipOptions, latency: Latency) -> None:
        self._options, self._latency = options, latency

    def sense_s(self, read_v: float) -> float:
        """A pair of columns, without a look at the drive."""
        o = self._options
        raised = [(Bus.DRIVE, read_v), *([(Bus.GATE, o.gate_read_v)] if o.scheme is Scheme.TRANSISTOR else [])]
        levels_s = sum(self._raise_s(level_v) + self._lower_s(level_v) for _, level_v in raised)
        return self._move_s() + levels_s + self.read_s(Bus.PLUS) + self.read_s(Bus.MINUS)

    def read_s(self, bus: Bus) -> float:
        """One reading: a 2600B converts voltage and current at once and tells its limit with them, the others in turn,
        and a 2450 is asked for its limit."""
        of = self._latency
        if self._model(bus) == "keithley-2600b":
            return of.command_s + self._conversion_s()
        messages = 2 if self._model(bus) == "keithley-2450" else 1
        return messages * of.command_s + 2 * self._conversion_s() + of.point_s + of.source_delay_s

    def pulse_s(self) -> float:
        """One pulse under the bias scheme, everything back at zero after it."""
        o, write = self._options, self._options.write
        *rising, (bus, _) = stages(o.scheme)
        levels = [share * (write.gate_v if raised is Bus.GATE else write.limit_v) for raised, share in rising]
        base_s = (_COMMAND + _QUERY) * self._latency.command_s
        return (
            self._move_s()
            + sum(self._raise_s(level_v) + self._lower_s(level_v) for level_v in levels)
            + self._peak_s(bus)
            + base_s
        )

    def _peak_s(self, bus: Bus) -> float:
        of, width_s = self._latency, self._options.write.width_s
        if self._model(bus) == "keithley-2600b":
            return _COMMAND * of.command_s + width_s
        return _SWEEP * of.command_s + 2 * (2 * self._conversion_s() + of.point_s + width_s)

    def _model(self, bus: Bus) -> str:
        return self._options.sources[bus].model

    def _conversion_s(self) -> float:
        return self._latency.reading_s(self._options.nplc, autozero=True)

    def _move_s(self) -> float:
        """Relays that held other lines open, then those wanted close, and what they carry settles."""
        return _MOVE * self._latency.command_s + 2 * self._latency.closure_s + self._options.matrix.settle_s

    def _raise_s(self, level_v: float) -> float:
        steps = math.ceil(level_v / RAMP_STEP_V * (1.0 - 1e-9))
        return (steps * _COMMAND + (_QUERY if steps > 1 else 0)) * self._latency.command_s

    def _lower_s(self, level_v: float) -> float:
        return self._raise_s(level_v) + _QUERY * self._latency.command_s
