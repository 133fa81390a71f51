"""PyMeasure's Keithley2400 and Keithley2450, unmodified, through everything public that they set, get and do.

Over VISA (pyvisa-py) and a loopback socket. After each step the instrument's error queue is empty.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from drivers.emulators.circuit import Resistor
from drivers.emulators.latency import NONE
from drivers.emulators.scpi_status import Status
from drivers.emulators.smu_2400 import Keithley2400 as Emulated2400
from drivers.emulators.smu_2450 import Keithley2450 as Emulated2450
from pib_lab.clocks import VirtualClock
from tests.scpi_bench import LineServer

pytest.importorskip("pymeasure")

from pymeasure.instruments import Instrument, SCPIMixin
from pymeasure.instruments.keithley import Keithley2400, Keithley2450, buffer, keithley2400, keithley2450

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # what PyMeasure deprecates is still its surface

PLUMBING = {name for name in dir(Instrument) if not name.startswith("_")} - {"shutdown"}
"""What every PyMeasure instrument has, whatever it speaks to: adapter access, child channels, property factories."""


PUSHED: list[int] = []
"""All errors that an emulator has put in its queue since the last check: PyMeasure takes some out by itself."""


class Rig:
    """An emulated instrument on a socket and PyMeasure's driver for it."""

    def __init__(self, emulated: Any, driver: Any) -> None:
        self.emulated = emulated
        self._server = LineServer(emulated)
        self.driver = driver(
            self._server.address, visa_library="@py", read_termination="\n", write_termination="\n", timeout=2000
        )

    def check(self, what: str) -> None:
        """There has been no error, and none is left, by the instrument's truth and over the wire."""
        assert self.driver.check_errors() == [], what
        assert self.emulated.state()["errors"] == [], what
        assert PUSHED == [], what

    def renew(self) -> None:
        """Defaults, and no errors."""
        self.driver.reset()
        self.driver.clear()
        self.driver.check_errors()
        PUSHED.clear()

    def close(self) -> None:
        self.driver.adapter.close()
        self._server.close()


@pytest.fixture(scope="module", autouse=True)
def _watched() -> Iterator[None]:
    """Errors are recorded when they happen; PyMeasure's pauses between steps of a ramp pass at once."""
    push = Status.push

    def record(status: Status, code: int, message: str = "") -> None:
        PUSHED.append(code)
        push(status, code, message)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Status, "push", record)
        for module in (keithley2400, keithley2450):
            patch.setattr(module, "time", types.SimpleNamespace(sleep=lambda seconds: None))
        patch.setattr(buffer, "sleep", lambda seconds: None)
        yield


@pytest.fixture(scope="module")
def rig_2400() -> Iterator[Rig]:
    rig = Rig(Emulated2400(Resistor(1e4), VirtualClock(), 1, NONE), Keithley2400)
    yield rig
    rig.close()


@pytest.fixture(scope="module")
def rig_2450() -> Iterator[Rig]:
    rig = Rig(Emulated2450(Resistor(1e4), VirtualClock(), 1, NONE), Keithley2450)
    yield rig
    rig.close()


def properties(driver: type) -> list[str]:
    """Public properties by introspection."""
    return [
        name
        for name in dir(driver)
        if not name.startswith("_") and isinstance(inspect.getattr_static(driver, name), property)
    ]


def methods(driver: type) -> list[str]:
    """Public methods that say something to the instrument."""
    found = [name for name in dir(driver) if not name.startswith("_") and callable(getattr(driver, name, None))]
    own = {name for name in dir(SCPIMixin) if not name.startswith("_")}
    return [name for name in found if name in own or name not in PLUMBING]


def sourcing_current(driver: Any) -> None:
    driver.source_mode = "current"


def sourcing_voltage(driver: Any) -> None:
    driver.source_mode = "voltage"


def reading(driver: Any) -> None:
    driver.enable_source()


def wide_compliance(driver: Any) -> None:
    driver.compliance_current = 0.1


def manual_ohms(driver: Any) -> None:
    driver.resistance_mode_auto_enabled = False


def filled(driver: Any) -> None:
    """A trace buffer with voltage, current and resistance in it."""
    driver.resistance_mode_auto_enabled = False
    driver.write(":SENS:FUNC:ALL")
    driver.source_voltage = 1.0
    driver.enable_source()
    driver.config_buffer(4)
    driver.start_buffer()
    driver.wait_for_buffer()


Preparation = Callable[[Any], None] | None
BOOLEANS = (True, False)
SET_2400: dict[str, tuple[Preparation, tuple[Any, ...]]] = {
    "arm_count": (None, (1, 7, 2500)),
    "arm_input_line": (None, (1, 4)),
    "arm_output_event": (None, ("trigger_enter", "trigger_exit", "none")),
    "arm_output_line": (None, (1, 3)),
    "arm_source": (None, ("immediate", "trigger_link", "timer", "manual", "bus")),
    "arm_timer": (None, (0.001, 1.5, 99999.0)),
    "auto_output_off": (None, BOOLEANS),
    "auto_output_off_enabled": (None, BOOLEANS),
    "auto_zero": (None, BOOLEANS),
    "auto_zero_enabled": (None, BOOLEANS),
    "buffer_points": (None, (2, 1024)),
    "compliance_current": (None, (1e-6, 0.1)),
    "compliance_voltage": (None, (0.5, 20.0)),
    "current_nplc": (None, (0.01, 1.0, 10.0)),
    "current_range": (wide_compliance, (1.05e-6, 0.105)),
    "current_range_auto_enabled": (None, BOOLEANS),
    "display_enabled": (None, BOOLEANS),
    "filter_count": (None, (1, 100)),
    "filter_enabled": (None, BOOLEANS),
    "filter_state": (None, ("ON", "OFF")),
    "filter_type": (None, ("REP", "MOV")),
    "front_terminals_enabled": (None, BOOLEANS),
    "line_frequency": (None, (50, 60)),
    "line_frequency_auto": (None, BOOLEANS),
    "line_frequency_auto_enabled": (None, BOOLEANS),
    "output_off_state": (None, ("disconnected", "normal", "zero", "guard")),
    "repeat_filter_enabled": (None, BOOLEANS),
    "resistance_mode_auto_enabled": (None, BOOLEANS),
    "resistance_nplc": (None, (0.1, 10.0)),
    "resistance_range": (None, (2.1, 2.1e5, 2.1e8)),
    "resistance_range_auto_enabled": (None, BOOLEANS),
    "source_current": (sourcing_current, (-1e-3, 1e-6)),
    "source_current_range": (sourcing_current, (1.05e-6, 0.105)),
    "source_current_range_auto_enabled": (None, BOOLEANS),
    "source_delay": (None, (0.0, 0.25)),
    "source_delay_auto": (None, BOOLEANS),
    "source_delay_auto_enabled": (None, BOOLEANS),
    "source_enabled": (None, BOOLEANS),
    "source_mode": (None, ("current", "voltage")),
    "source_voltage": (None, (-1.5, 100.0)),
    "source_voltage_range": (None, (0.21, 210.0)),
    "source_voltage_range_auto_enabled": (None, BOOLEANS),
    "trigger_count": (None, (1, 2500)),
    "trigger_delay": (None, (0.0, 2.5)),
    "trigger_input_line": (None, (1, 4)),
    "trigger_output_event": (None, ("source", "delay", "sense", "none")),
    "trigger_output_line": (None, (2, 3)),
    "trigger_source": (None, ("immediate", "trigger_link")),
    "voltage_nplc": (None, (0.01, 10.0)),
    "voltage_range": (sourcing_current, (0.21, 21.0)),
    "voltage_range_auto_enabled": (None, BOOLEANS),
    "wires": (None, (4, 2)),
}
STATISTICS = [
    f"{form}_{what}" for form in ("mean", "max", "min", "std") for what in ("voltage", "current", "resistance")
]
LISTS = ("means", "maximums", "minimums", "standard_devs")
GET_2400: dict[str, Preparation] = {
    **dict.fromkeys([*STATISTICS, *LISTS, "buffer_data"], filled),
    **dict.fromkeys(("complete", "current", "error", "id", "next_error", "options", "resistance", "status", "voltage")),
}
CALLS_2400: dict[str, tuple[Preparation, Callable[[Any], Any]]] = {
    "apply_current": (None, lambda d: (d.apply_current(), d.apply_current(1e-3, 1.0))),
    "apply_voltage": (None, lambda d: (d.apply_voltage(), d.apply_voltage(20, 1e-3))),
    "auto_range_source": (None, lambda d: d.auto_range_source()),
    "auto_zero_once": (None, lambda d: d.auto_zero_once()),
    "beep": (None, lambda d: d.beep(440, 0.1)),
    "check_errors": (None, lambda d: d.check_errors()),
    "clear": (None, lambda d: d.clear()),
    "clear_trigger": (None, lambda d: d.clear_trigger()),
    "config_buffer": (None, lambda d: d.config_buffer(8, 0.1)),
    "disable_buffer": (None, lambda d: d.disable_buffer()),
    "disable_output_trigger": (None, lambda d: d.disable_output_trigger()),
    "disable_output_triggers": (None, lambda d: d.disable_output_triggers()),
    "disable_source": (None, lambda d: d.disable_source()),
    "enable_source": (None, lambda d: d.enable_source()),
    "is_buffer_full": (None, lambda d: d.is_buffer_full()),
    "measure_all": (reading, lambda d: d.measure_all()),
    "measure_current": (wide_compliance, lambda d: (d.measure_current(), d.measure_current(1, 1e-3, False))),
    "measure_resistance": (None, lambda d: (d.measure_resistance(), d.measure_resistance(1, 1e4, False))),
    "measure_voltage": (sourcing_current, lambda d: (d.measure_voltage(), d.measure_voltage(1, 2.0, False))),
    "output_trigger_on_external": (None, lambda d: d.output_trigger_on_external(2, "SENS")),
    "ramp_to_current": (sourcing_current, lambda d: d.ramp_to_current(1e-5)),
    "ramp_to_voltage": (None, lambda d: d.ramp_to_voltage(0.5)),
    "reset": (None, lambda d: d.reset()),
    "reset_buffer": (None, lambda d: d.reset_buffer()),
    "reset_data_format": (None, lambda d: d.reset_data_format()),
    "reset_trigger": (None, lambda d: d.reset_trigger()),
    "sample_continuously": (None, lambda d: d.sample_continuously()),
    "set_timed_arm": (None, lambda d: d.set_timed_arm(0.5)),
    "set_trigger_counts": (None, lambda d: (d.set_trigger_counts(2, 100), d.set_trigger_counts(100, 2))),
    "shutdown": (reading, lambda d: d.shutdown()),
    "start_buffer": (reading, lambda d: d.start_buffer()),
    "stop_buffer": (None, lambda d: d.stop_buffer()),
    "triad": (None, lambda d: d.triad(440, 0.1)),
    "trigger": (reading, lambda d: (d.trigger_on_bus(), d.start_buffer(), d.trigger())),
    "trigger_immediately": (None, lambda d: d.trigger_immediately()),
    "trigger_on_bus": (None, lambda d: d.trigger_on_bus()),
    "trigger_on_external": (None, lambda d: d.trigger_on_external(3)),
    "use_front_terminals": (None, lambda d: d.use_front_terminals()),
    "use_rear_terminals": (None, lambda d: d.use_rear_terminals()),
    "wait_for_buffer": (filled, lambda d: d.wait_for_buffer()),
}


def number_or_word(value: Any) -> Any:
    """How PyMeasure answers for what it set: properties without a map give numbers for ON and OFF."""
    return {"ON": 1.0, "OFF": 0.0}.get(value, value) if isinstance(value, str) else value


def set_and_get(rig: Rig, name: str, preparation: Preparation, values: tuple[Any, ...]) -> None:
    """Set each value and get it back, without an error."""
    rig.renew()
    if preparation is not None:
        preparation(rig.driver)
    for value in values:
        setattr(rig.driver, name, value)
        got = getattr(rig.driver, name)
        assert got == pytest.approx(number_or_word(value)) if isinstance(got, float) else got == value
    rig.check(name)


def test_the_tables_name_the_whole_surface_of_both_drivers() -> None:
    """No property or method of PyMeasure's classes is left out."""
    assert set(properties(Keithley2400)) == SET_2400.keys() | GET_2400.keys()
    assert set(methods(Keithley2400)) == CALLS_2400.keys()
    assert set(properties(Keithley2450)) == SET_2450.keys() | GET_2450.keys() | LEGACY_2450_PROPERTIES
    assert set(methods(Keithley2450)) == CALLS_2450.keys() | LEGACY_2450_CALLS.keys()


@pytest.mark.parametrize("name", SET_2400)
def test_2400_property_is_set_and_read_back(rig_2400: Rig, name: str) -> None:
    """Every property that can be set takes its values and gives them back."""
    set_and_get(rig_2400, name, *SET_2400[name])


@pytest.mark.parametrize("name", GET_2400)
def test_2400_property_is_read(rig_2400: Rig, name: str) -> None:
    """Every property that can only be read gives something."""
    rig_2400.renew()
    prepare = GET_2400[name]
    if prepare is not None:
        prepare(rig_2400.driver)
    assert getattr(rig_2400.driver, name) is not None
    if isinstance(inspect.getattr_static(Keithley2400, name), property):
        with pytest.raises((AttributeError, LookupError)):
            setattr(rig_2400.driver, name, 1)
    rig_2400.check(name)


@pytest.mark.parametrize("name", CALLS_2400)
def test_2400_method_is_called(rig_2400: Rig, name: str) -> None:
    """Every method is carried out."""
    rig_2400.renew()
    prepare, call = CALLS_2400[name]
    if prepare is not None:
        prepare(rig_2400.driver)
    call(rig_2400.driver)
    rig_2400.check(name)


def test_2400_reads_what_flows(rig_2400: Rig) -> None:
    """PyMeasure's current, voltage, resistance and measure_all are those of 1 V across 10 kOhm."""
    rig_2400.renew()
    driver = rig_2400.driver
    driver.source_voltage = 1.0
    driver.compliance_current = 1e-3
    assert driver.current == pytest.approx(1e-4, rel=1e-3)
    assert driver.voltage == pytest.approx(1.0, rel=1e-3)
    taken = driver.measure_all()
    assert taken["resistance"] == pytest.approx(1e4, rel=1e-3)
    assert taken["status"] & 1 << 13
    assert driver.resistance == pytest.approx(1e4, rel=1e-2)
    rig_2400.check("readings")


def test_2400_buffer_holds_what_was_measured(rig_2400: Rig) -> None:
    """config_buffer, start_buffer, wait_for_buffer, buffer_data and the statistics agree."""
    rig_2400.renew()
    filled(rig_2400.driver)
    data = rig_2400.driver.buffer_data.reshape(4, 5)
    assert rig_2400.driver.mean_current == pytest.approx(data[:, 1].mean(), rel=1e-5)
    assert rig_2400.driver.std_voltage == pytest.approx(data[:, 0].std(ddof=1), rel=1e-3, abs=1e-12)
    rig_2400.check("buffer")


def test_2400_shutdown_leaves_it_at_zero_and_off(rig_2400: Rig) -> None:
    """After shutdown the emulator's truth is: off, 0 V."""
    rig_2400.renew()
    rig_2400.driver.source_voltage = 5.0
    rig_2400.driver.enable_source()
    rig_2400.driver.shutdown()
    rig_2400.check("shutdown")
    state = rig_2400.emulated.state()
    assert (state["output"], state["level_v"]) == (False, 0.0)


OFF_STATES = ("HIMP", "NORM", "ZERO", "GUAR")
SET_2450: dict[str, tuple[Preparation, tuple[Any, ...]]] = {
    "buffer_points": (None, (10, 100_000)),
    "compliance_current": (None, (1e-6, 1.0)),
    "compliance_voltage": (None, (0.5, 21.0)),
    "current_filter_count": (None, (1, 100)),
    "current_filter_state": (None, ("ON", "OFF")),
    "current_filter_type": (None, ("REP", "MOV")),
    "current_nplc": (None, (0.01, 10.0)),
    "current_output_off_state": (None, OFF_STATES),
    "current_range": (None, (1e-6, 1.0)),
    "resistance_nplc": (None, (0.01, 10.0)),
    "resistance_range": (None, (2.0, 2e8)),
    "source_current": (sourcing_current, (-1e-3, 1e-6)),
    "source_current_delay": (None, (0.0, 0.5)),
    "source_current_delay_auto": (None, BOOLEANS),
    "source_current_range": (sourcing_current, (1e-6, 0.1)),
    "source_mode": (None, ("current", "voltage")),
    "source_voltage": (None, (-1.5, 100.0)),
    "source_voltage_delay": (None, (0.0, 0.5)),
    "source_voltage_delay_auto": (None, BOOLEANS),
    "source_voltage_range": (None, (0.2, 200.0)),
    "voltage_filter_count": (None, (1, 100)),
    "voltage_filter_type": (None, ("REP", "MOV")),
    "voltage_nplc": (None, (0.01, 10.0)),
    "voltage_output_off_state": (None, OFF_STATES),
    "voltage_range": (sourcing_current, (0.2, 200.0)),
    "wires": (None, (4, 2)),
}


def measured(driver: Any) -> None:
    """Something in the default buffer."""
    driver.enable_source()
    assert driver.current is not None


GET_2450: dict[str, Preparation] = {
    **dict.fromkeys([*STATISTICS, *LISTS], measured),
    **dict.fromkeys(("current", "voltage", "resistance"), reading),
    **dict.fromkeys(("complete", "error", "id", "next_error", "options", "source_enabled", "status")),
}
LEGACY_2450_PROPERTIES = {"buffer_data"}
CALLS_2450: dict[str, tuple[Preparation, Callable[[Any], Any]]] = {
    name: CALLS_2400[name]
    for name in (
        "apply_current",
        "apply_voltage",
        "auto_range_source",
        "beep",
        "check_errors",
        "clear",
        "disable_source",
        "enable_source",
        "measure_current",
        "measure_resistance",
        "measure_voltage",
        "ramp_to_current",
        "ramp_to_voltage",
        "reset",
        "shutdown",
        "stop_buffer",
        "triad",
        "use_front_terminals",
        "use_rear_terminals",
    )
} | {"trigger": (None, lambda d: d.trigger())}


def configured_2450(driver: Any) -> None:
    driver.write(":SENS:FUNC 'CURR'")
    driver.enable_source()
    driver.config_buffer(4)
    driver.write(":TRIG:COUN 4")  # PyMeasure sets a plain attribute of its 2450 here


LEGACY_2450_CALLS: dict[str, tuple[Preparation, Callable[[Any], Any]]] = {
    "config_buffer": (None, lambda d: d.config_buffer(8)),
    "disable_buffer": (None, lambda d: d.disable_buffer()),
    "is_buffer_full": (None, lambda d: d.is_buffer_full()),
    "reset_buffer": (None, lambda d: d.reset_buffer()),
    "start_buffer": (reading, lambda d: d.start_buffer()),
    "wait_for_buffer": (configured_2450, lambda d: (d.start_buffer(), d.wait_for_buffer(), d.buffer_data)),
}
"""The trace buffer of a 2400, for which PyMeasure asks that the 2450 be put into its 2400 command set."""


@pytest.mark.parametrize("name", SET_2450)
def test_2450_property_is_set_and_read_back(rig_2450: Rig, name: str) -> None:
    """Every property that can be set takes its values and gives them back, in the 2450's own SCPI."""
    set_and_get(rig_2450, name, *SET_2450[name])


@pytest.mark.parametrize("name", GET_2450)
def test_2450_property_is_read(rig_2450: Rig, name: str) -> None:
    """Every property that can only be read gives something, in the 2450's own SCPI."""
    rig_2450.renew()
    prepare = GET_2450[name]
    if prepare is not None:
        prepare(rig_2450.driver)
    if name in STATISTICS:
        # PyMeasure expects three numbers as of a 2400; a 2450 gives the one statistic of the buffer's readings
        with pytest.raises(TypeError):
            getattr(rig_2450.driver, name)
    else:
        assert getattr(rig_2450.driver, name) is not None
    rig_2450.check(name)


@pytest.mark.parametrize("name", CALLS_2450)
def test_2450_method_is_called(rig_2450: Rig, name: str) -> None:
    """Every method but those of the 2400's buffer is carried out, in the 2450's own SCPI."""
    rig_2450.renew()
    prepare, call = CALLS_2450[name]
    if prepare is not None:
        prepare(rig_2450.driver)
    call(rig_2450.driver)
    rig_2450.check(name)


def test_2450_reads_what_flows(rig_2450: Rig) -> None:
    """Current, voltage and resistance are those of 1 V across 10 kOhm."""
    rig_2450.renew()
    driver = rig_2450.driver
    driver.apply_voltage(compliance_current=1e-3)
    driver.source_voltage = 1.0
    driver.enable_source()
    driver.measure_current()
    assert driver.current == pytest.approx(1e-4, rel=1e-3)
    driver.measure_voltage()
    assert driver.voltage == pytest.approx(1.0, rel=1e-3)
    driver.measure_resistance()
    assert driver.resistance == pytest.approx(1e4, rel=1e-3)
    rig_2450.check("readings")


@pytest.mark.parametrize("name", LEGACY_2450_CALLS)
def test_2450_buffer_methods_work_in_the_2400_command_set(name: str) -> None:
    """As PyMeasure's documentation asks, the trace buffer is used with *LANG SCPI2400."""
    emulated = Emulated2450(Resistor(1e4), VirtualClock(), 1, NONE)
    emulated.set_state("language", "SCPI2400")
    rig = Rig(emulated, Keithley2450)
    PUSHED.clear()
    try:
        prepare, call = LEGACY_2450_CALLS[name]
        if prepare is not None:
            prepare(rig.driver)
        call(rig.driver)
        rig.check(name)
    finally:
        rig.close()
