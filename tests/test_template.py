"""The copy-me driver, installed as a third party would: a package of its own with an entry point."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from types import SimpleNamespace

import contract
import numpy as np
import pytest

import drivers.template
from pib_lab.capabilities import PullsBack
from pib_lab.clocks import VirtualClock
from pib_lab.device import DeviceContext, UnitRequest
from pib_lab.errors import ConfigurationError
from pib_lab.unit import CancelToken, PhysicalUnit

PACKAGE = "acme_photonics"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> importlib.metadata.EntryPoint:
    """The template, copied and renamed, in a site folder with the metadata that pip would have written."""
    source = Path(drivers.template.__file__).read_text(encoding="utf-8")
    (tmp_path / PACKAGE).mkdir()
    (tmp_path / PACKAGE / "__init__.py").write_text(source.replace("Echo", "Acme"), encoding="utf-8")
    info = tmp_path / f"{PACKAGE}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[pib_lab.drivers]\nacme = {PACKAGE}:AcmeDevice\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)
    return importlib.metadata.entry_points(group="pib_lab.drivers")["acme"]


def _context() -> DeviceContext:
    return DeviceContext("bench", 1, VirtualClock())


def test_a_third_partys_driver_is_found_by_its_entry_point(installed: importlib.metadata.EntryPoint) -> None:
    """The entry point leads to the copied class, not to the one shipped here."""
    device = installed.load()
    assert device.__module__ == PACKAGE
    assert device is not drivers.template.EchoDevice


def test_its_unit_measures(installed: importlib.metadata.EntryPoint) -> None:
    """The copy works as a unit: response = gain * drive @ weights."""
    unit = installed.load()({"gain": 3.0}, _context()).unit(UnitRequest("layer", 2, 1))
    assert isinstance(unit, PhysicalUnit)
    assert isinstance(unit, PullsBack)
    unit.open()
    unit.program(np.array([[0.5], [-0.25]], np.float32))
    made = unit.measure(np.array([[1.0, 1.0], [0.0, 1.0]], np.float32), cancel=CancelToken())
    np.testing.assert_allclose(made.values, [[0.75], [-0.75]])


def test_it_joins_the_contract_suite(installed: importlib.metadata.EntryPoint) -> None:
    """An installed driver is under contract without being listed anywhere."""
    assert "acme" in {case.driver for case in contract.cases()}


def test_a_misspelt_option_is_refused_with_the_right_name() -> None:
    """The message holds the key's path and the nearest right name."""
    with pytest.raises(ConfigurationError, match=r"hardware\.bench\.gian.*'gain'"):
        drivers.template.EchoDevice({"gian": 2.0}, _context())


def test_it_stays_short_enough_to_copy() -> None:
    """Under 80 lines, or nobody reads it to the end."""
    assert len(Path(drivers.template.__file__).read_text(encoding="utf-8").splitlines()) < 80


def test_its_unit_can_be_learned_with(installed: importlib.metadata.EntryPoint) -> None:
    """The gradient it pulls back is that of its response."""
    unit = installed.load()({}, _context()).unit(UnitRequest("layer", 3, 2))
    facts = SimpleNamespace(drive=np.eye(3, dtype=np.float32), weight=np.ones((3, 2), np.float32))
    np.testing.assert_allclose(unit.pullback(facts.drive, facts.weight), np.ones((3, 2)))
