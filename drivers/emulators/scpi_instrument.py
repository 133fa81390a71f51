"""What every emulated SCPI instrument has: common commands, the error queue, settings that it only keeps."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

from drivers.emulators.scpi import CommandTree, Parameters
from drivers.emulators.scpi_numbers import plain
from drivers.emulators.scpi_status import OPERATION_COMPLETE, RegisterSet, ScpiError, Status
from pib_lab.device import Clock


class ScpiInstrument:
    """Messages in, answers out, by the commands in `tree`; instruments add theirs, and say what *RST means."""

    model = ""

    def __init__(self, identity: str, clock: Clock, command_s: float, error_depth: int) -> None:
        self.identity = identity
        self.status = Status(error_depth)
        self.kept: dict[str, Any] = {}
        self.clock = clock
        self.lock = threading.RLock()
        self.tree = self.common_tree()
        self._command_s = command_s
        self._defaults: dict[str, Any] = {}
        self._saved: dict[int, Any] = {}

    def execute(self, message: str) -> list[str]:
        """Carry out one message and return its answers: none, or one. Never raises for bad input."""
        with self.lock:
            self.clock.sleep_s(self._command_s)
            return self.tree.execute(message, self.status)

    def device_clear(self) -> None:
        """Messages are carried out whole, so nothing is half received here."""

    def keep(self, name: str, default: Any) -> tuple[Callable[[], Any], Callable[[Any], None]]:
        """A setting without physics, such as the display's: read and write functions; *RST brings `default` back."""
        self.kept[name] = self._defaults[name] = default
        return lambda: self.kept[name], lambda value: self.kept.__setitem__(name, value)

    def keep_boolean(self, pattern: str, default: bool) -> None:
        """A switch without physics."""
        read, write = self.keep(pattern, default)
        self.tree.boolean(pattern, read, write)

    def keep_choice(self, pattern: str, options: str, default: str) -> None:
        """A choice of words without physics."""
        read, write = self.keep(pattern, default)
        self.tree.choice(pattern, options, read, write)

    def keep_number(
        self,
        pattern: str,
        low: float,
        high: float,
        default: float,
        unit: str = "",
        form: Callable[[float], str] = plain,
    ) -> None:
        """A number without physics."""
        read, write = self.keep(pattern, default)
        self.tree.number(pattern, read, write, low, high, default, unit, form)

    def ignore(self, pattern: str, most: int = 0) -> None:
        """A command that is understood and does nothing that could be seen, with at most so many parameters."""
        self.tree.add(pattern, lambda parameters: None, None, (0, most))

    def add_registers(self, name: str, bit: int, condition: Callable[[], int]) -> RegisterSet:
        """A register set under :STATus, summed up in `bit` of the status byte."""
        registers = self.status.sets[bit] = RegisterSet(condition)

        def enable(value: float) -> None:
            registers.enable = int(value)

        base = f":STATus:{name}"
        self.tree.number(f"{base}:ENABle", lambda: registers.enable, enable, 0, 65535, 0)
        self.tree.add(f"{base}:CONDition", get=lambda p: str(registers.condition()))
        self.tree.add(f"{base}[:EVENt]", get=lambda p: str(registers.take()))
        return registers

    def reset(self) -> None:
        """*RST: kept settings go back to their defaults; errors and enabled events stay."""
        self.kept = dict(self._defaults)

    def setup(self) -> Any:
        """Everything that *SAV stores, in a form that can be deep-copied."""
        return self.kept

    def set_setup(self, setup: Any) -> None:
        """Go back to what `setup` returned."""
        self.kept = setup

    def trigger(self) -> None:
        """*TRG."""
        raise ScpiError(-211)

    def common_tree(self) -> CommandTree:
        """A tree of the common commands alone."""
        status, tree = self.status, CommandTree()
        tree.add("*IDN", get=lambda p: self.identity)
        tree.add("*RST", lambda p: self.reset())
        tree.add("*CLS", lambda p: status.clear())
        tree.add("*ESR", get=lambda p: str(status.standard.take()))
        tree.add("*ESE", self._set_event_enable, lambda p: str(status.standard.enable), (1, 1))
        tree.add("*SRE", self._set_service_enable, lambda p: str(status.service_enable), (1, 1))
        tree.add("*STB", get=lambda p: str(status.byte()))
        tree.add("*OPC", self._complete, lambda p: "1")
        tree.add("*TST", get=lambda p: "0")
        tree.add("*OPT", get=lambda p: "0")
        tree.add("*WAI", lambda p: None)
        tree.add("*TRG", lambda p: self.trigger())
        tree.add("*SAV", self._save, None, (1, 1))
        tree.add("*RCL", self._recall, None, (1, 1))
        tree.add(":STATus:PRESet", lambda p: status.preset())
        return tree

    def _complete(self, parameters: Parameters) -> None:
        self.status.standard.event |= OPERATION_COMPLETE

    def _set_event_enable(self, parameters: Parameters) -> None:
        self.status.standard.enable = round(parameters[0].number(0, 255, 0))

    def _set_service_enable(self, parameters: Parameters) -> None:
        self.status.service_enable = round(parameters[0].number(0, 255, 0)) & ~64

    def _save(self, parameters: Parameters) -> None:
        self._saved[round(parameters[0].number(0, 4, 0))] = copy.deepcopy(self.setup())

    def _recall(self, parameters: Parameters) -> None:
        place = round(parameters[0].number(0, 4, 0))
        if place not in self._saved:
            raise ScpiError(-224, "Nothing saved there")
        self.set_setup(copy.deepcopy(self._saved[place]))
