"""Procedures over the real drivers of source-measure units and switch matrix, on emulated instruments and one chip."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from bringup_bench import bring_up, check_of, failed
from smu_bench import Station

from drivers.chip.probe import ChipProbe, Line, LineKind, SensesLines, SweepsCells
from drivers.emulators.crosspoints import Crosspoint
from drivers.emulators.latency import LIKE_REAL, NONE, Latency
from drivers.mock.forming import SHORTED_SIEMENS
from drivers.smu.interface import Reading
from drivers.smu.keithley_2450 import Keithley2450
from pib_lab.errors import LimitError
from pib_lab.findings import Verdict
from pib_lab.unit import CancelToken

QUIET = {"faulty_cells": 0.0, "step_device_to_device": 0.0}
WITH_BLEEDS = {"gate": "1 V", "bleed": "10 MΩ"}
"""Every line of the station has a bleed of 10 Mohm to ground."""
Contact = tuple[str, str]


class Broken(Station):
    """A station whose wiring has a fault."""

    fault: Callable[[list[Contact]], list[Contact]] = staticmethod(lambda contacts: contacts)

    def _wire(self, points: frozenset[Crosspoint]) -> None:
        super()._wire(points)
        self.bench.connect(self.fault(list(self.bench._switched)))


@contextmanager
def opened(
    scheme: str = "1t1r",
    fault: Callable[[list[Contact]], list[Contact]] | None = None,
    latency: Latency = NONE,
    cells_siemens: float = 20e-6,
    stuck: tuple[int, int] | None = None,
    **override: float,
) -> Iterator[ChipProbe]:
    """An open probe of 4 x 4 cells, half of the way up; at its end nothing is on. stuck: a cell that is a short."""
    station = Broken(lines=(4, 4), scheme=scheme, override=QUIET | override, latency=latency)
    if fault is not None:
        station.fault = fault  # type: ignore[method-assign]
    cells = np.full((4, 4), cells_siemens)
    if stuck is not None:
        cells[stuck] = SHORTED_SIEMENS
    station.bench.set_conductances(cells)
    probe = station.device().probe(4, 4)
    probe.open()
    yield probe
    assert probe.make_safe().safe
    probe.close()
    assert station.truly_on() == []


def test_a_sound_chip_passes_the_contact_check() -> None:
    """With sound wiring every check passes, gates included."""
    with opened() as probe:
        findings = bring_up("contact-check", probe, **WITH_BLEEDS)
    assert [check.verdict for check in findings.checks] == [Verdict.PASS] * 6


def test_a_passive_array_has_no_gates_to_test() -> None:
    """Without transistors the checks of gates are not tested, and all others pass."""
    with opened("v/2") as probe:
        findings = bring_up("contact-check", probe, **WITH_BLEEDS)
    assert findings.verdict is Verdict.INCOMPLETE
    assert check_of(findings, "gate leakage").verdict is Verdict.NOT_TESTED


@pytest.mark.parametrize("line", ["row 3", "column 2", "gate 4"])
def test_an_open_line_fails_continuity(line: str) -> None:
    """A line that its contact does not reach is found; an open gate shows as its row."""
    kind, number = line.split()
    with opened(fault=lambda contacts: [(bus, to) for bus, to in contacts if to != line]) as probe:
        findings = bring_up("contact-check", probe, **WITH_BLEEDS)
    assert failed(findings) == ["continuity"]
    named = f"{'row' if kind == 'gate' else kind} {int(number) - 1}: open"
    assert named in check_of(findings, "continuity").detail


@pytest.mark.parametrize("scheme", ["1t1r", "v/2"])
@pytest.mark.parametrize("cells_siemens", [20e-9, 20e-6])
@pytest.mark.parametrize("line", ["row 3"])
def test_sources_that_settle_slowly_accuse_no_sound_line(scheme: str, cells_siemens: float, line: str) -> None:
    """With the instruments' own latencies, virgin or formed cells and one that is a short, one open line is found and
    no other is suspected."""

    def cut(contacts: list[Contact]) -> list[Contact]:
        return [(bus, to) for bus, to in contacts if to != line]

    with opened(scheme, cut, LIKE_REAL, cells_siemens, stuck=(3, 3)) as probe:
        findings = bring_up("contact-check", probe, **WITH_BLEEDS)
    assert failed(findings) == ["continuity"]
    if scheme == "v/2" and cells_siemens > 1e-6:  # formed cells of the open line join those that cross it
        assert "mend that first" in check_of(findings, "shorts between neighbours").detail
    kind, number = line.split()
    check = check_of(findings, "continuity")
    assert check.detail.startswith(f"{kind} {int(number) - 1}: open")
    assert check.numbers["bad"] == 1


def test_bleeds_are_subtracted_and_what_is_left_of_them_widens_the_limits() -> None:
    """A gate's bleed of 10 Mohm at 1 V takes 100 nA: told beside a limit wider by its tolerance; ignored, it fails."""
    with opened() as probe:
        known = check_of(bring_up("contact-check", probe, **WITH_BLEEDS), "gate leakage")
        ignored = check_of(bring_up("contact-check", probe, gate="1 V"), "gate leakage")
    assert known.limits == pytest.approx({"most_a": 1e-9 + 0.05 * 100e-9, "bled_a": 100e-9})
    assert abs(known.numbers["worst_a"]) < 1e-9
    assert ignored.verdict is Verdict.FAIL
    assert ignored.numbers["worst_a"] == pytest.approx(100e-9, rel=0.01)


def test_waiting_for_a_current_to_settle_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A current that goes on drifting is read about fifty times at most, and is said not to have settled."""
    plain, readings = Keithley2450.read, itertools.count()

    def drifting(smu: Keithley2450) -> Reading:
        return replace(plain(smu), current_a=1e-6 * 2.0 ** (next(readings) % 9))

    with opened() as probe:
        assert isinstance(probe, SensesLines)
        monkeypatch.setattr(Keithley2450, "read", drifting)
        row = Line(LineKind.ROW, 1)
        reading = probe.line_current([row], 0.1, row, within_a=1e-9)
        monkeypatch.undo()
    assert not reading.settled
    assert next(readings) < 50


@pytest.mark.parametrize("kind", ["row", "column"])
def test_a_short_between_neighbours_is_found(kind: str) -> None:
    """Two neighbouring lines that touch fail the check of shorts, which names the first of them."""

    def short(contacts: list[Contact]) -> list[Contact]:
        return contacts + [(bus, f"{kind} 2") for bus, to in contacts if to == f"{kind} 1"]

    with opened(fault=short) as probe:
        findings = bring_up("contact-check", probe, **WITH_BLEEDS)
    assert "shorts between neighbours" in failed(findings)
    assert check_of(findings, "shorts between neighbours").detail.startswith(f"{kind} 0: shorted")


def test_cells_are_read_and_pulsed() -> None:
    """A map reads what the cells hold; pulses move one cell, and are counted."""
    with opened() as probe:
        assert probe.read_map(cancel=CancelToken()) == pytest.approx(np.full((4, 4), 20e-6), rel=0.1)
        findings = bring_up(
            "pulse-response",
            probe,
            sample=1,
            cycles=1,
            pulses=6,
            reads=1,
            set_level="0.95 V",
            reset_level="0.95 V",
            set_gate="1 V",
            reset_gate="1 V",
            width="1 ms",
        )
        assert findings.verdict is Verdict.PASS
        assert probe.pulses().sum() == 18
        assert np.count_nonzero(probe.pulses()) == 1


def test_loops_need_a_transistor_in_each_cell() -> None:
    """With transistors a loop shows switching; in a passive array one cell's current cannot be told from its row's."""
    with opened(step_siemens=40e-6) as probe:
        levels = {"set_level": "0.9 V", "reset_level": "0.9 V", "set_gate": "1 V", "reset_gate": "1 V"}
        findings = bring_up("iv-sweep", probe, sample=2, cycles=2, points=1, opening=0.1, **levels)
        assert findings.verdict is Verdict.PASS
    with opened("v/2") as probe:
        assert not isinstance(probe, SweepsCells)
        assert bring_up("iv-sweep", probe).verdict is Verdict.INCOMPLETE


def test_forming_beyond_the_profile_is_refused() -> None:
    """A profile that allows 1 V to form refuses 5 V, before anything is sent."""
    with opened(forming_max_v=1.0) as probe:
        with pytest.raises(LimitError, match="nothing was sent"):
            bring_up("form-cells", probe, gate_start="0.5 V", gate_max="1 V")
        assert probe.pulses().sum() == 0
