"""A protocol can lower the limits of a chip that is really there, and never raise them."""

from __future__ import annotations

from typing import Any

import pytest

import pib_lab
from drivers.chip.limits import GATE_MAX_V
from drivers.chip.profiles import load_profile, load_real_profile
from pib_lab.errors import ConfigurationError, LimitError


@pytest.mark.parametrize("key", ["v_read_v", "current_limit_a"])
def test_a_limit_of_the_profile_is_only_lowered(key: str) -> None:
    """Half of it is taken, twice of it refused with what to do."""
    own = getattr(load_profile("chip-b"), key)
    assert getattr(load_real_profile("chip-b", {key: own / 2}), key) == own / 2
    with pytest.raises(LimitError, match="profile file of its own"):
        load_real_profile("chip-b", {key: own * 2})


@pytest.mark.parametrize("protocol", ["memristor-smu-matrix", "memristor-digits"])
def test_set_cannot_exceed_the_profile(protocol: str) -> None:
    """--set on the override table of a real chip is refused by the dry run, before anything is opened."""
    board: list[Any] = ["hardware.chip.driver=memristor-board", "hardware.chip.address=socket://127.0.0.1:1"]
    overrides = [*(board if protocol == "memristor-digits" else []), "hardware.chip.override.v_read_v=5"]
    with pytest.raises(LimitError, match="v_read_v"):
        pib_lab.open(protocol, overrides=overrides).check()


def test_no_gate_is_held_beyond_what_any_chip_takes() -> None:
    """A gate voltage beyond the cap is bad input."""
    overrides = ["hardware.chip.scheme=1t1r", f"hardware.chip.write.gate_v={GATE_MAX_V + 1}"]
    with pytest.raises(ConfigurationError, match="gate_v"):
        pib_lab.open("memristor-smu-matrix", overrides=overrides).check()
