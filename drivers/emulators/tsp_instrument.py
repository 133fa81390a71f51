"""What all TSP instruments share: the error queue, printing, common commands, display, beeper, clock."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from drivers.emulators.instrument import MESSAGE_LIMIT
from drivers.emulators.tsp import Interpreter
from drivers.emulators.tsp_objects import Namespace, Settings, action, argument, choice, ignore, number
from drivers.emulators.tsp_tables import make_beeper, make_display, make_math, make_status
from drivers.emulators.tsp_values import TspError, TspRuntimeError, Value, as_number, to_number, type_name
from pib_lab.device import Clock

QUEUE_LENGTH = 100
"""Errors that are kept; one more becomes -350."""
MAX_ANSWERS = 10_000
"""Lines that one message may print."""
RECOVERABLE, SERIOUS = 10.0, 20.0


class ErrorQueue:
    """Errors in the order in which they came: (code, message, severity)."""

    def __init__(self) -> None:
        self._entries: deque[tuple[int, str, float]] = deque()

    def add(self, code: int, message: str) -> None:
        """Append; a full queue says so in its last entry."""
        if len(self._entries) >= QUEUE_LENGTH:
            self._entries[-1] = (-350, "Queue overflow", SERIOUS)
            return
        self._entries.append((code, message, SERIOUS if code < 0 else RECOVERABLE))

    def next(self) -> tuple[int, str, float]:
        """The oldest, taken out; (0, "Queue Is Empty", 0) when there is none."""
        return self._entries.popleft() if self._entries else (0, "Queue Is Empty", 0.0)

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)

    def listed(self) -> list[str]:
        """All entries, without taking them out."""
        return [f"{code}, {message}" for code, message, _ in self._entries]


class TspInstrument:
    """Base of emulated TSP instruments; `self.names` are the global names of their language."""

    def __init__(self, identity: tuple[str, str, str], clock: Clock, command_s: float) -> None:
        self.identity = f"Keithley Instruments Inc., Model {identity[0]}, {identity[1]}, {identity[2]}"
        self.errors = ErrorQueue()
        self.settings = Settings()
        self.clock = clock
        self.names: dict[str, Value] = {}
        self._command_s = command_s
        self._answers: list[str] = []
        self.lock, self._aborted = threading.RLock(), threading.Event()
        self._language(identity)
        self._interpreter = Interpreter(self.names, lambda problem: self.errors.add(problem.code, problem.message))

    def execute(self, message: str) -> list[str]:
        """Carry out one message and return what it printed, a line each. Never raises for bad input."""
        with self.lock:
            self._aborted.clear()
            self.clock.sleep_s(self._command_s)
            self._answers = []
            self._carry_out(message.strip())
            return self._answers

    def _carry_out(self, word: str) -> None:
        if len(word) > MESSAGE_LIMIT:
            self.errors.add(-363, "Input buffer overrun")
        elif word.startswith("*"):
            self._common(word.upper())
        elif word and word != "abort":  # which ends a script that runs; here none does
            self._interpreter.run(word)
        if self.settings.number("localnode.showerrors"):
            while self.errors:
                code, text, _ = self.errors.next()
                self._answers.append(f"{code}, {text}")
        if self.settings.number("localnode.prompts"):
            self._answers.append("TSP?" if self.errors else "TSP>")

    def device_clear(self) -> None:
        """End what is being waited for."""
        self._aborted.set()

    def set_state(self, name: str, value: Any) -> None:
        """ "identity", or "error_flood" (so many errors); instruments add their own. KeyError if unknown."""
        if name == "identity":
            self.identity = str(value)
        elif name == "error_flood":
            for number in range(min(int(value), 10 * QUEUE_LENGTH)):
                self.errors.add(-286, f"TSP Runtime error at line 1: flood {number}")
        else:
            raise KeyError(name)

    def wait(self, duration_s: float) -> None:
        """Let time pass, in pieces between which a device clear ends it. Raises TspRuntimeError then."""
        piece_s = max(duration_s / 1000, 0.05)
        while duration_s > 0.0:
            if self._aborted.is_set():
                raise TspRuntimeError("aborted")
            self.clock.sleep_s(min(piece_s, duration_s))
            duration_s -= piece_s

    def reset(self) -> None:
        """Back to the state of power-on, as `reset()` and *RST do; the error queue stays."""
        self.settings.reset()

    def _common(self, word: str) -> None:
        answers: dict[str, Callable[[], str]] = {
            "*IDN?": lambda: self.identity,
            "*OPC?": lambda: "1",
            "*TST?": lambda: "0",
            "*STB?": lambda: str(4 if self.errors else 0),
            "*ESR?": lambda: "0",
            "*ESE?": lambda: "0",
            "*SRE?": lambda: "0",
        }
        if word in answers:
            self._answers.append(answers[word]())
        elif word == "*RST":
            self.reset()
        elif word == "*CLS":
            self.errors.clear()
        elif word not in ("*OPC", "*WAI", "*TRG") and word.split()[0] not in ("*ESE", "*SRE"):
            self.errors.add(-285, f"TSP Syntax error at line 1: unexpected symbol near `{word[:20]}'")

    def _language(self, identity: tuple[str, str, str]) -> None:
        queue, node, shape = Namespace("errorqueue"), Namespace("localnode"), Namespace("format")
        queue.attribute("count", lambda: float(len(self.errors)))
        queue.table("next", self._next_error)
        queue.table("clear", action(self.errors.clear))
        for name, value in zip(("model", "serialno", "revision"), identity, strict=True):
            node.attribute(name, lambda value=value: value)  # type: ignore[misc]
        node.attribute("linefreq", lambda: 50.0)
        node.constants(ENABLE=1, DISABLE=0)
        for name in ("prompts", "prompts4882", "showerrors", "autolinefreq"):
            self.settings.bind(node, name, f"localnode.{name}", 0.0, choice((0.0, 1.0)))
        shape.constants(ASCII=1, SREAL=2, REAL32=2, DREAL=3, REAL64=3, REAL=3)
        self.settings.bind(shape, "asciiprecision", "format.asciiprecision", 6.0, number(0.0, 16.0))
        self.settings.bind(shape, "data", "format.data", 1.0, choice((1.0,)))  # binary readings are not emulated
        self.settings.bind(shape, "byteorder", "format.byteorder", 1.0, choice((0.0, 1.0)))
        self.names.update(
            {
                "errorqueue": queue,
                "localnode": node,
                "format": shape,
                "beeper": make_beeper(self.settings),
                "display": make_display(self.settings),
                "status": make_status(self.settings, lambda: len(self.errors)),
                "math": make_math(),
                "timer": self._timer(),
                "print": self._print,
                "printnumber": self._print_numbers,
                "reset": action(self.reset),
                "delay": self._delay,
                "waitcomplete": ignore,
                "opc": ignore,
                "collectgarbage": ignore,
                "tostring": lambda arguments: [self.shown(arguments[0] if arguments else None)],
                "tonumber": _to_number,
                "type": lambda arguments: [type_name(arguments[0] if arguments else None)],
            }
        )

    def _timer(self) -> Namespace:
        timer, measure = Namespace("timer"), Namespace("timer.measure")
        self._timer_at_s = self.clock.now_s()
        timer.table("reset", action(lambda: setattr(self, "_timer_at_s", self.clock.now_s())))
        measure.table("t", lambda arguments: [self.clock.now_s() - self._timer_at_s])
        timer.table("measure", measure)
        return timer

    def _delay(self, arguments: list[Value]) -> list[Value]:
        duration_s = argument(arguments, 0)
        if not 0.0 <= duration_s <= 100e3:
            raise TspError(1101, "Parameter too big") if duration_s > 0 else TspError(1102, "Parameter too small")
        self.wait(duration_s)
        return []

    def _next_error(self, arguments: list[Value]) -> list[Value]:
        code, message, severity = self.errors.next()
        return [float(code), message, severity, 1.0]

    def _print(self, arguments: list[Value]) -> list[Value]:
        self._say("\t".join(self.shown(value) for value in arguments))
        return []

    def _print_numbers(self, arguments: list[Value]) -> list[Value]:
        self._say(", ".join(self.shown(as_number(value, "argument")) for value in arguments))
        return []

    def _say(self, line: str) -> None:
        if len(self._answers) >= MAX_ANSWERS:
            raise TspError(-225, "Out of memory or TSP memory")
        self._answers.append(line)

    def shown(self, value: Value) -> str:
        """A value as `print` shows it: numbers with format.asciiprecision digits, 6 unless set."""
        if value is None:
            return "nil"
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str):
            return value
        if isinstance(value, float):
            digits = int(self.settings.number("format.asciiprecision"))
            if math.isnan(value):
                value = 9.91e37
            elif math.isinf(value):
                value = math.copysign(9.9e37, value)
            return f"{value:.{digits - 1}e}" if digits else f"{value:g}"
        return f"{type_name(value)}: {id(value) & 0xFFFFFF:06x}"


def _to_number(arguments: list[Value]) -> list[Value]:
    value = arguments[0] if arguments else None
    if isinstance(value, str):
        return [to_number(value)]
    return [value if isinstance(value, float) else None]
