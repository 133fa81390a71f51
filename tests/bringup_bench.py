"""A small mock chip with chosen defects, and a procedure run on it."""

from __future__ import annotations

from typing import Any

from drivers.bringup.catalogue import read_settings
from drivers.bringup.job import Job
from drivers.chip.mock_chip import MockMemristorChip
from drivers.chip.probe import ChipProbe
from pib_lab.clocks import VirtualClock
from pib_lab.device import DeviceContext
from pib_lab.findings import Check, Findings, Measured, Verdict
from pib_lab.unit import CancelToken

QUIET = {"faulty_cells": 0.0}


def mock_probe(
    shape: tuple[int, int] = (6, 6), override: dict[str, Any] | None = None, seed: int = 1, **defects: Any
) -> ChipProbe:
    """An open probe of a mock chip with these defects and no others."""
    options = {"serial": "bench", "override": QUIET | (override or {}), "defects": defects}
    probe = MockMemristorChip(options, DeviceContext("chip", seed, VirtualClock())).probe(*shape)
    probe.open()
    return probe


def bring_up(procedure: str, probe: ChipProbe, stored: dict[str, Measured] | None = None, **options: Any) -> Findings:
    """Run a procedure with these settings."""
    kind, settings = read_settings(procedure, options)
    return kind.run(Job(probe, lambda progress: None, CancelToken(), stored or {}), settings)


def check_of(findings: Findings, name: str) -> Check:
    """The check of that name."""
    return next(check for check in findings.checks if check.name == name)


def failed(findings: Findings) -> list[str]:
    """Names of the checks that failed."""
    return [check.name for check in findings.checks if check.verdict is Verdict.FAIL]
