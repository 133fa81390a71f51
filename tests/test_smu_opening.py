"""Source-measure units before they are used: what is found on goes down first, and nothing goes on unguarded."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from smu_bench import DirectTransport, smu_2400, smu_2450, smu_2602b

from drivers.chip.limits import ElectricalLimits
from drivers.smu.base import unguarded
from drivers.smu.interface import Sweeps
from drivers.smu.keithley_2400 import Keithley2400
from drivers.smu.keithley_2450 import Keithley2450
from drivers.smu.keithley_2600b import Keithley2600B
from pib_lab.errors import DeviceError

LIMITS = ElectricalLimits(voltage_v=2.0, current_a=10e-3)
_RESET = re.compile(r"\*RST|smua\.reset\(\)")
_LEVEL = re.compile(r"(?::SOUR:VOLT:LEV|:SOUR:VOLT|smua\.source\.levelv =) (-?[0-9.]+(?:E[+-]\d+)?)", re.IGNORECASE)

Make = Callable[[Callable[[], None]], Any]


def _transport(emulator: Callable[[], Any]) -> tuple[DirectTransport, Any]:
    instrument, _, clock = emulator()
    return DirectTransport(instrument), clock


@pytest.fixture(params=["2400", "2450", "2602B"])
def made(request: pytest.FixtureRequest) -> tuple[DirectTransport, Make]:
    """A transport to an emulator, and what makes a driver on it with a guard."""
    models: dict[str, tuple[Callable[[], Any], Callable[..., Any]]] = {
        "2400": (smu_2400, lambda link, clock, guard: Keithley2400(link, LIMITS, clock, guard=guard)),
        "2450": (smu_2450, lambda link, clock, guard: Keithley2450(link, LIMITS, clock, guard=guard)),
        "2602B": (smu_2602b, lambda link, clock, guard: Keithley2600B(link, LIMITS, clock, "a", guard=guard)),
    }
    emulator, build = models[request.param]
    transport, clock = _transport(emulator)
    return transport, lambda guard: build(transport, clock, guard)


def _on(smu: Any, level_v: float = 0.0) -> Any:
    smu.prepare()
    smu.source_voltage(1e-3, level_range_v=2.0, measure_range_a=1e-3)
    smu.switch(True)
    smu.set_level(level_v)
    return smu


def test_an_output_found_on_is_brought_down_before_the_reset(made: tuple[DirectTransport, Make]) -> None:
    """Left at 1 V by somebody: levels fall in small steps to zero, the output is read back off, then it is reset."""
    transport, make = made
    _on(make(unguarded), 1.0)
    transport.sent.clear()
    make(unguarded).prepare()
    reset = next(at for at, message in enumerate(transport.sent) if _RESET.fullmatch(message))
    before = transport.sent[:reset]
    levels = [float(found[1]) for message in before if (found := _LEVEL.fullmatch(message))]
    assert len(levels) == 20
    assert levels == sorted(levels, reverse=True)
    assert levels[0] == pytest.approx(0.95)
    assert levels[-1] == 0.0
    off = next(at for at, message in enumerate(before) if "OUTP OFF" in message or "OUTPUT_OFF" in message)
    assert any(message in (":OUTP?", "print(smua.source.output)") for message in before[off:])
    assert not any(transport.instrument.outputs().values())


def test_an_output_found_off_is_reset_at_once(made: tuple[DirectTransport, Make]) -> None:
    """No level is sent to an instrument that is off."""
    transport, make = made
    make(unguarded).prepare()
    assert not any(_LEVEL.fullmatch(message) for message in transport.sent)


def test_an_output_that_stays_on_is_never_reset(made: tuple[DirectTransport, Make]) -> None:
    """An output that reads back on after it was switched off ends prepare(), with its levels at zero."""
    transport, make = made
    _on(make(unguarded), 1.0)
    smu = make(unguarded)
    smu._say_output = lambda on: None
    transport.sent.clear()
    with pytest.raises(DeviceError, match="reads back on"):
        smu.prepare()
    assert not any(_RESET.fullmatch(message) for message in transport.sent)


def test_old_errors_do_not_hinder_the_descent(made: tuple[DirectTransport, Make]) -> None:
    """What another program left in the error queue is not taken for a refusal."""
    transport, make = made
    _on(make(unguarded), 0.5)
    transport.instrument.execute(
        ":NO:SUCH:COMMAND" if "2602" not in transport.instrument.model else "no.such.command()"
    )
    make(unguarded).prepare()
    assert not any(transport.instrument.outputs().values())


class _Guard:
    """A guard that dies when told so."""

    alive = True

    def __call__(self) -> None:
        if not self.alive:
            raise DeviceError("the guardian has died")


def test_no_output_goes_on_without_its_guard(made: tuple[DirectTransport, Make]) -> None:
    """A dead guard keeps the output off, and the instrument is not even asked to switch on."""
    transport, make = made
    guard = _Guard()
    smu = _on(make(guard))
    smu.switch(False)
    guard.alive = False
    transport.sent.clear()
    with pytest.raises(DeviceError, match="guardian"):
        smu.switch(True)
    assert transport.sent == []
    smu.switch(False)


def test_no_sweep_goes_round_the_guard(made: tuple[DirectTransport, Make]) -> None:
    """With the guard dead and the output off behind the driver's back, no sweep of any model lets it go on."""
    transport, make = made
    guard = _Guard()
    smu = _on(make(guard))
    assert isinstance(smu, Sweeps)
    guard.alive = False
    transport.instrument.switch_off()
    with suppress(DeviceError):  # some models refuse to measure
        smu.sweep([0.1, 0.2], 1e-3)
    assert not any(transport.instrument.outputs().values())


def test_a_level_rises_no_further_once_the_guard_is_dead(made: tuple[DirectTransport, Make]) -> None:
    """An output that is on stays at its level, whichever way another one is asked for, and can still go to zero."""
    transport, make = made
    guard = _Guard()
    smu = _on(make(guard), 0.1)
    guard.alive = False
    sent = len(transport.sent)
    for rise in (lambda: smu.set_level(0.2), lambda: smu.ramp_to(-0.1, 0.05)):
        with pytest.raises(DeviceError, match="the guardian has died"):
            rise()
    assert not any("0.2" in message or "-" in message for message in transport.sent[sent:])
    smu.set_level(0.0)
    assert smu.level() == 0.0


def test_a_2450_starts_no_sweep_without_its_guard() -> None:
    """Its trigger model is not initiated, for that alone would switch the output on."""
    transport, clock = _transport(smu_2450)
    guard = _Guard()
    smu = _on(Keithley2450(transport, LIMITS, clock, guard=guard))
    guard.alive = False
    with pytest.raises(DeviceError, match="guardian"):
        smu.sweep([0.1, 0.2], 1e-3)
    assert not any(message.startswith(":INIT") for message in transport.sent)
