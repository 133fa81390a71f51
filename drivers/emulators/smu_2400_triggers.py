"""The trigger and sweep commands of a Keithley 2400."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from drivers.emulators.scpi import Parameters
from drivers.emulators.scpi_numbers import scientific
from drivers.emulators.smu_2400_sweep import INFINITE, LIST_LIMIT, POINT_LIMIT
from drivers.emulators.source_measure import CURRENT, VOLTAGE, Quantity

if TYPE_CHECKING:
    from drivers.emulators.smu_2400 import Keithley2400
    from drivers.emulators.smu_2400_acquisition import Acquisition

_NAMES = {VOLTAGE: "VOLTage", CURRENT: "CURRent"}


def add_triggering(smu: Keithley2400, acquisition: Acquisition) -> None:
    """Counts, sources, delays and lines of both layers."""
    tree, keep_choice = smu.tree, smu.keep_choice
    tree.add(":INITiate[:IMMediate]", lambda p: acquisition.initiate())
    tree.add(":ABORt", lambda p: acquisition.abort())
    tree.add(":TRIGger:CLEar", lambda p: None)
    tree.number(
        ":ARM[:SEQuence][:LAYer]:COUNt",
        lambda: acquisition.triggering.arm_count,
        lambda count: acquisition.triggering.set_counts(count, acquisition.triggering.trigger_count),
        1,
        INFINITE,
        1,
        named=lambda word: INFINITE if word in ("INF", "INFINITE") else None,
    )
    tree.number(
        ":TRIGger[:SEQuence]:COUNt",
        lambda: acquisition.triggering.trigger_count,
        lambda count: acquisition.triggering.set_counts(acquisition.triggering.arm_count, count),
        1,
        POINT_LIMIT,
        1,
    )
    tree.number(
        ":ARM[:SEQuence][:LAYer]:TIMer",
        lambda: acquisition.triggering.arm_timer_s,
        lambda timer_s: setattr(acquisition.triggering, "arm_timer_s", timer_s),
        0.001,
        99999.99,
        0.1,
        "S",
    )
    tree.number(
        ":TRIGger[:SEQuence]:DELay",
        lambda: acquisition.triggering.trigger_delay_s,
        lambda delay_s: setattr(acquisition.triggering, "trigger_delay_s", delay_s),
        0.0,
        999.9999,
        0.0,
        "S",
    )
    tree.choice(
        ":ARM[:SEQuence][:LAYer]:SOURce",
        "IMMediate TLINk TIMer MANual BUS NSTest PSTest BSTest",
        lambda: acquisition.triggering.arm_source,
        lambda source: setattr(acquisition.triggering, "arm_source", source),
    )
    tree.choice(
        ":TRIGger[:SEQuence]:SOURce",
        "IMMediate TLINk",
        lambda: acquisition.triggering.trigger_source,
        lambda source: setattr(acquisition.triggering, "trigger_source", source),
    )
    keep_choice(":ARM[:SEQuence][:LAYer]:DIRection", "ACCeptor SOURce", "ACC")
    keep_choice(":TRIGger[:SEQuence]:DIRection", "ACCeptor SOURce", "ACC")
    keep_choice(":ARM[:SEQuence][:LAYer]:OUTPut", "TENTer TEXit NONE", "NONE")
    keep_choice(":TRIGger[:SEQuence]:OUTPut", "SOURce DELay SENSe NONE", "NONE")
    keep_choice(":TRIGger[:SEQuence]:INPut", "SOURce DELay SENSe NONE", "NONE")
    for layer in (":ARM[:SEQuence][:LAYer]", ":TRIGger[:SEQuence]"):
        for configuration in ("", "[:TCONfigure][:ASYNchronous]"):
            smu.keep_number(f"{layer}{configuration}:ILINe", 1, 4, 1)
            smu.keep_number(f"{layer}{configuration}:OLINe", 1, 4, 2)


def add_sweeps(smu: Keithley2400, acquisition: Acquisition) -> None:
    """Modes, stairs and lists of both source functions."""
    tree = smu.tree
    tree.choice(
        ":SOURce:SWEep:SPACing",
        "LINear LOGarithmic",
        lambda: acquisition.triggering.spacing,
        lambda spacing: setattr(acquisition.triggering, "spacing", spacing),
    )
    tree.choice(
        ":SOURce:SWEep:DIRection",
        "UP DOWn",
        lambda: acquisition.triggering.direction,
        lambda direction: setattr(acquisition.triggering, "direction", "DOWN" if direction == "DOW" else direction),
    )
    tree.number(
        ":SOURce:SWEep:POINts",
        lambda: acquisition.triggering.sweeps[smu.now.function].points,
        partial(_set_points, acquisition),
        2,
        POINT_LIMIT,
        POINT_LIMIT,
    )
    smu.keep_choice(":SOURce:SWEep:RANGing", "BEST AUTO FIXed", "BEST")
    smu.keep_choice(":SOURce:SWEep:CABort", "NEVer EARLy LATE", "NEV")
    for quantity in (VOLTAGE, CURRENT):
        _add_sweep_of(smu, acquisition, quantity)


def _set_points(acquisition: Acquisition, points: float) -> None:
    for sweep in acquisition.triggering.sweeps.values():
        sweep.points = int(points)


def _add_sweep_of(smu: Keithley2400, acquisition: Acquisition, quantity: Quantity) -> None:
    tree, base = smu.tree, f":SOURce:{_NAMES[quantity]}"
    full = smu.core.model.full_scale(quantity)
    unit = "V" if quantity is VOLTAGE else "A"
    tree.choice(
        base + ":MODE",
        "FIXed SWEep LIST",
        lambda: acquisition.triggering.sweeps[quantity].mode,
        lambda mode: setattr(acquisition.triggering.sweeps[quantity], "mode", mode),
    )
    for word in ("start", "stop"):
        _add_bound(smu, acquisition, base + (":STARt" if word == "start" else ":STOP"), quantity, word)
    tree.number(
        base + ":STEP",
        lambda: acquisition.triggering.sweeps[quantity].step,
        lambda step: acquisition.triggering.sweeps[quantity].set_step(step),
        -2 * full,
        2 * full,
        full,
        unit,
        scientific,
    )
    listed = f":SOURce:LIST:{_NAMES[quantity]}"

    def values(parameters: Parameters) -> list[float]:
        return [parameter.number(-full, full, 0.0, unit) for parameter in parameters]

    tree.add(
        listed,
        lambda p: setattr(acquisition.triggering.sweeps[quantity], "values", values(p)),
        lambda p: ",".join(map(scientific, acquisition.triggering.sweeps[quantity].values)),
        (1, LIST_LIMIT),
    )
    tree.add(
        listed + ":APPend", lambda p: acquisition.triggering.sweeps[quantity].append(values(p)), None, (1, LIST_LIMIT)
    )
    tree.add(listed + ":POINts", get=lambda p: str(len(acquisition.triggering.sweeps[quantity].values)))


def _add_bound(smu: Keithley2400, acquisition: Acquisition, pattern: str, quantity: Quantity, word: str) -> None:
    full = smu.core.model.full_scale(quantity)
    smu.tree.number(
        pattern,
        lambda: float(getattr(acquisition.triggering.sweeps[quantity], word)),
        lambda value: setattr(acquisition.triggering.sweeps[quantity], word, value),
        -full,
        full,
        0.0,
        "V" if quantity is VOLTAGE else "A",
        scientific,
    )
