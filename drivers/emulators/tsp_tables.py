"""Tables that every TSP instrument has and that touch nothing emulated: beeper, display, status, math."""

from __future__ import annotations

import math
from collections.abc import Callable

from drivers.emulators.tsp_objects import Function, Namespace, Settings, action, choice, ignore, number, string
from drivers.emulators.tsp_values import Value, as_number


def make_beeper(settings: Settings) -> Namespace:
    """`beeper`: keeps its setting, makes no sound."""
    beeper = Namespace("beeper")
    settings.bind(beeper, "enable", "beeper.enable", 1.0, choice((0.0, 1.0)))
    beeper.table("beep", ignore)
    return beeper


def make_display(settings: Settings) -> Namespace:
    """`display`: keeps text and settings."""
    display = Namespace("display")
    display.constants(SMUA=0, SMUB=1, SMUA_SMUB=2, USER=3)
    settings.bind(display, "screen", "display.screen", 2.0, choice((0.0, 1.0, 2.0, 3.0)))
    settings.add("display.text", "")

    def set_text(arguments: list[Value]) -> list[Value]:
        settings["display.text"] = string(arguments)[:80]
        return []

    display.table("clear", action(lambda: settings.__setitem__("display.text", "")))
    display.table("settext", set_text)
    display.table("gettext", lambda arguments: [settings["display.text"]])
    display.table("setcursor", ignore)
    for channel in ("smua", "smub"):
        shown, measure = Namespace(f"display.{channel}"), Namespace(f"display.{channel}.measure")
        measure.constants(DCAMPS=0, DCVOLTS=1, OHMS=2, WATTS=3)
        settings.bind(measure, "func", f"display.{channel}.func", 1.0, choice((0.0, 1.0, 2.0, 3.0)))
        settings.bind(shown, "digits", f"display.{channel}.digits", 5.0, choice((4.0, 5.0, 6.0)))
        shown.table("measure", measure)
        display.table(channel, shown)
    return display


def make_status(settings: Settings, errors: Callable[[], int]) -> Namespace:
    """`status`: the summary of the error queue; enable registers keep their value."""
    status = Namespace("status")
    status.table("reset", ignore)
    status.attribute("condition", lambda: 4.0 if errors() else 0.0)
    for name in ("request_enable", "node_enable"):
        settings.bind(status, name, f"status.{name}", 0.0, number(0.0, 65535.0))
    return status


def make_math() -> Namespace:
    """`math`: the functions of one number that scripts use, `max` and `min`."""
    table = Namespace("math")
    table.constants(pi=math.pi, huge=math.inf)
    for name in ("abs", "floor", "ceil", "sqrt", "exp", "log", "log10", "sin", "cos"):
        table.table(name, _one(math.fabs if name == "abs" else getattr(math, name)))
    table.table("max", lambda arguments: [max(as_number(value, "argument") for value in arguments or [None])])
    table.table("min", lambda arguments: [min(as_number(value, "argument") for value in arguments or [None])])
    return table


def _one(function: Callable[[float], float]) -> Function:
    def call(arguments: list[Value]) -> list[Value]:
        try:
            return [float(function(as_number(arguments[0] if arguments else None, "argument")))]
        except (ValueError, OverflowError):  # outside the function's domain
            return [math.nan]

    return call
