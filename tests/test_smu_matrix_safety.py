"""The array behind source-measure units: limits, gates, protections, and the ways out of a long write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, SupportsIndex

import numpy as np
import pytest
from smu_bench import EASY, DirectTransport, Station

from drivers.chip.bias_schemes import Bus
from drivers.chip.profiles import Use
from drivers.chip.smu_matrix_chip import MemristorSmuMatrix, SmuMatrixUnit
from drivers.wire.dialects import Dialect
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.errors import Cancelled, DeviceError, LimitError
from pib_lab.unit import CancelToken

QUIET = {**EASY, "read_noise": 0.0, "telegraph_fraction": 0.0}
FULL = np.full((1, 4), 0.2, np.float32)


class Tape(list[str]):
    """The messages to one instrument, which are written on a tape of all instruments as well."""

    def __init__(self, name: str, all_of_them: list[tuple[str, str]]) -> None:
        super().__init__()
        self._name, self._all = name, all_of_them

    def append(self, message: str) -> None:
        """Note it twice."""
        super().append(message)
        self._all.append((self._name, message))


class Mortal:
    """A guard that dies when told so."""

    alive = True

    def require_alive(self) -> None:
        if not self.alive:
            raise DeviceError("the guardian has died")


class Taped(Station):
    """A station that keeps the order of messages over all instruments, under a guard."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.tape: list[tuple[str, str]] = []
        self.guard = Mortal()

    def connect(self, address: str, dialect: Dialect) -> DirectTransport:
        """With a tape."""
        transport = super().connect(address, dialect)
        transport.sent = Tape(address, self.tape)
        return transport

    def device(self) -> MemristorSmuMatrix:
        """Under the guard."""
        return MemristorSmuMatrix(self.options(), DeviceContext("chip", 1, self.clock, self.guard), self.connect)

    def first(self, instrument: str, *words: str, after: int = 0) -> int:
        """Where on the tape the first message with all these words is."""
        found = (
            at
            for at, (name, message) in enumerate(self.tape)
            if at >= after and name == instrument and all(word in message for word in words)
        )
        return next(found)


def _opened(**station: Any) -> tuple[Taped, SmuMatrixUnit]:
    made = Taped(**{"lines": (4, 4), "override": QUIET, **station})
    unit = made.device().unit(UnitRequest("unit", 4, 2))
    unit.open()
    made.bench.set_conductances(np.full((4, 4), 20e-6))
    return made, unit


def _rig(unit: SmuMatrixUnit) -> Any:
    with unit._session.link("unit") as rig:
        rig.energise()
        return rig


# Limits of the profile


def test_pulses_of_one_cell_keep_their_distance() -> None:
    """At 10 Hz the next pulse on the same cell waits a tenth of a second, and one on another cell does not."""
    station, unit = _opened(override={**QUIET, "pulse_rate_max_hz": 10.0})
    rig, clock = _rig(unit), station.clock
    clock.sleep_s(1.0)
    moments: list[tuple[float, float]] = []
    pulse = rig._sources[Bus.DRIVE].pulse

    def note(*arguments: float) -> bool:
        started_s = clock.now_s()
        clamped: bool = pulse(*arguments)
        moments.append((started_s, clock.now_s()))
        return clamped

    rig._sources[Bus.DRIVE].pulse = note
    for cell in ((0, 0), (0, 0), (1, 1), (0, 0)):
        rig.pulse(*cell, 0.6)
    (_, end_s), (again_s, last_s), (other_s, _), (third_s, _) = moments
    assert again_s - end_s >= 0.1
    assert again_s - end_s < 0.2
    assert other_s - last_s < 0.05
    assert third_s - last_s >= 0.1


def test_the_first_pulse_waits_as_if_there_had_been_one_before() -> None:
    """Right after opening nobody knows when the cell was pulsed last, so the first pulse comes after a period."""
    station, unit = _opened(override={**QUIET, "pulse_rate_max_hz": 0.5})
    rig, started_s = _rig(unit), station.clock.now_s()
    rig.pulse(0, 0, 0.6)
    assert station.clock.now_s() - started_s >= 1.9


@pytest.mark.parametrize(
    ("write", "message"),
    [
        ({"width_s": 2e-3}, "charge of a pulse"),
        ({"limit_v": 3.0, "threshold_v": 0.5}, "power"),
        ({"limit_v": 3.4, "threshold_v": 0.5}, "voltage of 3.4 V"),
        ({"gate_v": 4.5}, "gate voltage"),
    ],
)
def test_pulses_beyond_the_profile_are_refused_before_anything_is_connected(write: Any, message: str) -> None:
    """Charge, power, voltage and gate come from the profile, and a protocol that exceeds one is told so at once."""
    station = Station(lines=(4, 4), scheme="1t1r", override=QUIET, more={"write": write})
    with pytest.raises(LimitError, match=message):
        station.device().unit(UnitRequest("unit", 4, 2))


def test_a_lower_compliance_makes_room_for_voltage() -> None:
    """3 V at 2 mA is more power than a cell of chip B may get; at 0.5 mA it is not."""
    write = {"limit_v": 3.0, "compliance_a": 0.5e-3}
    device = Station(lines=(4, 4), scheme="1t1r", override=QUIET, more={"write": write}).device()
    assert device.unit(UnitRequest("unit", 4, 2)).spec.name == "unit"


def test_an_override_tightens_and_holds() -> None:
    """A lower write_max_v of the protocol refuses a ladder that goes beyond it."""
    with pytest.raises(LimitError, match="limit_v"):
        Station(lines=(4, 4), override={**QUIET, "write_max_v": 0.9}).device()


def test_without_transistors_bring_up_pulses_stay_below_what_writes_other_cells() -> None:
    """The profile forms at 5.5 V; half of that would write a whole row of a passive array."""
    passive, gated = (Station(lines=(4, 4), scheme=scheme, override=QUIET).device() for scheme in ("v/2", "1t1r"))
    assert 0.9999 < passive.electrical_limits(Use.FORMING).voltage_v < 1.0  # half of it is below the threshold
    assert gated.electrical_limits(Use.FORMING).voltage_v == 5.5


# Gate before drain


def _peaks(station: Taped) -> list[str]:
    """Messages that raise the drive, which is channel A of the 2602B, for a pulse."""
    return [message for name, message in station.tape if name == "2602b" and "delay(" in message]


def test_the_gate_goes_up_before_the_pulse_and_down_after_it() -> None:
    """On the wire: gate raised, gate measured, pulse, drive back at zero, gate at zero."""
    station, unit = _opened(scheme="1t1r")
    rig = _rig(unit)
    station.tape.clear()
    rig.pulse(0, 0, 0.9)
    up = station.first("2400", ":SOUR:VOLT:LEV 1.0")
    measured = station.first("2400", ":READ?", after=up)
    pulsed = station.first("2602b", "delay(", after=measured)
    down = station.first("2602b", "smua.source.levelv = 0.0", after=pulsed)
    assert station.first("2400", ":SOUR:VOLT:LEV 0.0", after=up) > down


def test_no_pulse_goes_out_while_the_gate_is_off() -> None:
    """Somebody switches the gate off at its front panel: the pulse is refused, and the drive never leaves zero."""
    station, unit = _opened(scheme="1t1r")
    rig, cells = _rig(unit), station.bench.state()["conductances"]
    station.instruments["2400"].switch_off()
    with pytest.raises(LimitError, match="gate"):
        rig.pulse(0, 0, 0.9)
    assert _peaks(station) == []
    assert station.bench.state()["conductances"] == cells


def test_no_pulse_goes_out_while_the_gate_is_not_held() -> None:
    """A gate that leaks pulls its source down to the limit of current: on, but not up."""
    station, unit = _opened(scheme="1t1r")
    rig = _rig(unit)
    gate = rig._sources[Bus.GATE]
    gate.set_compliance(10e-9)  # less than the bleeds of the bench take
    with pytest.raises(LimitError, match="gate"):
        rig.pulse(0, 0, 0.9)
    assert _peaks(station) == []
    assert gate.level() == 0.0


def test_a_sweep_of_one_cell_wants_its_gate_up() -> None:
    """Bring-up holds no level on a cell whose gate's source was switched off behind its back."""
    station = Taped(lines=(4, 4), scheme="1t1r", override=QUIET)
    probe: Any = station.device().probe(4, 4)
    probe.open()
    probe._energised()
    station.instruments["2400"].switch_off()
    with pytest.raises(LimitError, match="gate"):
        probe.sweep(0, 0, np.array([0.3, 0.6]), 1.0, 1e-4)
    probe.close()


def test_make_safe_lowers_the_drive_first_and_the_gate_last() -> None:
    """The gate's output goes off after every drain's."""
    station, unit = _opened(scheme="1t1r")
    unit.measure(FULL, cancel=CancelToken())
    station.tape.clear()
    assert unit.make_safe().safe
    gate_off = station.first("2400", ":OUTP OFF")
    for instrument, off in (("2602b", "smua.OUTPUT_OFF"), ("2602b", "smub.OUTPUT_OFF"), ("2450", ":OUTP OFF")):
        assert station.first(instrument, off) < gate_off
    unit.close()


# Opening, protections and the guard


def test_sources_found_on_go_down_in_order_and_before_any_relay_moves() -> None:
    """A gate and a drive left on by a program that died: drive down, gate down, and only then the matrix opens."""
    station = Taped(lines=(4, 4), scheme="1t1r", override=QUIET)
    device = station.device()
    left = device._open_rig()
    left.energise()
    left._sources[Bus.GATE].set_level(1.0)
    left._sources[Bus.DRIVE].set_level(0.2)
    station.tape.clear()
    device._open_rig()
    off = station.first("2602b", "smua.OUTPUT_OFF")
    assert any("levelv = 0.0" in message for name, message in station.tape[:off] if name == "2602b")
    gate_off = station.first("2400", ":OUTP OFF")
    assert off < gate_off < station.first("matrix", "channel.open")
    assert station.truly_on() == []


def test_over_voltage_protection_is_set_when_the_rig_opens() -> None:
    """Each model that has one is set to its lowest step that reaches the limit: 2 V on a 2450, 20 V on a 2400."""
    station, unit = _opened()
    assert station.instruments["2450"].state()["protection_v"] == 2.0
    assert station.instruments["2400"].state()["protection_v"] == 20.0
    unit.close()


def test_a_2450_that_drives_starts_no_pulse_under_a_dead_guard() -> None:
    """Its pulse is a sweep that switches the output on by itself."""
    station, unit = _opened(swapped=True)
    rig = _rig(unit)
    station.guard.alive = False
    with pytest.raises(DeviceError, match="guardian"):
        rig.pulse(0, 0, 0.9)
    assert not any(message.startswith(":INIT") for _, message in station.tape)


def test_outputs_that_are_on_already_are_used_under_a_guard_only() -> None:
    """A guard that dies between two measurements ends the next one before it drives anything."""
    station, unit = _opened()
    unit.measure(FULL, cancel=CancelToken())
    station.guard.alive = False
    station.tape.clear()
    with pytest.raises(DeviceError, match="guardian"):
        unit.measure(FULL, cancel=CancelToken())
    assert station.tape == []


# Cancelling a write


def _cancel_at(rig: Any, number: int, token: CancelToken) -> None:
    """The operator interrupts during pulse `number`."""
    given: Callable[..., bool] = rig.pulse
    count = 0

    def pulse(row: SupportsIndex, column: SupportsIndex, voltage_v: float) -> bool:
        nonlocal count
        count += 1
        if count == number:
            token.cancel()
        return given(row, column, voltage_v)

    rig.pulse = pulse


def test_a_write_stops_between_pulses() -> None:
    """Interrupted during the third pulse, it ends after it, with all sources at zero."""
    station, unit = _opened()
    token = CancelToken()
    unit.cancel_with(token)
    rig = _rig(unit)
    _cancel_at(rig, 3, token)
    with pytest.raises(Cancelled):
        unit.program(np.full((4, 2, 2), 30e-6, np.float32))
    assert unit.pulses().sum() == 3
    assert [source.level() for source in rig._sources.values()] == [0.0] * 4
    assert unit.make_safe().safe
    assert station.truly_on() == []


def test_what_a_cancelled_write_has_done_stays_known() -> None:
    """Cells pulsed since their last reading are read again before anyone is told what they hold."""
    station, unit = _opened()
    token = CancelToken()
    unit.cancel_with(token)
    _cancel_at(_rig(unit), 20, token)
    with pytest.raises(Cancelled):
        unit.program(np.full((4, 2, 2), 30e-6, np.float32))
    unit.cancel_with(CancelToken())
    held = unit.program(np.zeros((4, 2, 2), np.float32), np.zeros((4, 2, 2), np.bool_))
    true = np.array(station.bench.state()["conductances"]).reshape(4, 2, 2)
    np.testing.assert_allclose(held, true, atol=0.7e-6)  # cells that were not read again have relaxed since
    assert np.abs(true - 20e-6).max() > 2e-6
