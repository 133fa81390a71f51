"""A Keithley 2450 in its own SCPI: source, sense, output and system commands. Reference manual 2450-901-01.

Left out: relative offsets, units other than those of the function, math, limit tests, configuration lists, and trigger
blocks other than the loaded loops. The number with which it refuses to measure with the output off is not known: -221.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from drivers.emulators.circuit import Port
from drivers.emulators.emulated_smu import EmulatedSmu
from drivers.emulators.latency import Latency
from drivers.emulators.scpi import Parameters
from drivers.emulators.smu_2450_acquisition import Acquisition
from drivers.emulators.smu_2450_buffers import EPOCH
from drivers.emulators.source_measure import CURRENT, RESISTANCE, VOLTAGE, Model, Quantity, Settings
from pib_lab.device import Clock

PHYSICS = Model(
    ranges={
        VOLTAGE: (0.02, 0.2, 2.0, 20.0, 200.0),
        CURRENT: (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0),
        RESISTANCE: (2.0, 20.0, 200.0, 2e3, 2e4, 2e5, 2e6, 2e7, 2e8),
    },
    compliance_min={VOLTAGE: 0.02, CURRENT: 1e-9},
    off_fraction=0.1,
    range_compliance=False,
    noise=2e-6,
)
PROTECTIONS_V = (2, 5, 10, 20, 40, 60, 80, 100, 120, 140, 160, 180)
ERROR_DEPTH = 1000
_SHORT = {VOLTAGE: "VOLTage", CURRENT: "CURRent", RESISTANCE: "RESistance"}
_UNIT = {VOLTAGE: "V", CURRENT: "A", RESISTANCE: "OHM"}
_LIMIT = {VOLTAGE: "ILIMit", CURRENT: "VLIMit"}
_OTHER = {VOLTAGE: CURRENT, CURRENT: VOLTAGE}
_OFF_STATES = "HIMPedance NORMal ZERO GUARd"


def fresh_settings() -> Settings:
    """The *RST conditions."""
    return Settings(
        level={VOLTAGE: 0.0, CURRENT: 0.0},
        limit={VOLTAGE: 21.0, CURRENT: 1.05e-4},
        source_range={VOLTAGE: 0.02, CURRENT: 1e-8},
        measure_range={VOLTAGE: 0.02, CURRENT: 1e-4, RESISTANCE: 2e5},
    )


class Native2450(EmulatedSmu):
    """The 2450 that speaks SCPI."""

    model = "smu-2450"

    def __init__(self, identity: str, port: Port, clock: Clock, seed: int, latency: Latency) -> None:
        super().__init__(identity, PHYSICS, fresh_settings, port, clock, seed, latency, ERROR_DEPTH)
        self.acquisition = Acquisition(self)
        self._add_source()
        for quantity in Quantity:
            self._add_sense_of(quantity)
        self._add_output()
        self._add_system()

    def reset(self) -> None:
        """*RST: output off, defaults, buffers empty."""
        super().reset()
        self.acquisition.reset()

    def trigger(self) -> None:
        """*TRG: an event that nothing here waits for, which is no error."""

    @property
    def measured(self) -> Quantity:
        """What is measured."""
        return Quantity(self.kept["function"])

    def refresh(self) -> None:
        """Settings that belong to a function come into force with it."""
        self.now.remote_sense = self.kept[f"remote {self.measured}"]
        self.now.off_state = self.kept[f"off {self.now.function}"]
        self.now.autozero = self.kept[f"autozero {self.measured}"]
        self.core.switch(self.core.output)

    def _add_source(self) -> None:
        def choose(function: str) -> None:
            self.set_function(function)
            self.refresh()

        self.tree.choice(":SOURce:FUNCtion[:MODE]", "VOLTage CURRent", lambda: str(self.now.function), choose)
        for quantity in (VOLTAGE, CURRENT):
            self._add_source_of(quantity)
        self.tree.add(
            ":SOURce:VOLTage:PROTection[:LEVel]",
            self._set_protection,
            lambda p: "NONE" if math.isinf(self.now.protection_v) else f"PROT{self.now.protection_v:.0f}",
            (1, 1),
        )
        self.tree.add(":SOURce:VOLTage:PROTection[:LEVel]:TRIPped", get=lambda p: str(int(self.core.protecting())))

    def _add_source_of(self, quantity: Quantity) -> None:
        base, unit = f":SOURce:{_SHORT[quantity]}", _UNIT[quantity]
        full, limited = self.core.model.full_scale(quantity), _OTHER[quantity]
        tree, fresh = self.tree, fresh_settings()
        tree.number(
            base + "[:LEVel][:IMMediate][:AMPLitude]",
            lambda: self.now.level[quantity],
            lambda value: self.set_level(quantity, value),
            -full,
            full,
            0.0,
            unit,
        )
        tree.number(
            base + ":RANGe",
            lambda: self.now.source_range[quantity],
            lambda value: self.set_source_range(quantity, value),
            -full,
            full,
            fresh.source_range[quantity],
            unit,
        )
        tree.boolean(
            base + ":RANGe:AUTO",
            lambda: self.now.source_auto[quantity],
            lambda on: self.set_source_auto(quantity, on),
        )
        tree.number(
            f"{base}:{_LIMIT[quantity]}[:LEVel]",
            lambda: self.now.limit[limited],
            lambda value: self.change(lambda: self.now.limit.update({limited: value})),
            self.core.model.compliance_min[limited],
            self.core.model.full_scale(limited),
            fresh.limit[limited],
            _UNIT[limited],
        )
        tree.add(
            f"{base}:{_LIMIT[quantity]}[:LEVel]:TRIPped",
            get=lambda p: str(int(self.now.function is quantity and self.core.tripped())),
        )
        tree.number(
            base + ":DELay",
            lambda: self.now.delay_s[quantity],
            lambda s: self._set_delay(quantity, s),
            0.0,
            1e4,
            0.0,
            "S",
        )
        tree.boolean(
            base + ":DELay:AUTO",
            lambda: self.now.delay_auto[quantity],
            lambda on: self.now.delay_auto.update({quantity: on}),
        )
        self.keep_boolean(base + ":READ:BACK", True)
        self.keep_boolean(base + ":HIGH:CAPacitance", False)

    def _add_sense_of(self, quantity: Quantity) -> None:
        dc = "" if quantity is RESISTANCE else "[:DC]"
        base, tree = f"[:SENSe]:{_SHORT[quantity]}{dc}", self.tree
        full = 2.1e8 if quantity is RESISTANCE else self.core.model.full_scale(quantity)
        tree.number(
            base + ":RANGe[:UPPer]",
            lambda: self.now.measure_range[quantity],
            lambda value: self._set_measure_range(quantity, value),
            0.0 if quantity is RESISTANCE else -full,
            full,
            fresh_settings().measure_range[quantity],
            _UNIT[quantity],
        )
        tree.boolean(
            base + ":RANGe:AUTO",
            lambda: self.now.measure_auto[quantity],
            lambda on: self.now.measure_auto.update({quantity: on}),
        )
        for limit in ("LLIMit", "ULIMit"):
            self.keep_number(f"{base}:RANGe:AUTO:{limit}", 0.0, full, full if limit == "ULIMit" else 0.0)
        tree.number(
            base + ":NPLCycles",
            lambda: self.now.nplc[quantity],
            lambda cycles: self.now.nplc.update({quantity: cycles}),
            0.01,
            10.0,
            1.0,
        )
        tree.boolean(
            base + ":AVERage[:STATe]",
            lambda: self.now.filtered[quantity],
            lambda on: self.now.filtered.update({quantity: on}),
        )
        tree.number(
            base + ":AVERage:COUNt",
            lambda: self.now.averages[quantity],
            lambda count: self.now.averages.update({quantity: int(count)}),
            1,
            100,
            10,
        )
        self.keep_choice(base + ":AVERage:TCONtrol", "REPeat MOVing", "REP")
        self._add_refreshed(base + ":AZERo[:STATe]", f"autozero {quantity}", True)
        self._add_refreshed(base + ":RSENse", f"remote {quantity}", False)
        if quantity is RESISTANCE:
            self.keep_boolean(base + ":OCOMpensated", False)

    def _add_refreshed(self, pattern: str, name: str, default: bool) -> None:
        read, write = self.keep(name, default)

        def put(on: bool) -> None:
            write(on)
            self.refresh()

        self.tree.boolean(pattern, read, put)

    def _add_output(self) -> None:
        tree = self.tree
        tree.boolean(":OUTPut[:STATe]", lambda: self.core.output, self.core.switch)
        for quantity in (VOLTAGE, CURRENT):
            self._add_off_state(f":OUTPut:{_SHORT[quantity]}:SMODe", quantity)
        tree.choice(":OUTPut:SMODe", _OFF_STATES, lambda: self.now.off_state, self._set_off_states)
        tree.add(":OUTPut:INTerlock:TRIPped", get=lambda p: str(int(not self.core.faults.interlock_open)))
        read, write = self.keep("terminals", "FRON")

        def route(terminals: str) -> None:
            if terminals != read():
                self.core.switch(False)
            write(terminals)

        tree.choice(":ROUTe:TERMinals", "FRONt REAR", read, route)

    def _add_off_state(self, pattern: str, quantity: Quantity) -> None:
        read, write = self.keep(f"off {quantity}", "NORM")

        def put(state: str) -> None:
            write(state)
            self.refresh()

        self.tree.choice(pattern, _OFF_STATES, read, put)

    def _set_off_states(self, state: str) -> None:
        for quantity in (VOLTAGE, CURRENT):
            self.kept[f"off {quantity}"] = state
        self.refresh()

    def _add_system(self) -> None:
        tree, status = self.tree, self.status
        for pattern in (":SYSTem:ERRor[:NEXT]", ":SYSTem:EVENtlog:NEXT"):
            tree.add(pattern, get=lambda p: self._error_text(*status.next_error()))
        tree.add(":SYSTem:ERRor:CODE[:NEXT]", get=lambda p: str(status.next_error()[0]))
        tree.add(":SYSTem:ERRor:COUNt", get=lambda p: str(len(status.errors)))
        tree.add(":SYSTem:EVENtlog:COUNt", get=lambda p: str(len(status.errors)), query_counts=(0, 1))
        for pattern in (":SYSTem:CLEar", ":STATus:CLEar"):
            tree.add(pattern, lambda p: status.errors.clear())
        tree.add(":SYSTem:VERSion", get=lambda p: "1999.0")
        tree.add(":SYSTem:LFRequency", get=lambda p: "50")
        tree.add(":SYSTem:BEEPer[:IMMediate]", self._beep, None, (2, 2))
        tree.add(":SYSTem:TIME", get=lambda p: str(int((self._today()).timestamp())), query_counts=(0, 1))
        self.keep_choice(":SYSTem:ACCess", "FULL EXCLusive PROTected LOCKout", "FULL")
        tree.add("[:SENSe]:AZERo:ONCE", lambda p: self._zero_once())
        for quantity in Quantity:
            self.keep_number(f":DISPlay:{_SHORT[quantity]}:DIGits", 3, 6, 5)
        self.keep_choice(":DISPlay:LIGHt:STATe", "ON100 ON75 ON50 ON25 OFF BLACkout", "ON50")
        self.ignore(":DISPlay:SCReen", 1)
        self.ignore(":DISPlay:CLEar")
        for line in (1, 2):
            self.ignore(f":DISPlay:USER{line}:TEXT[:DATA]", 1)
        self.keep_choice(":FORMat[:DATA]", "ASCii", "ASC")
        self.keep_number(":FORMat:ASCii:PRECision", 0, 16, 0)
        self.add_registers("QUEStionable", 3, lambda: 0)
        self.add_registers("OPERation", 7, lambda: 0)

    def _set_delay(self, quantity: Quantity, delay_s: float) -> None:
        self.now.delay_s[quantity], self.now.delay_auto[quantity] = delay_s, False

    def _set_measure_range(self, quantity: Quantity, value: float) -> None:
        self.now.measure_range[quantity] = self.core.model.range_for(quantity, value)
        self.now.measure_auto[quantity] = False

    def _set_protection(self, parameters: Parameters) -> None:
        word = parameters[0].choice(" ".join(["NONE", *(f"PROT{level}" for level in PROTECTIONS_V)]))
        self.now.protection_v = math.inf if word == "NONE" else float(word.removeprefix("PROT"))
        self.core.apply()

    def _zero_once(self) -> None:
        self.core.wait(self.core.latency.reading_s(self.now.nplc[self.measured], True))

    def _beep(self, parameters: Parameters) -> None:
        parameters[0].number(20, 2e6, 20, "HZ")
        parameters[1].number(0.001, 100.0, 0.001, "S")

    def _today(self) -> datetime:
        return EPOCH + timedelta(seconds=self.clock.now_s())

    def _error_text(self, code: int, message: str) -> str:
        if not code:
            return f'0,"{message};0;0 0"'
        return f'{code},"{message};1;{self._today():%Y/%m/%d %H:%M:%S}.000"'
