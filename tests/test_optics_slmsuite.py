"""The adapter to slmsuite, as far as it can be tested without slmsuite: what it refuses."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from drivers.optics.parts import make_slm
from drivers.optics.rig_options import Driven
from drivers.optics.slm import SpatialLightModulator
from drivers.optics.slm_slmsuite import SlmsuiteSlm, make_slmsuite
from pib_lab.clocks import VirtualClock
from pib_lab.device import DeviceContext
from pib_lab.errors import ConfigurationError, DeviceError

CONTEXT = DeviceContext("rig", 1, VirtualClock())
OPTIONS = {"vendor": "meadowlark", "shape": [1152, 1920], "settle_s": 0.01}


def test_it_is_a_panel_and_a_part_of_a_rig() -> None:
    """A protocol's `slm.driver = "slmsuite"` makes it; nothing is imported or connected yet."""
    made = make_slm(Driven.model_validate({"driver": "slmsuite"} | OPTIONS), CONTEXT, "rig.slm")
    assert isinstance(made, SlmsuiteSlm)
    assert isinstance(made, SpatialLightModulator)
    assert (made.shape, made.levels, made.settle_s) == ((1152, 1920), 256, 0.01)
    with pytest.raises(DeviceError, match="not open"):
        made.show(np.zeros((1152, 1920), np.uint16))
    made.close()


def test_a_missing_slmsuite_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the panel is opened."""
    monkeypatch.setitem(sys.modules, "slmsuite", None)
    with pytest.raises(DeviceError, match="pip install slmsuite, and install the maker's library"):
        make_slmsuite(OPTIONS, CONTEXT, "rig.slm").open()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"vendor": "meadowlerk"}, r"rig\.slm\.vendor.*did you mean 'meadowlark'"),
        ({"dump": [0, 256]}, r"rig\.slm\.dump.*levels 0 to 255"),
        ({"settle_s": 0.0}, r"rig\.slm\.settle_s"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], told: str) -> None:
    """With the path of the key."""
    with pytest.raises(ConfigurationError, match=told):
        make_slmsuite(OPTIONS | options, CONTEXT, "rig.slm")
