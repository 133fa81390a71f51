"""Manual control: one device within its limits, guarded as in a run, off whatever happens."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_tools import call
from hypothesis import given
from hypothesis import strategies as st
from manual_bench import Process, protocol, served_station, until
from smu_bench import EASY, Station

from drivers.chip.profiles import load_profile
from drivers.controls import Control
from drivers.emulators import board
from drivers.wire.ownership import Claims
from pib_lab.client import Client
from pib_lab.errors import ConfigurationError, DeviceError, LimitError, LinkError
from pib_lab.events import MadeSafe
from pib_lab.manual import RECORD, Hands, ManualControl
from pib_lab.procedure_events import ProcedureEvent, ProcedureFinished, ProcedureStarted

SMU = "memristor-smu-matrix"
BOARD = {"rows": 16, "columns": 8}


@pytest.fixture
def station() -> Iterator[Station]:
    made = served_station()
    yield made
    made.close()


@pytest.fixture
def smu(station: Station, tmp_path: Path) -> Path:
    """A protocol of the station's instruments."""
    return protocol(tmp_path, SMU, station.options(), drive="150 mV", current="1 mA")


@pytest.fixture
def events() -> list[ProcedureEvent]:
    return []


@pytest.fixture
def hands(smu: Path, tmp_path: Path, events: list[ProcedureEvent]) -> Iterator[Hands]:
    """The station in a person's hands."""
    control = ManualControl(str(smu), "chip", overrides=[])
    with control.opened(control.new_folder(tmp_path / "runs"), events.append) as made:
        yield made


def do(hands: Hands, **message: Any) -> dict[str, Any]:
    """What must not be refused."""
    answer = hands.answer(message)
    assert answer["ok"], answer
    return answer


def refused(hands: Hands, **message: Any) -> str:
    answer = hands.answer(message)
    assert not answer["ok"]
    return str(answer["error"])


def control(answer: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in answer["controls"] if each["name"] == name)


def test_cell_is_read_by_hand(hands: Hands, station: Station) -> None:
    """Relays to a cell, sources on, a level, one measurement: its conductance as the bench knows it."""
    station.bench.set_conductances(np.full((4, 4), 20e-6))
    do(hands, do="set", name="row", value=2)
    do(hands, do="set", name="column", value=1)
    do(hands, do="switch", output="cell", on=True)
    answer = do(hands, do="switch", output="sources", on=True)
    assert answer["outputs"] == {"sources": True, "cell": True}
    answer = do(hands, do="set", name="drive", value=0.1)
    assert control(answer, "drive")["value"] == pytest.approx(0.1)
    readings = {each["name"]: each for each in do(hands, do="measure")["readings"]}
    assert readings["drive voltage"]["value"] == pytest.approx(0.1, rel=0.02)
    assert readings["cell (2, 1)"]["value"] == pytest.approx(20e-6, rel=0.1)


def test_nothing_is_on_until_it_is_switched_on(hands: Hands, station: Station) -> None:
    """Opening and choosing leave outputs off and relays open; a level and a measurement need sources that are on."""
    do(hands, do="set", name="row", value=3)
    do(hands, do="set", name="compliance", value=1e-4)
    assert station.truly_on() == []
    assert "sources on first" in refused(hands, do="set", name="drive", value=0.1)
    assert "sources on first" in refused(hands, do="measure")
    assert station.truly_on() == []


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("drive", 0.16, "drive: 0.16 V is not within -0.15 to 0.15 V"),
        ("drive", -1.0, "nothing was sent"),
        ("compliance", 2e-3, "compliance: 0.002 A is not within"),
        ("row", 4, "row: 4 "),
        ("row", 1.5, "not a whole number"),
        ("drive", math.nan, "not a number"),
        ("drive", "much", "not a number"),
        ("drve", 0.1, "did you mean 'drive'"),
    ],
)
def test_beyond_a_limit_nothing_is_sent(hands: Hands, station: Station, name: str, value: object, why: str) -> None:
    """The tighter of the protocol's limits and the profile's reading voltage; what is on stays as it is."""
    before = do(hands, do="switch", output="sources", on=True)
    assert why in refused(hands, do="set", name=name, value=value)
    after = do(hands, do="state")
    assert after["controls"] == before["controls"]


def test_profile_bounds_what_the_protocol_allows(station: Station, tmp_path: Path) -> None:
    """Without limits of its own a protocol allows the profile's reading voltage, never that of writes."""
    path = protocol(tmp_path, SMU, station.options())
    made = ManualControl(str(path), "chip", overrides=[])
    with made.opened(made.new_folder(tmp_path), lambda event: None) as hands:
        profile = load_profile("chip-b", EASY)
        assert control(hands.state(), "drive")["high"] == pytest.approx(profile.v_read_v)
        assert control(hands.state(), "compliance")["high"] == pytest.approx(profile.current_limit_a)


def test_another_cell_comes_with_sources_at_zero(hands: Hands, station: Station) -> None:
    """No relay moves under current: the level falls to zero first, and the operator sees it."""
    do(hands, do="switch", output="cell", on=True)
    do(hands, do="switch", output="sources", on=True)
    do(hands, do="set", name="drive", value=0.1)
    answer = do(hands, do="set", name="row", value=1)
    assert control(answer, "drive")["value"] == 0.0
    assert answer["outputs"]["cell"]


def test_what_it_does_is_kept(hands: Hands, tmp_path: Path) -> None:
    """Each message with its answer and the time, also what was refused."""
    do(hands, do="identify")
    refused(hands, do="set", name="drive", value=9.0)
    (record,) = (tmp_path / "runs").glob(f"*/{RECORD}")
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    assert lines[0]["told"] == {"do": "identify"}
    assert any("MODEL 2450" in name for name in lines[0]["answer"]["identity"].values())
    assert "nothing was sent" in lines[1]["answer"]["error"]


def test_words_that_are_no_command_are_refused(hands: Hands) -> None:
    """The answer names those that are."""
    for message in ({}, {"do": "write"}, {"do": "set", "name": "row"}, {"do": "switch", "output": "cell", "on": "yes"}):
        assert '"measure"' in refused(hands, **message)
    assert "no output 'cel'; did you mean 'cell'?" in refused(hands, do="switch", output="cel", on=True)


def test_leaving_makes_safe_and_says_so(
    station: Station, smu: Path, tmp_path: Path, events: list[ProcedureEvent]
) -> None:
    """Outputs and relays are off at the emulators, told as of a procedure; only the record is left in the folder."""
    made = ManualControl(str(smu), "chip", overrides=[])
    folder = made.new_folder(tmp_path / "runs")
    with made.opened(folder, events.append) as hands:
        do(hands, do="switch", output="cell", on=True)
        do(hands, do="switch", output="sources", on=True)
        do(hands, do="set", name="drive", value=0.1)
        assert len(station.truly_on()) > 4
    assert station.truly_on() == []
    assert isinstance(events[0], ProcedureStarted)
    assert isinstance(events[-1], ProcedureFinished)
    assert events[-1].safe
    (report,) = (event for event in events if isinstance(event, MadeSafe))
    assert set(report.confirmed) == {"drive", "plus", "minus", "bias", "matrix"}
    assert [path.name for path in folder.iterdir()] == [RECORD]


def _lose_the_2450(hands: Hands, station: Station) -> None:
    do(hands, do="switch", output="sources", on=True)
    station.servers["2450"].close()


def test_dead_link_is_reported_and_the_others_go_off(
    station: Station, smu: Path, tmp_path: Path, events: list[ProcedureEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be read back is NOT confirmed off; all others are off at the emulators."""
    monkeypatch.setattr("drivers.safe.execution.RETRY_S", 0.2)
    made = ManualControl(str(smu), "chip", overrides=[])
    with (
        pytest.raises(DeviceError, match="NOT confirmed off: plus"),
        made.opened(made.new_folder(tmp_path / "runs"), events.append) as hands,
    ):
        _lose_the_2450(hands, station)
    assert [name for name in station.truly_on() if not name.startswith("2450")] == []
    (report,) = (event for event in events if isinstance(event, MadeSafe))
    assert report.not_confirmed == ("plus",)


def test_device_that_a_run_holds_is_not_taken(station: Station, smu: Path, tmp_path: Path) -> None:
    """Manual control is for devices that nobody drives."""
    made = ManualControl(str(smu), "chip", overrides=[])
    claims = Claims()
    claims.claim([station.servers["2400"].address])
    try:
        with (
            pytest.raises(DeviceError, match="is in use by process"),
            made.opened(made.new_folder(tmp_path), lambda event: None),
        ):
            pass
    finally:
        claims.release()


def test_instrument_that_is_not_there_has_switched_nothing_on(tmp_path: Path) -> None:
    """The message says so, and that its state is unknown."""
    station = served_station()
    path = protocol(tmp_path, SMU, station.options())
    station.close()
    made = ManualControl(str(path), "chip", overrides=[])
    with (
        pytest.raises(LinkError, match="has switched nothing on there"),
        made.opened(made.new_folder(tmp_path), lambda event: None),
    ):
        pass


def test_board_is_driven_by_hand(tmp_path: Path) -> None:
    """Its outputs go on and off as the board reads them back; a row is driven within the reading voltage."""
    server = board.start(profile="ideal", override=BOARD, seed=5)
    options = {"address": server.address, "profile": "ideal", "override": BOARD}
    made = ManualControl(str(protocol(tmp_path, "memristor-board", options)), "chip", overrides=[])
    try:
        with made.opened(made.new_folder(tmp_path), lambda event: None) as hands:
            assert do(hands, do="identify")["identity"]["chip"] == "emulated-1"
            assert "outputs on first" in refused(hands, do="measure")
            assert do(hands, do="switch", output="outputs", on=True)["outputs"] == {"outputs": True}
            assert server.outputs()["row drivers"]
            do(hands, do="set", name="row", value=15)
            do(hands, do="set", name="drive", value=0.2)
            names = [each["name"] for each in do(hands, do="measure")["readings"]]
            assert names == ["pair 0 current", "row 15, pair 0 conductance"]
            assert "nothing was sent" in refused(hands, do="set", name="drive", value=0.21)
            assert do(hands, do="switch", output="outputs", on=False)["outputs"] == {"outputs": False}
            do(hands, do="switch", output="outputs", on=True)
        assert not any(server.outputs().values())
    finally:
        server.close()


def test_rig_shows_patterns_and_frames_by_hand(tmp_path: Path) -> None:
    """Dark until the light is on; a longer exposure is brighter; exposure and gray levels have limits."""
    path = protocol(tmp_path, "mock-optical-rig", {"profile": "ideal", "exposure_s": 1e-3, "exposure_max_s": 2e-3})
    made = ManualControl(str(path), "chip", overrides=[])

    def mean(hands: Hands) -> float:
        return float(do(hands, do="measure")["readings"][0]["value"])

    with made.opened(made.new_folder(tmp_path), lambda event: None) as hands:
        assert do(hands, do="state")["outputs"] == {"light": False}
        dark = mean(hands)
        do(hands, do="switch", output="light", on=True)
        do(hands, do="set", name="pattern", value="flat")
        lit = mean(hands)
        assert lit > dark
        do(hands, do="set", name="exposure", value=2e-3)
        assert mean(hands) > lit
        assert "exposure: 0.003 s is not within" in refused(hands, do="set", name="exposure", value=3e-3)
        assert "gray: 256" in refused(hands, do="set", name="gray", value=256)
        assert "none of dump, flat" in refused(hands, do="set", name="pattern", value="zigzag")
        assert do(hands, do="switch", output="light", on=False)["outputs"] == {"light": False}


def test_devices_that_are_not_there_or_offer_nothing_are_named(tmp_path: Path) -> None:
    """Before anything is opened, and without a folder."""
    with pytest.raises(ConfigurationError, match="did you mean 'rig'"):
        ManualControl("optical-digits", "rgi", overrides=[])
    with pytest.raises(ConfigurationError, match=r"hardware\.weights: its driver offers no manual control"):
        ManualControl("optical-digits", "weights", overrides=[])
    with pytest.raises(ConfigurationError, match="mocks have none"):
        ManualControl("optical-digits", "rig", overrides=[], traffic=True)
    result = call("manual", "optical-digits", "--out", tmp_path / "runs")
    assert result.exit_code == 2
    assert "several devices; say which: rig, weights" in result.output
    (tmp_path / "bad.toml").write_text("[hardware")
    assert "is not valid TOML" in call("manual", tmp_path / "bad.toml").output
    assert not (tmp_path / "runs").exists()


def test_another_profile_of_a_real_device_is_refused(smu: Path) -> None:
    """As in a run: --set never exceeds the chip's profile."""
    with pytest.raises(LimitError, match="profile"):
        ManualControl(str(smu), "chip", overrides=["hardware.chip.profile=ideal"])


def test_stop_from_outside_ends_the_process_safe(station: Station, smu: Path, tmp_path: Path) -> None:
    """A client's "safe", as the desktop's STOP and `pib-lab safe` send it, is told device by device; exit code 0."""
    with Process(smu, "chip", "--out", tmp_path / "runs") as process:
        opened = process.answer()
        assert not opened["mock"]
        process.ask(do="switch", output="sources", on=True)
        assert station.truly_on()
        with Client(Path(opened["folder"])) as client:
            assert "procedure" in client.send("safe")
            client.attach()
            found = [event for event in client.procedure_events(timeout_s=10.0) if isinstance(event, MadeSafe)]
        assert found[0].not_confirmed == ()
        assert process.answer()["safe"] is True
        assert process.wait() == 0
    assert station.truly_on() == []


def test_end_of_the_input_makes_safe(station: Station, smu: Path, tmp_path: Path) -> None:
    """A desktop that dies closes the pipe: outputs go off; what went over the links was kept as asked for."""
    with Process(smu, "--out", tmp_path / "runs", "--traffic") as process:
        folder = Path(process.answer()["folder"])
        process.ask(do="switch", output="sources", on=True)
        process.end_input()
        assert process.answer() | {"detail": ""} == {
            "did": "end",
            "ok": True,
            "safe": True,
            "confirmed": ["drive", "plus", "minus", "bias", "matrix"],
            "not_confirmed": [],
            "detail": "",
        }
        assert process.wait() == 0
    assert station.truly_on() == []
    assert "smua.source.output" in (folder / "traffic.jsonl").read_text()


def test_killed_process_leaves_the_guardian_to_switch_off(station: Station, smu: Path, tmp_path: Path) -> None:
    """As in a run: nothing of it is left on."""
    with Process(smu, "--out", tmp_path / "runs") as process:
        process.answer()
        process.ask(do="switch", output="sources", on=True)
        assert station.truly_on()
        process.process.kill()
        process.wait()
        assert until(lambda: not station.truly_on())


@given(low=st.floats(-1e6, 1e6), span=st.floats(0, 1e6), value=st.floats() | st.integers() | st.text() | st.booleans())
def test_control_lets_only_numbers_within_its_limits_through(low: float, span: float, value: object) -> None:
    """Whatever is asked for: what comes through lies within, to rounding, and all else raises."""
    limits = Control("level", low, "V", low, low + span)
    try:
        passed = limits.checked(value)
    except (LimitError, ConfigurationError):
        return
    slack = 1e-9 * max(abs(low), abs(low + span))
    assert isinstance(passed, float)
    assert low - slack <= passed <= low + span + slack
