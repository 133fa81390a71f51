"""How a lab opens its devices so that their outputs go off again whatever happens, and how it commands them off."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from drivers.safe.commands import Guarded
from drivers.safe.execution import carry_out_all
from drivers.safe.guardian import Guardian
from drivers.wire.ownership import Claims
from pib_lab.assembly import make_units
from pib_lab.device import Clock, Device, Guard
from pib_lab.errors import DeviceError, PibError
from pib_lab.experiment import Experiment
from pib_lab.registry import Factory, is_mock
from pib_lab.unit import PhysicalUnit, SafeReport
from pib_lab.upkeep import switch_off


class Watch:
    """The guardian of one opened lab. It is let go only when every unit has been confirmed off."""

    def __init__(self, folder: Path) -> None:
        self.guardian = Guardian(folder)
        self._claims = Claims()
        self._in_doubt: set[str] = set()

    def begin(self, devices: Mapping[str, Device]) -> None:
        """Claim every device, start the guardian and tell it of them, before one is opened. Raises DeviceError."""
        actions = [action for device in guarded(devices).values() for action in device.safe_actions()]
        self._claims.claim(action.address for action in actions)
        self.guardian.start(self._claims.descriptors)
        for action in actions:
            self.guardian.register(action)

    def opening(self, unit: str) -> None:
        """From now on `unit` may have outputs on."""
        self._in_doubt.add(unit)

    def confirmed(self, unit: str) -> None:
        """All outputs of `unit` were read back off, for the last time."""
        self._in_doubt.discard(unit)

    def end(self) -> None:
        """After all links are closed: let the guardian go, or let it do what the run could not confirm."""
        with contextlib.suppress(DeviceError):  # it has died: the run's own report says what is in doubt
            if self._in_doubt:
                self.guardian.act(f"the run did not confirm all outputs of {', '.join(sorted(self._in_doubt))} off")
        self.guardian.close()
        self._claims.release()


def guarded(devices: Mapping[str, Device]) -> dict[str, Guarded]:
    """The devices that say beforehand how they are made safe, by name."""
    return {name: device for name, device in devices.items() if isinstance(device, Guarded)}


def unguarded(factories: Mapping[str, Factory]) -> list[str]:
    """A warning for each real device whose driver does not say how it is made safe."""
    return [
        f"hardware.{name}: its driver offers no safe_actions, so the guardian cannot switch it off if the run dies"
        for name, factory in factories.items()
        if not is_mock(factory) and not hasattr(factory, "safe_actions")
    ]


@contextlib.contextmanager
def opened(
    experiment: Experiment, factories: Mapping[str, Factory], clock: Clock, folder: Path | None
) -> Iterator[tuple[list[PhysicalUnit], Guard | None]]:
    """Open in order, real devices under a guardian; on any exit make safe, then close in reverse.

    Gives the units and the guard. folder: where the guardian writes what it did; None for mocks, which need none.
    Raises DeviceError in the place of an error after which outputs were not confirmed off.
    """
    watch = None if folder is None else Watch(folder)
    devices, units = make_units(experiment, factories, clock, watch.guardian if watch else None)
    doubtful: list[str] = []

    def off(unit: PhysicalUnit) -> None:
        report = switch_off(unit)
        doubtful.extend(f"{report.unit} ({output})" for output in report.not_confirmed)
        if watch is not None and report.safe:
            watch.confirmed(report.unit)

    try:
        with contextlib.ExitStack() as stack:
            if watch is not None:
                stack.callback(watch.end)
                watch.begin(devices)
            for device in devices.values():
                stack.callback(device.close)
            for unit in units:
                stack.callback(unit.close)
                stack.callback(off, unit)
                if watch is not None:
                    watch.opening(unit.spec.name)
                unit.open()
            yield units, watch.guardian if watch else None
    except PibError as problem:
        if doubtful:
            raise DeviceError(f"{problem}; outputs were NOT confirmed off: {', '.join(doubtful)}") from problem
        raise


def made_safe(experiment: Experiment, factories: Mapping[str, Factory], clock: Clock) -> list[SafeReport]:
    """Connect to every device, command all outputs off, read them back: a report for each link, or for each unit."""
    devices, units = make_units(experiment, factories, clock)
    known = guarded(devices)
    actions = [action for device in known.values() for action in device.safe_actions()]
    reports = [
        SafeReport(outcome.device, outcome.confirmed, outcome.not_confirmed, outcome.detail)
        for outcome in carry_out_all(actions)
    ]
    for unit, wanted in reversed(list(zip(units, experiment.units, strict=True))):
        if experiment.device_of(wanted) in known:
            continue
        with contextlib.suppress(Exception):  # a unit that cannot be opened, for whatever reason, says so in its report
            unit.open()
        reports.append(switch_off(unit))
        unit.close()
    for device in devices.values():
        device.close()
    return reports
