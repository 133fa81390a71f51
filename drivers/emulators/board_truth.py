"""What is true of an emulated board, whatever its frames say: shown, set and struck from outside."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from typing import Any

from drivers.board.protocol import OUTPUT_NAMES, Outputs
from drivers.emulators.board_array import ChipArray
from drivers.emulators.board_faults import KINDS, FrameFaults
from drivers.emulators.board_firmware import Firmware
from drivers.emulators.board_operations import Refused
from pib_lab.errors import ConfigurationError


class BoardTruth:
    """A firmware that is looked at and changed from several threads, and the faults of its link by chance
    (`to_board`, `to_host`)."""

    model = "crossbar-board"

    def __init__(self, firmware: Firmware, seed: int) -> None:
        self.to_board, self.to_host = FrameFaults(seed), FrameFaults(seed + 1)
        self._firmware, self._lock = firmware, threading.Lock()

    @contextlib.contextmanager
    def board(self) -> Iterator[Firmware]:
        """The firmware, with nothing else going on in it."""
        with self._lock:
            yield self._firmware

    def outputs(self) -> dict[str, bool]:
        """Which outputs are on now."""
        with self.board() as firmware:
            firmware.tick()
            return {name: bool(output & firmware.outputs) for output, name in OUTPUT_NAMES.items()}

    def switch_off(self) -> None:
        """As by the supply's switch, except that nothing is forgotten; also frees what hangs."""
        with self.board() as firmware:
            firmware.outputs = firmware.hanging = Outputs.NONE

    def state(self) -> dict[str, Any]:
        """The truth as plain JSON values."""
        outputs = self.outputs()
        with self.board() as firmware:
            chip = firmware.chip
            return {
                "outputs": outputs,
                "gate_v": firmware.gate_mv * 1e-3,
                "hanging": [name for output, name in OUTPUT_NAMES.items() if output & firmware.hanging],
                "dead": self.to_board.dead,
                "stuck_compliance": chip.clamp_a if math.isfinite(chip.clamp_a) else 0.0,
                "offset_a": chip.offset_a,
                "requests": firmware.executed,
                "broken_frames": firmware.broken_frames,
                "injected": self.to_board.injected + self.to_host.injected,
                "arrays": {
                    str(number): {
                        "conductances_siemens": array.conductances().tolist(),
                        "faults": array.faults().tolist(),
                        "pulses": array.pulses(),
                    }
                    for number, array in chip.arrays.items()
                },
            }

    def set_state(self, name: str, value: Any) -> None:
        """Set one thing from outside. Raises KeyError for another name, TypeError or ValueError for what cannot be.

        "dead" (True: no frame passes), "hanging" (names of outputs that do not go off), "stuck_compliance" (amperes at
        which readings are clamped; 0: none), "offset_a" (adds to readings), "conductances" (siemens, by number of the
        array, each of the shape of its window: rows, pairs, 2), or a kind of FrameFaults with the chance that it
        strikes a frame on either way.
        """
        if name == "dead":
            self.to_board.dead = self.to_host.dead = bool(value)
        elif name == "hanging":
            stuck = _outputs(value)
            with self.board() as firmware:
                firmware.hanging = stuck
        elif name == "stuck_compliance":
            clamp_a = _number(value, 0.0, math.inf) or math.inf
            with self.board() as firmware:
                firmware.chip.clamp_a = clamp_a
        elif name == "offset_a":
            offset_a = _number(value, -math.inf, math.inf)
            with self.board() as firmware:
                firmware.chip.offset_a = offset_a
        elif name == "conductances":
            with self.board() as firmware:
                arrays = [(_array(firmware, number), values) for number, values in dict(value).items()]
                for array, values in arrays:
                    array.set_conductances(values)
        elif name in KINDS:
            chance = _number(value, 0.0, 1.0)
            for faults in (self.to_board, self.to_host):
                faults.chances[name] = chance
        else:
            raise KeyError(name)

    def strike(self, kind: str, fraction: float, seed: int) -> int:
        """Strike healthy cells of all arrays in use; returns how many. Raises ConfigurationError, also without any."""
        with self.board() as firmware:
            if not firmware.chip.arrays:
                raise ConfigurationError(f"{self.model}: no array is in use; strike cells once a host has opened it")
            return sum(array.strike(kind, fraction, seed + number) for number, array in firmware.chip.arrays.items())


def _outputs(names: Any) -> Outputs:
    by_name = {text: output for output, text in OUTPUT_NAMES.items()}
    stuck = Outputs.NONE
    for name in [names] if isinstance(names, str) else names:
        if name not in by_name:
            raise ValueError(f"no output {name!r} (known: {', '.join(by_name)})")
        stuck |= by_name[name]
    return stuck


def _number(value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("it is no number")
    if not low <= value <= high:
        raise ValueError(f"it is not between {low:g} and {high:g}")
    return float(value)


def _array(firmware: Firmware, number: str) -> ChipArray:
    try:
        return firmware.chip.array(int(number))
    except Refused as problem:
        raise ValueError(str(problem)) from None
