"""Source-measure units, a switch matrix and a memristor array as one instrument: sense columns, pulse one cell.

No relay moves unless every source stands at a level of zero that was read back. Lines that are not used are on ground,
none floats while anything is driven.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from drivers.chip.bias_schemes import Bus, Scheme, Selection, select, stages
from drivers.chip.limits import GATE_MAX_A, ElectricalLimits
from drivers.chip.smu_matrix_acts import RAMP_STEP_V, blindly, bring_off, pulse_by, safe_action, settle
from drivers.chip.smu_matrix_options import ChipOptions, SourceOptions
from drivers.device import once_answered
from drivers.safe.recipes import keithley_707
from drivers.smu.interface import OffState, ProtectsVoltage, Reading, SourceMeasureUnit
from drivers.smu.keithley_2400 import Keithley2400
from drivers.smu.keithley_2450 import Keithley2450
from drivers.smu.keithley_2600b import Keithley2600B
from drivers.smu.switch_matrix import Keithley707B
from drivers.wire.dialects import SCPI, TSP, Dialect
from drivers.wire.line_transport import LineTransport
from drivers.wire.links import make_transport
from drivers.wire.transport import Transport
from pib_lab.device import DeviceContext, Traffic
from pib_lab.errors import DeviceError, LinkError, PibError
from pib_lab.switching_off import at_once

Connect = Callable[[str, Dialect], Transport]

_SOON_S = 0.25
"""Within which an instrument answers that is well and not measuring."""

_READINGS, _MAINS_HZ = 4, 50.0
"""It may be in the middle of so many readings, each of so many cycles of the mains."""

_LATE_S = 0.4
"""Waited for those that did not, once all others are off, when an operator waits for the end; else as a link does."""

_HELD = 0.02  # of a voltage: how far a source may stand from where it should
_CLOCK_S = 1e-6  # waited on top, so that a clock's rounding does not make a pulse early


def connect_by_address(address: str, dialect: Dialect, traffic: Traffic | None = None) -> Transport:
    """The transport of a protocol's address; `traffic` keeps what goes over it."""
    return make_transport(address, marker=dialect.marker, log=traffic)


@dataclass(frozen=True, slots=True)
class Sensed:
    """Currents out of the two columns of a pair, in amperes.

    clipped: not sound, at the limit that clipped; starved: the drive did not hold its voltage, as far as it was looked
    at, so that both currents are too low.
    """

    plus_a: float
    minus_a: float
    plus_clipped: bool
    minus_clipped: bool
    starved: bool


class SmuMatrixRig:
    """Links, instruments and their wiring. `reading` and `limits` are the chip's, to read cells and to pulse them; the
    gate has a voltage limit of its own in `limits`."""

    def __init__(
        self,
        options: ChipOptions,
        reading: ElectricalLimits,
        limits: ElectricalLimits,
        sense_range_a: float,
        context: DeviceContext,
        connect: Connect,
    ) -> None:
        self._options, self._sense_range_a = options, sense_range_a
        self._reading, self._limits = reading, limits
        self._context = context
        self._opened_s = math.inf
        self._pulsed_s: dict[tuple[int, int], float] = {}
        """When each cell's last pulse ended."""
        self._leaving = False
        self._transports: dict[str, Transport] = {}
        self._sources: dict[Bus, SourceMeasureUnit] = {}
        for bus, source in options.sources.items():
            self._sources[bus] = self._make(bus, source, connect)
        self._matrix_link = self._link(options.matrix.address, TSP, connect)
        self._matrix = Keithley707B(
            self._matrix_link, context.clock, self._assert_quiet, options.matrix.settle_s, f"{context.name}.matrix"
        )
        self._quiet: set[Bus] = set()
        """Sources whose level of zero was read back, or whose output was read back off."""
        self._held_v: dict[Bus, float] = {}
        """Where each source was put last, as far as nothing has failed since."""
        self._drive_limit_a = limits.current_a
        self._pulse_limit_a = min(limits.current_a, options.write.compliance_a or math.inf)
        self.stopped: Callable[[], bool] = lambda: False
        """Whether an operator wants all outputs off now. What has not answered soon after that is given up."""
        self._until_s = math.inf
        self._leaving_links = False
        for transport in self._transports.values():
            if isinstance(transport, LineTransport):
                transport.until_s = self._wait_until_s
        self._unreached = False
        """Some link was dead when outputs were last switched off, and none has been switched on since."""

    def _link(self, address: str, dialect: Dialect, connect: Connect) -> Transport:
        if address not in self._transports:
            self._transports[address] = connect(address, dialect)
        return self._transports[address]

    def _make(self, bus: Bus, source: SourceOptions, connect: Connect) -> SourceMeasureUnit:
        name, clock = f"{self._context.name}.sources.{bus}", self._context.clock
        guard = self._context.require_guard
        # a source feeds many cells at once: power and rate are limited where the cell is known
        limits = replace(self._limits, power_w=math.inf, pulse_rate_hz=math.inf)
        if bus is Bus.GATE:
            limits = ElectricalLimits(limits.gate_v, GATE_MAX_A)
        if source.model == "keithley-2600b":
            return Keithley2600B(self._link(source.address, TSP, connect), limits, clock, source.channel, name, guard)
        transport = self._link(source.address, SCPI, connect)
        model = Keithley2400 if source.model == "keithley-2400" else Keithley2450
        return model(transport, limits, clock, name, guard)

    # Opening and closing

    def open(self) -> None:
        """Connect, check who answers, outputs off (gate last), relays open, everything set up; nothing is switched on.

        Raises LinkError, DeviceError; then nothing stays connected.
        """
        try:
            for transport in self._transports.values():
                transport.open()
            with once_answered():
                self._set_all_up()
        except BaseException:
            self._disconnect()
            raise

    def _set_all_up(self) -> None:
        self._quiet, self._drive_limit_a = set(), self._limits.current_a
        self._held_v.clear()
        for bus in self._falling:
            self._sources[bus].prepare()
        for bus, smu in self._sources.items():
            self._set_up(bus, smu)
        self._matrix.prepare()
        self._matrix.forbid(self._forbidden())
        self._opened_s = self._context.clock.now_s()
        self._pulsed_s.clear()

    def _set_up(self, bus: Bus, smu: SourceMeasureUnit) -> None:
        smu.set_off_state(OffState(self._options.off_state))
        if isinstance(smu, ProtectsVoltage):
            smu.set_over_voltage(self._limits.gate_v if bus is Bus.GATE else self._limits.voltage_v)
        if bus in (Bus.PLUS, Bus.MINUS):
            smu.source_voltage(
                self._limits.current_a, level_range_v=self._options.write.start_v, measure_range_a=self._sense_range_a
            )
        elif bus is Bus.GATE:
            smu.source_voltage(GATE_MAX_A, level_range_v=self._limits.gate_v)
        else:
            smu.source_voltage(self._limits.current_a, level_range_v=self._limits.voltage_v)
        smu.set_integration(self._options.nplc)

    def _forbidden(self) -> list[str]:
        """A gate never gets a drive, a row or column never gets the gate's source, a row is never sensed."""
        o, points = self._options, []
        for bus in self._sources:
            lines = range(o.rows)
            if bus in (Bus.GATE, Bus.PLUS, Bus.MINUS):
                points += [o.row_point(bus, line) for line in lines]
            if bus is Bus.GATE:
                points += [o.column_point(bus, line) for line in range(o.columns)]
            elif o.scheme is Scheme.TRANSISTOR:
                points += [o.gate_point(bus, line) for line in lines]
        return points

    def close(self) -> None:
        """Make safe as far as the links allow, then disconnect. A dead link is not waited for again. Never raises."""
        if not self._unreached:
            self.make_safe()
        self._disconnect()

    def _disconnect(self) -> None:
        for transport in self._transports.values():
            transport.close()

    # Making safe

    @property
    def _falling(self) -> list[Bus]:
        """Sources in the order in which they go down: drive first, gate last."""
        return sorted(self._sources, key=lambda bus: (bus is Bus.GATE, bus is not Bus.DRIVE))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of all that can be on."""
        return (*(str(bus) for bus in self._sources), "matrix")

    def make_safe(self) -> tuple[tuple[str, ...], tuple[str, ...], str]:
        """Ramp to zero, outputs off and read back, gate last, then open the matrix onto its bleeds and read that back.

        Returns the outputs confirmed off, those not confirmed, and why. Never raises. The matrix opens also when a
        source does not answer: a worn relay is better than a chip that stays connected to it. What does not answer is
        commanded off all the same, over a link of its own, for it may hear.
        """
        confirmed: list[str] = []
        self._leaving_links = True
        try:
            dead = self._dead_links(self._transports, _SOON_S + _READINGS * self._options.nplc / _MAINS_HZ)
            may_hear = set(dead)
            problems = {output: dead[address] for output, address in self._addresses.items() if address in dead}
            self._switch_off(confirmed, problems, may_hear)
            still_dead = self._dead_links(dead, _LATE_S if self.stopped() else math.inf) if dead else {}
            if len(still_dead) < len(dead):  # it was only busy: it has been commanded blindly, and is now asked
                late = {output for output, address in self._addresses.items() if address in dead.keys() - still_dead}
                problems = {output: why for output, why in problems.items() if output not in late}
                self._switch_off(confirmed, problems, set())
        finally:
            self._leaving_links = False
        self._unreached = bool(still_dead)
        self._quiet = {bus for bus in self._sources if str(bus) in confirmed}
        return tuple(confirmed), tuple(problems), "; ".join(problems.values())

    @property
    def _addresses(self) -> dict[str, str]:
        """Of each output, the drive's first and the matrix's last."""
        known = {str(bus): self._options.sources[bus].address for bus in self._falling}
        return {**known, "matrix": self._options.matrix.address}

    def _switch_off(self, confirmed: list[str], problems: dict[str, str], may_hear: set[str]) -> None:
        """All outputs in order: those with a problem blindly, as far as they may hear, the others if they are not yet
        confirmed off. Never raises."""
        self._held_v.clear()
        for bus in self._falling:
            if str(bus) in problems:
                source = self._options.sources[bus]
                blindly(safe_action(str(bus), source), self._transports[source.address], may_hear, problems)
            elif str(bus) not in confirmed:
                smu, transport = self._sources[bus], self._transports[self._addresses[str(bus)]]
                settle(str(bus), lambda smu=smu: bring_off(smu), transport, confirmed, problems)  # type: ignore[misc]
        self._leaving = True
        try:
            if "matrix" in problems:
                address = self._addresses["matrix"]
                blindly(keithley_707("matrix", address), self._matrix_link, may_hear, problems)
            elif "matrix" not in confirmed:
                settle("matrix", self._matrix.open_all, self._matrix_link, confirmed, problems)
        finally:
            self._leaving = False

    def _dead_links(self, addresses: Iterable[str], within_s: float) -> dict[str, str]:
        """Links that do not answer in time, not even over a new connection, and why: all are waited for at once.

        Sources go down one after the other; a silent one must not hold up those after it for seconds.
        """
        dead: dict[str, str] = {}
        self._until_s = time.monotonic() + within_s

        def ask(address: str) -> None:
            transport = self._transports[address]
            try:
                try:
                    transport.query("*IDN?", idempotent=False)
                except LinkError:
                    transport.reconnect()
            except PibError as problem:
                dead[address] = str(problem)

        try:
            at_once([functools.partial(ask, address) for address in addresses])
        finally:
            self._until_s = math.inf
        return dead

    def _wait_until_s(self) -> float:
        """Until when links are waited for: while they are left, as long as that wants; else, after a STOP, not long."""
        if not self._leaving_links and self._until_s == math.inf and self.stopped():
            self._until_s = time.monotonic() + _SOON_S
        return self._until_s

    def _assert_quiet(self) -> None:
        """The matrix's guard."""
        loud = [bus for bus, smu in self._sources.items() if smu.on and bus not in self._quiet]
        if loud and not self._leaving:
            raise DeviceError(
                f"{self._context.name}: {', '.join(loud)} has not been read back at zero: no relay moves under current"
            )

    def calm(self) -> None:
        """All sources to zero, read back: drive first, gate last. Raises LinkError, DeviceError."""
        self._held_v.clear()
        for bus in self._falling:
            if self._sources[bus].on and bus not in self._quiet:
                self._to(bus, 0.0)

    # Driving

    def energise(self) -> None:
        """Outputs on, at zero. Raises DeviceError when nobody guards them, also when they are on already."""
        self._context.require_guard()
        self._unreached = False
        for bus, smu in self._sources.items():
            if not smu.on:
                self._quiet.discard(bus)
                if smu.level() != 0.0:
                    smu.set_level(0.0)
                smu.switch(True)
                self._to(bus, 0.0)

    def _to(self, bus: Bus, level_v: float) -> None:
        """Ramp a source; a level of zero is read back, and only then do relays move."""
        smu = self._sources[bus]
        held_v = self._held_v.pop(bus, math.inf)
        self._quiet.discard(bus)
        if abs(level_v - held_v) <= RAMP_STEP_V:  # one step from where it was put last
            smu.set_level(level_v)
        else:
            smu.ramp_to(level_v, RAMP_STEP_V)
        self._held_v[bus] = level_v
        if level_v == 0.0:
            if abs(smu.level()) > 1e-9:
                raise DeviceError(f"{smu.name}: was set to zero and reads back as {smu.level():g} V; call make_safe()")
            self._quiet.add(bus)

    @contextmanager
    def _levels(self, levels: Sequence[tuple[Bus, float]]) -> Iterator[None]:
        """Raise sources in order within a `with` block, and lower them in reverse, whatever happened in it."""
        before: list[tuple[Bus, float]] = []
        now: dict[Bus, float] = {}
        try:
            for bus, level_v in levels:
                before.append((bus, now.get(bus, 0.0)))
                self._to(bus, level_v)
                now[bus] = level_v
            yield
        except BaseException:
            with suppress(PibError):  # the first problem is the one to report; make_safe tells what stayed on
                self.calm()
            raise
        for bus, level_v in reversed(before):
            self._to(bus, level_v)

    def sense(
        self, driven: Iterable[int], plus: int, minus: int, rows: Sequence[int], voltage_v: float, check: bool = True
    ) -> Sensed:
        """Currents of two columns at 0 V, with the rows `driven` at `voltage_v` and all other lines on ground.

        rows: those whose cells take part; their gates are up (1t1r). check: look at the drive as well; once for each
        set of driven rows is enough, for they draw the same current whichever columns are sensed.
        """
        o, driven = self._options, set(driven)
        self._reading.check_voltage(voltage_v, self._limits.current_a, "rows")
        points = [o.row_point(Bus.DRIVE if row in driven else Bus.GROUND, row) for row in range(o.rows)]
        sensing = {plus: Bus.PLUS, minus: Bus.MINUS}
        points += [o.column_point(sensing.get(column, Bus.GROUND), column) for column in range(o.columns)]
        levels = [(Bus.DRIVE, voltage_v)]
        if o.scheme is Scheme.TRANSISTOR:
            points += [o.gate_point(Bus.GATE if row in rows else Bus.GROUND, row) for row in range(o.rows)]
            levels.insert(0, (Bus.GATE, o.gate_read_v))
        self._matrix.close_only(points)
        self._limit_drive(self._limits.current_a)
        with self._levels(levels):
            held = self._sources[Bus.DRIVE].read() if check else None
            first, second = self._sources[Bus.PLUS].read(), self._sources[Bus.MINUS].read()
        starved = held is not None and (not held.sound or abs(held.voltage_v - voltage_v) > _HELD * voltage_v)
        plus_a, plus_clipped = self._current(Bus.PLUS, first)
        minus_a, minus_clipped = self._current(Bus.MINUS, second)
        return Sensed(plus_a, minus_a, plus_clipped, minus_clipped, starved)

    def _current(self, bus: Bus, reading: Reading) -> tuple[float, bool]:
        """What flows from the column into the unit, and whether that is not the column's own current."""
        limit_a = self._limits.current_a
        if math.isnan(reading.current_a):
            if isinstance(self._sources[bus], Keithley2600B):  # its way to say: beyond the range, as a short is
                return limit_a, True
            raise DeviceError(f"{self._sources[bus].name}: answered a current that is not a number; check its set-up")
        return min(max(-reading.current_a, -limit_a), limit_a), not reading.sound

    def pulse(self, row: int, column: int, voltage_v: float) -> bool:
        """One pulse of `voltage_v`, row minus column, on one cell, under the bias scheme; True when it was clamped.

        Waits where the cell's last pulse was too short a time ago. Raises LimitError before anything moves; for a gate
        that is not up once it was raised, before the pulse.
        """
        o, write, what = self._options, self._options.write, f"cell ({row}, {column})"
        selection = select(o.scheme, (o.rows, o.columns), row, column)
        self._limits.check_pulse(voltage_v, self._pulse_limit_a, write.width_s, math.inf, what)
        if o.scheme is Scheme.TRANSISTOR:
            self._limits.check_gate(write.gate_v, f"gate of row {row}")
        early_s = 1.0 / self._limits.pulse_rate_hz - self._since_pulse_s(row, column)
        if early_s > 0.0:
            self._context.clock.sleep_s(early_s + _CLOCK_S)
        self._matrix.close_only(self._points(selection))
        self._limit_drive(self._pulse_limit_a)
        steps = [(bus, share * (write.gate_v if bus is Bus.GATE else voltage_v)) for bus, share in stages(o.scheme)]
        (bus, peak_v), rising = steps[-1], steps[:-1]
        base_v = dict(rising).get(bus, 0.0)
        with self._levels(rising):
            gate_up, period_s = self._gate_up(write.gate_v), self._since_pulse_s(row, column)
            self._limits.check_pulse(voltage_v, self._pulse_limit_a, write.width_s, period_s, what, energised=gate_up)
            self._quiet.discard(bus)
            try:
                clamped = pulse_by(self._sources[bus], peak_v, write.width_s, base_v)
            finally:
                self._pulsed_s[row, column] = self._context.clock.now_s()
            self._to(bus, base_v)
        return clamped

    def _since_pulse_s(self, row: int, column: int) -> float:
        """Since the cell's last pulse ended; since the rig was opened where none is known: one may have been then."""
        return self._context.clock.now_s() - self._pulsed_s.get((row, column), self._opened_s)

    def _gate_up(self, gate_v: float) -> bool:
        """Whether the gate's source is on and holds `gate_v`, both read back now; without transistors it is."""
        if self._options.scheme is not Scheme.TRANSISTOR:
            return True
        gate = self._sources[Bus.GATE]
        if not (gate_v > 0.0 and gate.is_on()):
            return False
        held = gate.read()
        return held.sound and abs(held.voltage_v - gate_v) <= _HELD * gate_v

    def _limit_drive(self, limit_a: float) -> None:
        """Compliance of the drive, which differs between readings and pulses."""
        if limit_a != self._drive_limit_a:
            self._sources[Bus.DRIVE].set_compliance(limit_a)
            self._drive_limit_a = limit_a

    def _points(self, selection: Selection) -> list[str]:
        o = self._options
        points = [o.row_point(bus, row) for row, bus in enumerate(selection.rows)]
        points += [o.column_point(bus, column) for column, bus in enumerate(selection.columns)]
        return points + [o.gate_point(bus, row) for row, bus in enumerate(selection.gates)]
