"""Drivers of the benchmarks' own, under the names of real ones: real drivers on emulators in the same thread."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from pib_lab import registry


@contextmanager
def in_place_of(driver: str, made: str) -> Iterator[None]:
    """Protocols that name `driver` get the class at "module:Name" instead, as long as this lasts."""
    entry = importlib.metadata.EntryPoint(driver, made, registry.DRIVERS)
    known = registry.drivers() | {driver: entry}
    with mock.patch.object(registry, "drivers", return_value=known):
        yield
