"""Drivers by name: whatever package registers an entry point in the group `pib_lab.drivers`."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any

from pib_lab.device import Device, DeviceContext
from pib_lab.errors import ConfigurationError, nearest

DRIVERS = "pib_lab.drivers"

Factory = Callable[[dict[str, Any], DeviceContext], Device]


def drivers() -> dict[str, importlib.metadata.EntryPoint]:
    """All drivers registered on this machine, by name."""
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=DRIVERS)}


def is_mock(factory: Factory) -> bool:
    """Whether a driver drives no hardware."""
    return bool(getattr(factory, "is_mock", False))


def is_digital(factory: Factory) -> bool:
    """Whether a driver computes and drives nothing (it says `is_digital = True`): it needs no guardian and no mock."""
    return bool(getattr(factory, "is_digital", False))


def is_real(factory: Factory) -> bool:
    """Whether a driver drives hardware."""
    return not (is_mock(factory) or is_digital(factory))


def find_driver(name: str, mock: bool, where: str) -> tuple[str, Factory]:
    """The driver `name`, or with `mock` the one that takes its place; returns its name and what builds the device.

    Raises ConfigurationError, which begins with the key's path `where`, for an unknown driver or one without a mock.
    """
    known = drivers()
    if name not in known:
        raise ConfigurationError(
            f"{where}.driver: {name!r} is unknown{nearest(name, known)} (known: {', '.join(sorted(known))})"
        )
    factory: Factory = known[name].load()
    if mock and is_real(factory):
        name = str(getattr(factory, "mock_driver", ""))
        if name not in known:
            raise ConfigurationError(f"{where}: --mock: driver {factory} names no mock to take its place")
        factory = known[name].load()
    return name, factory
