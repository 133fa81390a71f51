"""The emulated bench: one chip's cells between lines, driven by the ports of several instruments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.chip.profiles import MemristorProfile, load_profile
from drivers.emulators.bench import Bench, BenchOptions, single_cells
from drivers.emulators.circuit import Drive, Mode
from drivers.mock.forming import CellDefects
from pib_lab.clocks import VirtualClock
from pib_lab.errors import ConfigurationError

QUIET = {"read_noise": 0.0, "faulty_cells": 0.0, "relaxation_siemens": 0.0, "relaxation_log_siemens": 0.0}


def _profile(**override: float) -> MemristorProfile:
    return load_profile("chip-b", {**QUIET, **override})


def _bench(rows: int, columns: int, options: BenchOptions | None = None, **override: float) -> Bench:
    return Bench(_profile(**override), rows, columns, VirtualClock(), 1, options)


def _hold(level_v: float, limit_a: float = 1e-2) -> Drive:
    return Drive(Mode.VOLTAGE, level_v, limit_a)


def _grid(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1e-6, 40e-6, (rows, columns))


def test_a_column_at_virtual_ground_sums_the_currents_of_the_rows_held() -> None:
    """The analog sum: I = sum of G V over the driven rows, less what the contacts take."""
    bench, grid = _bench(8, 4), _grid(8, 4)
    bench.set_conductances(grid)
    drive, sense = bench.port("A"), bench.port("B")
    bench.ground("H")
    contacts = [("A", f"row {i}") for i in (1, 2, 3)] + [("H", f"row {i}") for i in range(4, 9)]
    bench.connect([*contacts, ("B", "column 2"), ("H", "column 1"), ("H", "column 3"), ("H", "column 4")])
    drive.drive(_hold(0.2))
    sense.drive(_hold(0.0))
    assert sense.operating().current_a == pytest.approx(-0.2 * grid[:3, 1].sum(), rel=2e-3)
    assert drive.operating().current_a == pytest.approx(0.2 * grid[:3].sum(), rel=2e-3)


def test_floating_lines_carry_sneak_currents() -> None:
    """With the other lines left floating, more flows than through the selected cell: the series and parallel paths."""
    bench = _bench(2, 2)
    bench.set_conductances([[10e-6, 20e-6], [20e-6, 20e-6]])
    drive = bench.port("A")
    bench.ground("H")
    bench.connect([("A", "row 1"), ("H", "column 1")])
    drive.drive(_hold(0.01))  # where the cells are linear
    low_field = 1.0 / 1.02
    expected = (10e-6 + 20e-6 / 3) * low_field * 0.01
    assert drive.operating().current_a == pytest.approx(expected, rel=1e-3)


def test_bleeds_pull_floating_lines_to_ground() -> None:
    """With the matrix open, bleeds keep every line at 0 V."""
    bench = _bench(2, 2, BenchOptions(bleed_ohm=1e6))
    port = bench.port("A")
    port.drive(_hold(0.2))
    bench.connect([("A", "row 1")])
    bench.connect([])
    volts = bench.state()["volts"]
    assert volts["A"] == pytest.approx(0.2)
    assert volts["row 1"] == pytest.approx(0.0, abs=1e-9)


def test_the_current_limit_clamps_into_the_network() -> None:
    """A source at its limit forces that current; the voltage is what the cells make of it."""
    bench = _bench(1, 1, iv_cubic=0.0)
    bench.set_conductances([[20e-6]])
    port = bench.port("A")
    bench.ground("H")
    bench.connect([("A", "row 1"), ("H", "column 1")])
    port.drive(_hold(0.2, limit_a=1e-6))
    at = port.operating()
    assert at.limited
    assert (at.current_a, at.voltage_v) == (pytest.approx(1e-6), pytest.approx(0.05, rel=1e-3))
    port.drive(Drive(Mode.CURRENT, 1e-6, 0.2))
    at = port.operating()
    assert not at.limited
    assert at.voltage_v == pytest.approx(0.05, rel=1e-3)


def test_the_cells_bend_as_the_profile_says() -> None:
    """I = G V (1 + k (V / V_read)^2) / (1 + k)."""
    bench = _bench(1, 1, BenchOptions(contact_ohm=1e-3, threshold_v=2.0, write_v=3.0), iv_cubic=0.5)
    bench.set_conductances([[20e-6]])
    port = bench.port("A")
    bench.ground("H")
    bench.connect([("A", "row 1"), ("H", "column 1")])
    for volts in (0.05, 0.2, 0.6):
        port.drive(_hold(volts))
        expected = 20e-6 * volts * (1 + 0.5 * (volts / 0.2) ** 2) / 1.5
        assert port.operating().current_a == pytest.approx(expected, rel=1e-5)


def _selected(bench: Bench) -> list[tuple[str, str]]:
    rows, columns = bench.shape
    others = [("H", f"row {i}") for i in range(2, rows + 1)] + [("H", f"column {j}") for j in range(2, columns + 1)]
    return [("A", "row 1"), ("H", "column 1"), *others]


def test_a_positive_pulse_sets_and_a_negative_one_resets() -> None:
    """Beyond the threshold the selected cell moves and counts one pulse; at the read voltage nothing does."""
    bench = _bench(2, 1)
    bench.set_conductances([[20e-6], [20e-6]])
    port = bench.port("A")
    bench.ground("H")
    bench.connect(_selected(bench))
    port.drive(_hold(0.2))
    assert bench.state()["pulses"] == [[0], [0]]
    port.drive(_hold(0.9))
    port.drive(_hold(0.0))
    state = bench.state()
    assert state["conductances"][0][0] > 21e-6
    assert state["conductances"][1][0] == pytest.approx(20e-6)
    assert state["pulses"] == [[1], [0]]
    before = state["conductances"][0][0]
    port.drive(_hold(-0.9))
    port.drive(_hold(0.0))
    assert bench.state()["conductances"][0][0] < before - 1e-6


def test_a_pulse_between_two_readings_is_felt_however_short() -> None:
    """The clock need not move for a pulse to count: one at once, another for each decade beyond a millisecond."""
    clock = VirtualClock()
    bench = Bench(_profile(), 1, 1, clock, 1)
    port = bench.port("A")
    bench.ground("H")
    bench.connect(_selected(bench))
    port.drive(_hold(0.8))
    port.drive(_hold(0.0))
    assert bench.state()["pulses"] == [[1]]
    port.drive(_hold(0.8))
    clock.sleep_s(0.1)
    port.drive(_hold(0.0))
    assert bench.state()["pulses"] == [[4]]


def test_over_voltage_breaks_a_cell() -> None:
    """Beyond twice the write voltage the cell sticks near the top of the window, for good."""
    bench = _bench(1, 1)
    port = bench.port("A")
    bench.ground("H")
    bench.connect(_selected(bench))
    port.drive(_hold(2.5))
    port.drive(_hold(-0.9))
    state = bench.state()
    assert state["faults"] == [[2]]
    assert state["conductances"][0][0] > 37e-6


def test_with_gates_only_the_rows_whose_gate_is_up_conduct() -> None:
    """1T1R: a gate below its threshold, or floating on its bleed, cuts its row off."""
    bench = _bench(2, 1, BenchOptions(gates=True, bleed_ohm=1e9))
    bench.set_conductances([[20e-6], [20e-6]])
    drive, gate = bench.port("A"), bench.port("G")
    bench.ground("H")
    bench.connect([("A", "row 1"), ("A", "row 2"), ("H", "column 1"), ("G", "gate 2")])
    drive.drive(_hold(0.2))
    assert drive.operating().current_a == pytest.approx(0.0, abs=1e-9)
    gate.drive(_hold(2.5))
    assert drive.operating().current_a == pytest.approx(4e-6, rel=1e-2)
    assert gate.operating().current_a == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("weld", [("G", "row 1"), ("A", "gate 1")], ids=["same bus", "another bus"])
def test_a_gates_source_that_a_weld_leads_to_a_row_writes(weld: tuple[str, str]) -> None:
    """What is on a gate reaches no cell, except through a contact that should not be closed."""
    bench = _bench(1, 1, BenchOptions(gates=True))
    gate, _ = bench.port("G"), bench.port("A")
    bench.ground("H")
    sound = [("G", "gate 1"), ("H", "column 1")]
    bench.connect(sound)
    gate.drive(_hold(0.9))
    assert bench.state()["pulses"] == [[0]]
    bench.connect([*sound, ("A", "row 1"), weld])
    assert bench.state()["pulses"] == [[1]]


def test_a_cell_forms_when_level_and_gate_reach_its_forming_voltage() -> None:
    """Neither alone forms it; the pulse that does drives it no further; a full RESET leads it into the window."""
    options = BenchOptions(gates=True, write_v=1.0, defects=CellDefects(virgin=True))
    bench = _bench(1, 1, options)
    drive, gate = bench.port("A"), bench.port("G")
    bench.ground("H")
    bench.connect([("A", "row 1"), ("G", "gate 1"), ("H", "column 1")])

    def pulse(level_v: float, gate_v: float) -> float:
        for port, volts in ((gate, gate_v), (drive, level_v), (drive, 0.0), (gate, 0.0)):
            port.drive(_hold(volts))
        return float(bench.state()["conductances"][0][0])

    forming_v = float(bench.forming.forming_v[0])
    assert pulse(3.5, forming_v - 0.01) < 0.1e-6
    assert pulse(forming_v - 0.01, 3.5) < 0.1e-6
    assert pulse(-3.5, 3.5) < 0.1e-6
    assert pulse(3.5, forming_v + 0.01) >= 0.75 * 40e-6
    assert bench.state()["faults"] == [[0]]
    assert pulse(-1.0, 2.5) < 40e-6
    assert bench.state()["pulses"] == [[5]]


def test_noise_is_the_cells_own_and_of_the_seed() -> None:
    """Readings scatter by the profile's read noise; the same seed gives the same readings."""

    def readings() -> list[float]:
        bench, (port,) = single_cells(load_profile("chip-b", {"faulty_cells": 0.0}), VirtualClock(), 3)
        bench.set_conductances([[20e-6]])
        port.drive(_hold(0.2))
        return [port.operating().current_a for _ in range(300)]

    values = readings()
    assert np.std(values) / np.mean(values) == pytest.approx(0.02 * 0.5**0.5, rel=0.2)
    assert values == readings()


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        (lambda bench: bench.wire("A", "row 9"), "line 'row 9' does not exist"),
        (lambda bench: (bench.port("A"), bench.port("A")), "bus 'A' is taken"),
        (lambda bench: (bench.port("A"), bench.ground("A")), "bus 'A' carries an instrument"),
        (lambda bench: bench.set_conductances([[1.0]]), "2 rows of 2 numbers"),
        (lambda bench: bench.set_conductances("x"), "2 rows of 2 numbers"),
        (lambda bench: bench.strike("purple", 0.1, 0), "fault kind 'purple' does not exist"),
    ],
)
def test_wiring_that_cannot_be_is_refused(wire: object, message: str) -> None:
    """Unknown lines and buses that are taken are told as such."""
    assert callable(wire)
    with pytest.raises(ConfigurationError, match=message):
        wire(_bench(2, 2))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 5)), max_size=10),
    st.lists(
        st.tuples(st.sampled_from(list(Mode)), st.floats(-0.45, 0.45), st.floats(1e-9, 1e-3)), min_size=3, max_size=3
    ),
)
def test_any_wiring_obeys_kirchhoff(contacts: list[tuple[str, int]], drives: list[tuple[Mode, float, float]]) -> None:
    """Whatever is closed and driven: currents into the network and to ground add up to nothing, limits hold."""
    bench = _bench(3, 3, BenchOptions(threshold_v=1e3, write_v=1e4))
    bench.set_conductances(_grid(3, 3))
    lines = [f"row {i}" for i in (1, 2, 3)] + [f"column {j}" for j in (1, 2, 3)]
    ports = [bench.port(bus) for bus in "ABC"]
    bench.connect({(bus, lines[line]) for bus, line in contacts})
    for port, (mode, level, limit) in zip(ports, drives, strict=True):
        current = mode is Mode.CURRENT
        port.drive(Drive(mode, level * 1e-3 if current else level, 0.2 if current else limit))
    total, leaked = 0.0, sum(abs(volts) for volts in bench.state()["volts"].values()) * 1e-12
    for port, (mode, _, limit) in zip(ports, drives, strict=True):
        at = port.operating()
        total += at.current_a
        if mode is Mode.VOLTAGE:
            assert abs(at.current_a) <= limit * (1 + 1e-6) + 1e-12
        elif mode is Mode.CURRENT:
            assert abs(at.voltage_v) <= 0.2 * (1 + 1e-6) + 1e-12
    assert total == pytest.approx(0.0, abs=2 * leaked + 1e-10)
