"""An instrument, and what the lab hands to its driver: a device gives the units of the network.

A driver is a class that is built as `Driver(options, context)` and offers `Device`; see `drivers/template.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from pib_lab.unit import PhysicalUnit


@runtime_checkable
class Device(Protocol):
    """One instrument (or mock) with one link, which several units may share. Built as `Driver(options, context)`.

    A driver class says `is_mock = True` when it drives no hardware; a real one names in `mock_driver` the registered
    driver that takes its place under --mock. One that computes instead of driving anything says `is_digital = True`.
    """

    def unit(self, request: UnitRequest) -> PhysicalUnit:
        """The unit that will serve as one layer of the network. No I/O."""

    def close(self) -> None:
        """Let go of the link, after all units are closed. Idempotent."""


@runtime_checkable
class Clock(Protocol):
    """Time as the unit sees it: real for instruments, virtual for mocks, so that no test or mock run sleeps."""

    def now_s(self) -> float:
        """Seconds since an arbitrary origin; never goes back."""

    def sleep_s(self, duration_s: float) -> None:
        """Let `duration_s` pass."""


class Guard(Protocol):
    """Watches over outputs from outside the run. A driver asks it each time before it switches one on."""

    def require_alive(self) -> None:
        """Raise DeviceError unless somebody would switch the outputs off if this process died now."""


class Traffic(Protocol):
    """Keeps what goes over links, for finding out afterwards what an instrument did."""

    def record(self, address: str, way: str, data: bytes | str) -> None:
        """Note bytes that were "sent" or "got" at an address, or a text about them ("note"). Never raises."""


@dataclass(frozen=True, slots=True)
class DeviceContext:
    """What the lab gives to every driver: its name in the protocol, a seed for mocks, a clock, and a guard.

    guard: None for mocks and on test benches, where nothing has to be guarded. traffic: handed to every link of a real
    device; None when nobody asked for a record.
    """

    name: str
    seed: int
    clock: Clock
    guard: Guard | None = None
    traffic: Traffic | None = None

    def require_guard(self) -> None:
        """To be called before an output goes on. Raises DeviceError when its guard has died."""
        if self.guard is not None:
            self.guard.require_alive()


@dataclass(frozen=True, slots=True)
class UnitRequest:
    """What the protocol asks of a device for one unit."""

    name: str
    inputs: int
    outputs: int
    options: Mapping[str, Any] = field(default_factory=dict)
