"""One device of a protocol in a person's hands: opened under a guardian, commanded message by message, left safe."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import protocols
from drivers.controls import Manual
from drivers.manual import manual_of
from drivers.wire.traffic import TrafficLog
from pib_lab.bring_up_session import Session
from pib_lab.clocks import RealClock, VirtualClock
from pib_lab.device import Clock, Device, DeviceContext
from pib_lab.errors import ConfigurationError, LimitError, PibError, nearest
from pib_lab.events import MadeSafe
from pib_lab.experiment import Hardware, Limits, parse_experiment
from pib_lab.findings import Progress
from pib_lab.guarding import Watch, require_links, traffic_log
from pib_lab.overrides import apply_overrides, refuse_other_profiles
from pib_lab.procedure import is_procedure, parse_procedure
from pib_lab.procedure_events import ProcedureEvent, ProcedureFinished, ProcedureStarted
from pib_lab.quantities import parse_quantity
from pib_lab.registry import find_driver, is_mock, is_real
from pib_lab.run_folder import made_folder
from pib_lab.unit import SafeReport

RECORD = "manual.jsonl"
"""In the folder: every message with its answer and the time, so that it can be told afterwards what was done."""

Answer = dict[str, Any]


def devices_of(protocol: str, overrides: list[str]) -> list[str]:
    """Names under [hardware] of a shipped protocol or a TOML file. Raises ConfigurationError for a mistake in it."""
    return list(_read(apply_overrides(protocols.read(protocol)[1], overrides))[0])


class ManualControl:
    """One device, not yet open. Raises ConfigurationError for a mistake in the protocol, a device that it does not
    have, or one that offers no manual control; LimitError for an override that names another profile for a real one."""

    def __init__(
        self, protocol: str, device: str, *, overrides: list[str], mock: bool = False, traffic: bool = False
    ) -> None:
        self.protocol, text = protocols.read(protocol)
        text = apply_overrides(text, overrides)
        hardware, limits, self._seed = _read(text)
        if device not in hardware:
            raise ConfigurationError(
                f"{protocol} has no device {device!r}{nearest(device, hardware)} (under [hardware]: "
                f"{', '.join(hardware)})"
            )
        self.name, self._options = device, hardware[device].options
        _, self._factory = find_driver(hardware[device].driver, mock, f"hardware.{device}")
        self.mock = is_mock(self._factory)
        if is_real(self._factory):
            refuse_other_profiles(overrides, (device,))
        if traffic:
            require_links(self.mock)
        self._traffic = traffic
        self._drive_v = math.inf if limits.drive is None else _in_volts(limits.drive)
        self._current_a = math.inf if limits.current is None else parse_quantity(limits.current, "A")
        tried = self._device(VirtualClock(), None, None)
        self._manual(tried)  # what it does not offer is told before anything opens
        tried.close()

    def new_folder(self, out: Path) -> Path:
        """A folder of its own under `out`. Raises RunFileError."""
        return made_folder(out, f"manual-{self.name}")

    @contextlib.contextmanager
    def opened(self, folder: Path, show: Callable[[ProcedureEvent], None]) -> Iterator[Hands]:
        """The device, open, in a `with` block; on any exit it is made safe and let go. show: is told as of a procedure.

        Raises LinkError, DeviceError for a device that cannot be had; DeviceError when outputs were not confirmed off.
        """
        clock: Clock = VirtualClock() if self.mock else RealClock()
        watch = None if self.mock else Watch(folder)
        log = traffic_log(folder, clock) if self._traffic else None
        device = self._device(clock, watch, log)
        hands = Hands(self._manual(device), folder)

        def tell(report: SafeReport) -> None:
            show(MadeSafe(self.name, report.confirmed, report.not_confirmed, report.detail))

        show(ProcedureStarted(folder.name, self.protocol, "manual", self.name, self.mock, time.time()))
        error = ""
        try:
            with contextlib.ExitStack() as stack:
                if log is not None:
                    stack.callback(log.close)
                stack.callback(device.close)
                stack.enter_context(Session(device, hands, watch, self.name, tell).opened())
                show(Progress(0, 0, "under manual control"))
                yield hands
        except PibError as problem:
            error = str(problem)
            raise
        finally:
            safe = hands.report is None or hands.report.safe
            show(ProcedureFinished("failed" if error else "finished", "", 0, error, safe))

    def _device(self, clock: Clock, watch: Watch | None, log: TrafficLog | None) -> Device:
        context = DeviceContext(self.name, self._seed, clock, watch.guardian if watch else None, log)
        return self._factory(self._options, context)

    def _manual(self, device: Device) -> Manual:
        return manual_of(device, self.name, self._drive_v, self._current_a)


class Hands:
    """An open device, and what it is told to do. `answer` is given messages such as {"do": "set", "name": "drive",
    "value": 0.1}; see `docs/manual-control.md`."""

    def __init__(self, manual: Manual, folder: Path) -> None:
        self.manual = manual
        self.report: SafeReport | None = None
        """What was read back when it was left."""
        self._record = folder / RECORD

    def open(self) -> None:
        """Connect; outputs stay off."""
        self.manual.open()

    def close(self) -> None:
        """Let go of the device. Idempotent."""
        self.manual.close()

    def answer(self, message: Mapping[str, Any]) -> Answer:
        """Do as told; what was refused is in the answer's "error", and nothing was sent then.

        Raises DeviceError or LinkError for a device that does not do as told: it is to be left then.
        """
        done: Answer = {"did": message.get("do")}
        try:
            done |= {"ok": True, **self._do(message)}
        except (ConfigurationError, LimitError) as problem:
            done |= {"ok": False, "error": str(problem)}
        except PibError as problem:
            self._note(message, done | {"ok": False, "error": str(problem)})
            raise
        self._note(message, done)
        return done

    def state(self) -> Answer:
        """What can be set, and what is on, as read back now."""
        controls = [asdict(control) for control in self.manual.controls()]
        return {"controls": controls, "outputs": self.manual.outputs()}

    def make_safe(self) -> SafeReport:
        """All outputs off and read back. Never raises."""
        self.report = self.manual.make_safe()
        self._note({"do": "safe"}, {"safe": self.report.safe, "not_confirmed": self.report.not_confirmed})
        return self.report

    def _do(self, message: Mapping[str, Any]) -> Answer:
        match message:
            case {"do": "identify"}:
                return {"identity": self.manual.identity(), **self.state()}
            case {"do": "state"}:
                return self.state()
            case {"do": "set", "name": str(name), "value": value}:
                self.manual.set(name, value)
                return self.state()
            case {"do": "switch", "output": str(output), "on": bool(on)}:
                self.manual.switch(output, on)
                return self.state()
            case {"do": "measure"}:
                return {"readings": [asdict(reading) for reading in self.manual.measure()], **self.state()}
        raise ConfigurationError(
            f'{json.dumps(dict(message))}: is no command; say {{"do": "identify"}}, "state", "measure", "end", '
            '{"do": "set", "name": ..., "value": ...} or {"do": "switch", "output": ..., "on": true}'
        )

    def _note(self, message: Mapping[str, Any], answer: Answer) -> None:
        """A help, never a reason to stop."""
        line = {"unix_s": round(time.time(), 3), "told": dict(message), "answer": answer}
        with contextlib.suppress(OSError), self._record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=str) + "\n")


def _read(text: str) -> tuple[Mapping[str, Hardware], Limits, int]:
    if is_procedure(text):
        procedure = parse_procedure(text)
        return procedure.hardware, Limits(), procedure.seed
    experiment = parse_experiment(text)
    return experiment.hardware, experiment.limits, experiment.seed


def _in_volts(text: str) -> float:
    """A limit of drives in another unit is that of units that are not driven by voltages."""
    try:
        return parse_quantity(text, "V")
    except ConfigurationError:
        return math.inf
