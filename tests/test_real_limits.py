"""All limits of a chip that is really there come from its profile; a protocol can lower them and never raise them."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from board_bench import Rig, VirtualBoard
from bringup_bench import bring_up, mock_probe
from hypothesis import given, settings
from hypothesis import strategies as st

import pib_lab
from drivers.board.crossbar_board import CrossbarBoard
from drivers.board.protocol import BoardLimits, Kind, Window
from drivers.chip.limits import GATE_MAX_A, GATE_MAX_V, ElectricalLimits
from drivers.chip.profiles import Use, electrical_limits, load_profile, load_real_profile, profile_names
from pib_lab.errors import LimitError

KEYS = [
    "v_read_v",
    "current_limit_a",
    "write_max_v",
    "forming_max_v",
    "gate_max_v",
    "cell_power_max_w",
    "pulse_charge_max_c",
    "pulse_rate_max_hz",
]
BOARD = ["hardware.chip.driver=memristor-board", "hardware.chip.address=socket://127.0.0.1:1"]


@pytest.mark.parametrize("key", KEYS)
def test_a_limit_of_the_profile_is_only_lowered(key: str) -> None:
    """Half of it is taken, a tenth more refused with what to do."""
    own = getattr(load_profile("chip-b"), key)
    assert getattr(load_real_profile("chip-b", {key: own / 2}), key) == own / 2
    with pytest.raises(LimitError, match="profile file of its own"):
        load_real_profile("chip-b", {key: own * 1.1})


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.sampled_from(KEYS), st.floats(0.01, 1.19)))
def test_no_override_leads_beyond_any_limit(scales: dict[str, float]) -> None:
    """Whatever is overridden, and together with whatever else: each use stays within its limits, or it is refused."""
    own = load_profile("chip-b")
    override = {key: getattr(own, key) * scale for key, scale in scales.items()}
    try:
        profile = load_real_profile("chip-b", override)
    except LimitError:
        assert max(scales.values()) > 1.0
        return
    for use in Use:
        pairs = zip(astuple(electrical_limits(profile, use)), astuple(electrical_limits(own, use)), strict=True)
        assert all(now <= limit for now, limit in pairs)


@pytest.mark.parametrize("protocol", ["memristor-smu-matrix", "memristor-digits"])
@pytest.mark.parametrize(("key", "value"), [("v_read_v", 5), ("forming_max_v", 9), ("pulse_charge_max_c", 1)])
def test_set_cannot_exceed_the_profile(protocol: str, key: str, value: float) -> None:
    """--set on the override table of a real chip is refused by the dry run, before anything is opened."""
    board: list[Any] = BOARD if protocol == "memristor-digits" else []
    with pytest.raises(LimitError, match=key):
        pib_lab.open(protocol, overrides=[*board, f"hardware.chip.override.{key}={value}"]).check()


@pytest.mark.parametrize(
    "change", ["hardware.chip.profile=ideal", "hardware.chip={ driver = 'memristor-smu-matrix', profile = 'ideal' }"]
)
def test_set_cannot_name_a_wider_profile(change: str) -> None:
    """--set leaves a real chip's profile alone; a mock's may be any."""
    with pytest.raises(LimitError, match="protocol file"):
        pib_lab.open("memristor-smu-matrix", overrides=[change])
    assert pib_lab.open("memristor-digits", overrides=["hardware.chip.profile=ideal"]).mock


def test_no_gate_is_held_beyond_what_any_chip_takes() -> None:
    """A gate voltage beyond the cap is beyond a limit, as on a board so behind a matrix, whatever the scheme."""
    for protocol, overrides in (
        ("memristor-smu-matrix", ["hardware.chip.write.gate_v=9"]),
        ("memristor-smu-matrix", ["hardware.chip.gate_read_v=9"]),
        ("memristor-digits", [*BOARD, "hardware.chip.gate_v=9"]),
    ):
        with pytest.raises(LimitError, match=r"gate_(read_)?v: gate voltage of 9 V"):
            pib_lab.open(protocol, overrides=overrides).check()


def test_a_boards_gate_stays_within_the_profile() -> None:
    """A word-line bias that some chips take and this one does not is refused by the dry run."""
    assert load_profile("chip-b").gate_max_v < 4.5 < GATE_MAX_V
    with pytest.raises(LimitError, match=r"gate_v: gate voltage of 4\.5 V"):
        pib_lab.open("memristor-digits", overrides=[*BOARD, "hardware.chip.gate_v=4.5"]).check()


def test_each_use_has_its_own_voltage() -> None:
    """Reading, writing and forming differ in the voltage, gates also in the current; reads have no cell's power."""
    p = load_profile("chip-b")
    uses = {use: electrical_limits(p, use) for use in Use}
    assert {use: limits.voltage_v for use, limits in uses.items()} == {
        Use.READING: p.v_read_v,
        Use.WRITING: p.write_max_v,
        Use.FORMING: p.forming_max_v,
        Use.GATES: p.gate_max_v,
    }
    assert uses[Use.GATES].current_a == GATE_MAX_A
    assert uses[Use.READING].power_w == np.inf
    assert uses[Use.WRITING] == ElectricalLimits(
        p.write_max_v, p.current_limit_a, p.cell_power_max_w, p.pulse_charge_max_c, p.pulse_rate_max_hz, p.gate_max_v
    )


@pytest.mark.parametrize("name", profile_names())
def test_a_profile_allows_what_its_chip_is_used_with(name: str) -> None:
    """Verify loops of a board, and the slow pulses of a source-measure unit, at a cell's own current."""
    p = load_profile(name)
    limits = electrical_limits(p, Use.WRITING)
    period_s = p.pulse_s + (p.verify_s if p.programming == "write-verify" else 0.0)
    limits.check_pulse(p.write_max_v, p.g_max_siemens * p.write_max_v, p.pulse_s, period_s, "loop")
    limits.check_train(p.current_limit_a, p.pulse_s, period_s, "board")
    limits.check_pulse(0.95, min(p.current_limit_a, 5e-3), 1e-3, np.inf, "source-measure unit")


# The board


def limited(bench: VirtualBoard, **pulses: float) -> CrossbarBoard:
    """The board behind the bench with these limits of pulses and no others, outputs on."""
    wide = {"voltage_v": np.inf, "current_a": np.inf}
    board = CrossbarBoard(bench.link, ElectricalLimits(0.2, 5e-3), 2.5, pulses=ElectricalLimits(**(wide | pulses)))
    board.use(Window(0, 4, 2))
    board.switch_on()
    return board


def held(rig: Rig) -> BoardLimits:
    """The limits in force on the board."""
    with rig.device.session.link("unit") as board:
        return BoardLimits.decode(board._link.request(Kind.LIMITS))


def test_a_board_is_told_all_limits_that_it_knows() -> None:
    """Voltage of pulses, charge, rate and gate are lowered on the board to the profile's, reads to theirs."""
    override = {"pulse_charge_max_c": 5e-9, "pulse_rate_max_hz": 2e5, "write_max_v": 3.0, "gate_max_v": 3.5}
    with Rig(profile="chip-b", override=override) as rig:
        now = held(rig)
    assert (now.drive_uv, now.column_na) == (200_000, 2_000_000)
    assert (now.pulse_mv, now.charge_fc, now.pulse_rate_hz, now.gate_mv) == (3000, 5_000_000, 200_000, 3500)


def test_a_limit_below_the_boards_unit_is_not_told_as_none() -> None:
    """The board knows no limit of 0: it holds its least one, the host the limit itself."""
    bench = VirtualBoard()
    board = limited(bench, pulse_rate_hz=0.2)
    assert BoardLimits.decode(bench.link.request(Kind.LIMITS)).pulse_rate_hz == 1
    with pytest.raises(LimitError, match="pulse rate"):
        board.pulse(0, 1, 2, 1.0, 1e-6, 1, 1.0)


def test_a_board_that_is_trained_on_does_not_form() -> None:
    """Its session is held to the voltage of writing; that of forming is only for bring-up."""
    with Rig(profile="chip-b") as rig:
        assert held(rig).pulse_mv == round(load_profile("chip-b").write_max_v * 1000)


@pytest.mark.parametrize(
    ("limit", "what"),
    [
        ({"power_w": 1e-3}, "power"),
        ({"charge_c": 4e-9}, "charge"),
        ({"pulse_rate_hz": 5e4}, "pulse rate"),
        ({"voltage_v": 2.5}, "voltage"),
        ({"gate_v": 2.4}, "gate"),
    ],
)
def test_a_pulse_beyond_the_profile_is_not_sent(limit: dict[str, float], what: str) -> None:
    """3 V, 1 mA, 1 us, 10 us apart: one limit below that refuses it, whatever the board itself allows."""
    bench = VirtualBoard()
    with pytest.raises(LimitError, match=what):
        limited(bench, **limit).pulse(0, 1, 2, 3.0, 1e-6, 1, 1e-5, 1e-3)
    assert bench.firmware.chip.array(0).pulses() == 0


def test_the_power_of_a_pulse_is_that_of_its_own_current() -> None:
    """What the gate lets through counts; without it all that the column may carry."""
    board = limited(VirtualBoard(), power_w=1e-3)
    assert board.pulse(0, 1, 2, 3.0, 1e-6, 1, 1e-5, 100e-6) == 1
    with pytest.raises(LimitError, match="power"):
        board.pulse(0, 1, 2, 3.0, 1e-6, 1, 1e-5)


@pytest.mark.parametrize(
    ("limit", "what"),
    [({"power_w": 6e-4}, "power"), ({"charge_c": 4e-9}, "charge"), ({"pulse_rate_hz": 5e4}, "pulse rate")],
)
def test_a_write_beyond_the_profile_is_not_sent(limit: dict[str, float], what: str) -> None:
    """The board's verify loop may take at least 4 V on 40 uS, 5 mA for 1 us, a pulse each 11 us."""
    bench = VirtualBoard()
    board = limited(bench, **limit)
    with pytest.raises(LimitError, match=what):
        board.write(0, np.ones((4, 4), np.bool_), np.full(16, 20_000_000), None, 3)
    assert bench.firmware.chip.array(0).pulses() == 0


def test_a_lower_voltage_of_writing_takes_the_power_of_a_write_down() -> None:
    """With 3 V told to the board its loop stays within 0.6 mW."""
    board = limited(VirtualBoard(), power_w=6e-4, voltage_v=3.0)
    assert board.write(0, np.ones((4, 4), np.bool_), np.full(16, 20_000_000), None, 3).pulses.any()


# The mock chip


def test_the_mock_is_brought_up_within_its_profile() -> None:
    """The shipped forming is refused before the first pulse where the profile has a lower limit."""
    probe = mock_probe((2, 2), {"forming_max_v": 4.9}, virgin=True)
    assert probe.limits.voltage_v == 4.9
    with pytest.raises(LimitError, match="forming: voltage of 5 V"):
        bring_up("form-cells", probe)
    assert probe.pulses().sum() == 0
