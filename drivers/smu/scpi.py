"""What the source-measure units that speak SCPI share; 2400 and 2450 have most of their commands apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from drivers.chip.limits import ElectricalLimits
from drivers.smu.base import CheckedSmu, unguarded
from drivers.smu.interface import Function, OffState
from drivers.wire.message import SCPI, MessageInstrument
from drivers.wire.transport import Transport
from pib_lab.device import Clock
from pib_lab.errors import DeviceError

SHORT = {Function.VOLTAGE: "VOLT", Function.CURRENT: "CURR"}
OTHER = {Function.VOLTAGE: "CURR", Function.CURRENT: "VOLT"}
_OFF_STATES = {OffState.NORMAL: "NORM", OffState.ZERO: "ZERO", OffState.HIGH_IMPEDANCE: "HIMP"}


class ScpiSmu(CheckedSmu):
    """One instrument. MODEL: a regular expression that the model in its identity matches whole."""

    MODEL: ClassVar[str]

    def __init__(
        self,
        transport: Transport,
        limits: ElectricalLimits,
        clock: Clock,
        name: str = "SMU",
        guard: Callable[[], None] = unguarded,
    ) -> None:
        super().__init__(name, limits, clock, guard)
        self._link = MessageInstrument(transport, SCPI, name=name, model=self.MODEL)

    def _say_output(self, on: bool) -> None:
        self._link.command(f":OUTP {'ON' if on else 'OFF'}")

    def _ask_output(self) -> bool:
        return self._link.ask_number(":OUTP?") != 0.0

    def _choose_off_state(self, node: str, state: OffState) -> None:
        """Set the off state at a node of the command tree, and read it back. Raises DeviceError when it is another."""
        self._link.command(f"{node} {_OFF_STATES[state]}")
        held = self._link.ask(f"{node}?")
        if not held.upper().startswith(_OFF_STATES[state]):
            raise DeviceError(f"{self.name}: off state {state} was chosen and reads back as {held}")
