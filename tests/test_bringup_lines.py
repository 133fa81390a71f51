"""The contact check finds each fault of a line, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from bringup_bench import bring_up, check_of, failed, mock_probe

from drivers.chip.mock_probe import MockProbe
from drivers.chip.probe import LineReading, SensesLines
from pib_lab.clocks import VirtualClock
from pib_lab.errors import ConfigurationError, LimitError
from pib_lab.findings import Verdict


@pytest.mark.parametrize("virgin", [True, False])
def test_a_good_chip_passes(virgin: bool) -> None:
    """A sound chip passes every check of its lines, virgin or formed."""
    findings = bring_up("contact-check", mock_probe(virgin=virgin))
    assert [check.verdict for check in findings.checks] == [Verdict.PASS] * 6


@pytest.mark.parametrize(
    ("defect", "check", "named"),
    [
        ({"open_rows": [3]}, "continuity", "row 3: open"),
        ({"open_columns": [2]}, "continuity", "column 2: open"),
        ({"open_gates": [1]}, "continuity", "row 1: open"),
        ({"shorted_rows": [4]}, "shorts between neighbours", "row 4: shorted"),
        ({"shorted_columns": [0]}, "shorts between neighbours", "column 0: shorted"),
        ({"leaky_rows": [5]}, "leakage", "row 5: leaks"),
        ({"leaky_columns": [1]}, "leakage", "column 1: leaks"),
        ({"leaky_gates": [2]}, "gate leakage", "gate 2: leaks"),
    ],
)
def test_each_fault_fails_its_own_check_alone(defect: dict[str, Any], check: str, named: str) -> None:
    """A fault of a line fails one check, which names the line; all others pass."""
    findings = bring_up("contact-check", mock_probe(virgin=True, **defect))
    assert failed(findings) == [check]
    assert check_of(findings, check).detail.startswith(named)


def test_what_a_device_cannot_test_is_neither_passed_nor_failed() -> None:
    """On a device that senses no single lines every check says that it was not tested, and so does the verdict."""
    probe = mock_probe()

    class Plain:
        serial, shape, limits = probe.serial, probe.shape, probe.limits

    assert not isinstance(Plain(), SensesLines)
    findings = bring_up("contact-check", Plain())  # type: ignore[arg-type]  # all that is looked at
    assert findings.verdict is Verdict.INCOMPLETE
    assert {check.verdict for check in findings.checks} == {Verdict.NOT_TESTED}


def test_a_current_that_never_settles_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line whose current goes on changing is named, and neither passed nor failed."""
    probe, plain = mock_probe(virgin=True), MockProbe.line_current

    def restless(*arguments: Any, **options: Any) -> LineReading:
        return replace(plain(*arguments, **options), current_a=1.0, settled=False)

    monkeypatch.setattr(MockProbe, "line_current", restless)
    check = check_of(bring_up("contact-check", probe), "leakage")
    assert check.verdict is Verdict.NOT_TESTED
    assert "never settled" in check.detail


def test_levels_beyond_the_limits_are_refused_before_anything_is_sent() -> None:
    """A gate voltage beyond the chip's limit raises LimitError, and no time has passed on the chip."""
    probe = mock_probe()
    with pytest.raises(LimitError, match="gate voltage of 9 V"):
        bring_up("contact-check", probe, gate="9 V")
    clock = probe._clock  # type: ignore[attr-defined]
    assert isinstance(clock, VirtualClock)
    assert clock.now_s() == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 0.1}, "procedure.level: 0.1 has no unit"),
        ({"level": "1 A"}, "procedure.level"),
        ({"levl": "0.1 V"}, "did you mean 'level'"),
        ({"level": "-1 V"}, "greater than or equal to 0"),
    ],
)
def test_settings_are_checked(options: dict[str, Any], message: str) -> None:
    """A setting without a unit, of a wrong one, negative or misspelt is refused with its path."""
    with pytest.raises(ConfigurationError, match=message):
        bring_up("contact-check", mock_probe(), **options)


def test_defects_must_be_on_the_array() -> None:
    """A mock's defect on a line that does not exist is refused by name."""
    with pytest.raises(ConfigurationError, match=r"defects\.open_rows: \[6\] is not on an array of 6 x 6"):
        mock_probe(open_rows=[6])
