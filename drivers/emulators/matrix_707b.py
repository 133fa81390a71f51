"""Keithley 707B switching matrix with 8 x 12 cards, in TSP. Its rows A to H are buses common to all slots.

`channel.getclose` tells what the instrument believes; a welded relay stays closed all the same. Left out: channel
patterns, labels and images, scans, digital lines, DDC emulation, TSP-Link.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from drivers.emulators.crosspoints import COLUMNS, ROWS, BadCrosspoints, Crosspoint, parse_crosspoints
from drivers.emulators.latency import Latency
from drivers.emulators.tsp_instrument import TspInstrument
from drivers.emulators.tsp_objects import Function, Namespace, argument, choice, string
from drivers.emulators.tsp_values import TspError, Value
from pib_lab.device import Clock

SLOTS = (1, 2, 3, 4, 5, 6)
NO_RULE, BREAK_BEFORE_MAKE, MAKE_BEFORE_BREAK = 0.0, 1.0, 2.0
Wiring = Callable[[frozenset[Crosspoint]], None]


class Keithley707B(TspInstrument):
    """`wiring` is called with the crosspoints that are truly closed, each time that they change."""

    model = "matrix-707b"

    def __init__(
        self, wiring: Wiring, clock: Clock, seed: int, latency: Latency, slots: tuple[int, ...] = SLOTS
    ) -> None:
        super().__init__(("707B", f"{1200000 + seed % 100000}", "01.20a"), clock, latency.command_s)
        self._wiring, self._latency, self._slots = wiring, latency, slots
        self.closed: frozenset[Crosspoint] = frozenset()
        self.welded: frozenset[Crosspoint] = frozenset()
        self._forbidden: set[Crosspoint] = set()
        self._delays_s: dict[Crosspoint, float] = {}
        self._counts: dict[Crosspoint, int] = {}
        self._channel()
        self.names["slot"] = self._slot_table()
        self._sent: frozenset[Crosspoint] | None = None
        self._apply()

    @property
    def truly_closed(self) -> frozenset[Crosspoint]:
        """What conducts: what is closed, and what is welded."""
        return self.closed | self.welded

    def reset(self) -> None:
        """All open, nothing forbidden, break before make."""
        super().reset()
        self._forbidden.clear()
        self._delays_s.clear()
        self._move(opening=self.closed)

    def outputs(self) -> dict[str, bool]:
        """True when any crosspoint truly conducts."""
        return {"crosspoints": bool(self.truly_closed)}

    def switch_off(self) -> None:
        """Open all that will open."""
        self.device_clear()
        with self.lock:
            self._move(opening=self.closed)

    def state(self) -> dict[str, Any]:
        """Believed and true closures, forbidden and welded crosspoints, the error queue."""
        return {
            "closed": [str(point) for point in sorted(self.closed)],
            "truly_closed": [str(point) for point in sorted(self.truly_closed)],
            "welded": [str(point) for point in sorted(self.welded)],
            "forbidden": [str(point) for point in sorted(self._forbidden)],
            "closures": {str(point): count for point, count in sorted(self._counts.items())},
            **self.settings.all(),
            "errors": self.errors.listed(),
            "identity": self.identity,
        }

    def set_state(self, name: str, value: Any) -> None:
        """ "welded": a channel list ("" heals; ValueError for what names no crosspoints), or what every TSP instrument
        has. KeyError if unknown."""
        if name == "welded":
            points = ",".join(value) if isinstance(value, list) else str(value)
            welded = frozenset(parse_crosspoints(points, self._slots, whole_slots=True) if points else ())
            with self.lock:
                self.welded = welded
                self._apply()
        else:
            super().set_state(name, value)

    def _channel(self) -> None:
        channel = Namespace("channel")
        channel.constants(BREAK_BEFORE_MAKE=1, MAKE_BEFORE_BREAK=2, OFF=0, ON=1, IND_CLOSED=1, IND_OPEN=0)
        self.settings.bind(channel, "connectrule", "channel.connectrule", BREAK_BEFORE_MAKE, choice((0.0, 1.0, 2.0)))
        self.settings.bind(channel, "connectsequential", "channel.connectsequential", 0.0, choice((0.0, 1.0)))
        functions: dict[str, Function] = {
            "close": self._close,
            "open": self._open,
            "exclusiveclose": self._exclusive_close,
            "exclusiveslotclose": self._exclusive_slot_close,
            "getclose": lambda arguments: self._listed(arguments, self.closed, ";"),
            "getforbidden": lambda arguments: self._listed(arguments, self._forbidden, ","),
            "getstate": lambda arguments: [",".join("1" if p in self.closed else "0" for p in self._named(arguments))],
            "getcount": lambda arguments: [",".join(str(self._counts.get(p, 0)) for p in self._named(arguments))],
            "getdelay": lambda arguments: [
                ",".join(f"{self._delays_s.get(point, 0.0):.6e}" for point in self._named(arguments))
            ],
            "setdelay": self._set_delay,
            "setforbidden": self._set_forbidden,
            "clearforbidden": self._clear_forbidden,
            "reset": self._reset_channels,
        }
        for name, function in functions.items():
            channel.table(name, function)
        self.names["channel"] = channel

    def _slot_table(self) -> Value:
        slots = _Slots()
        for number in SLOTS:
            slot, filled = Namespace(f"slot[{number}]"), number in self._slots
            slot.table("idn", "7174A,8x12 Low Current Matrix,01.00a,1234567" if filled else "Empty Slot")
            slot.constants(rows=len(ROWS) if filled else 0, columns=COLUMNS if filled else 0)
            slots.cards[float(number)] = slot
        return slots

    def _points(self, text: str, whole_slots: bool) -> list[Crosspoint]:
        try:
            return parse_crosspoints(text, self._slots, whole_slots)
        except BadCrosspoints as problem:
            raise TspError(1115, f"Parameter error {problem}") from None

    def _named(self, arguments: list[Value]) -> list[Crosspoint]:
        return self._points(string(arguments), whole_slots=True)

    def _closable(self, arguments: list[Value]) -> list[Crosspoint]:
        points = self._points(string(arguments), whole_slots=False)
        forbidden = [point for point in points if point in self._forbidden]
        if forbidden:
            raise TspError(1115, f"Parameter error forbidden channel {forbidden[0]}")
        return points

    def _close(self, arguments: list[Value]) -> list[Value]:
        self._move(closing=frozenset(self._closable(arguments)))
        return []

    def _open(self, arguments: list[Value]) -> list[Value]:
        self._move(opening=frozenset(self._named(arguments)))
        return []

    def _exclusive_close(self, arguments: list[Value]) -> list[Value]:
        wanted = frozenset(self._closable(arguments) if string(arguments).strip() else ())
        self._move(opening=self.closed - wanted, closing=wanted)
        return []

    def _exclusive_slot_close(self, arguments: list[Value]) -> list[Value]:
        wanted = frozenset(self._closable(arguments))
        slots = {point.slot for point in wanted}
        self._move(opening=frozenset(p for p in self.closed - wanted if p.slot in slots), closing=wanted)
        return []

    def _set_forbidden(self, arguments: list[Value]) -> list[Value]:
        self._forbidden.update(self._named(arguments))
        return []

    def _clear_forbidden(self, arguments: list[Value]) -> list[Value]:
        self._forbidden.difference_update(self._named(arguments))
        return []

    def _set_delay(self, arguments: list[Value]) -> list[Value]:
        points, delay_s = self._named(arguments), argument(arguments, 1)
        if not 0.0 <= delay_s <= 60.0:
            raise TspError(1115, f"Parameter error delay {delay_s:g}")
        self._delays_s.update(dict.fromkeys(points, delay_s))
        return []

    def _reset_channels(self, arguments: list[Value]) -> list[Value]:
        points = frozenset(self._named(arguments))
        self._forbidden -= points
        self._delays_s = {point: delay_s for point, delay_s in self._delays_s.items() if point not in points}
        self._move(opening=points)
        return []

    def _listed(self, arguments: list[Value], among: Collection[Crosspoint], comma: str) -> list[Value]:
        found = [str(point) for point in sorted(point for point in self._named(arguments) if point in among)]
        return [comma.join(found) if found else None]

    def _move(self, opening: frozenset[Crosspoint] = frozenset(), closing: frozenset[Crosspoint] = frozenset()) -> None:
        """Open and close in the order of the connection rule; each of the two takes its time on the clock."""
        rule = self.settings.number("channel.connectrule")
        opening, closing = opening & self.closed, closing - self.closed
        if rule == NO_RULE:
            self._step(opening, closing)
        elif rule == BREAK_BEFORE_MAKE:
            self._step(opening, frozenset())
            self._step(frozenset(), closing)
        else:
            self._step(frozenset(), closing)
            self._step(opening, frozenset())

    def _step(self, opening: frozenset[Crosspoint], closing: frozenset[Crosspoint]) -> None:
        if not opening and not closing:
            return
        self.closed = (self.closed - opening) | closing
        for point in closing:
            self._counts[point] = self._counts.get(point, 0) + 1
        self._apply()
        extra_s = max((self._delays_s.get(point, 0.0) for point in opening | closing), default=0.0)
        self.clock.sleep_s(self._latency.closure_s + extra_s)

    def _apply(self) -> None:
        if self.truly_closed != self._sent:
            self._sent = self.truly_closed
            self._wiring(self.truly_closed)


class _Slots:
    """`slot[1]` to `slot[6]`."""

    def __init__(self) -> None:
        self.cards: dict[float, Namespace] = {}

    def get_item(self, key: Value) -> Value:
        """The card, or nil."""
        return self.cards.get(key) if isinstance(key, float) else None

    def set_item(self, key: Value, value: Value) -> None:
        """Cards are not plugged by command."""
        raise TspError(-286, "TSP Runtime error at line 1: attempt to set a slot")
