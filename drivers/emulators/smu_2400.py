"""An emulated Keithley 2400 SourceMeter: its source, sense, output and system commands. User's manual 2400S-900-01.

Left out: limit tests, math, source memory, digital output, and the front panel.
"""

from __future__ import annotations

import math

from drivers.emulators.circuit import Port
from drivers.emulators.emulated_smu import EmulatedSmu
from drivers.emulators.latency import Latency
from drivers.emulators.scpi import Parameters
from drivers.emulators.scpi_numbers import plain, scientific
from drivers.emulators.scpi_status import ScpiError
from drivers.emulators.smu_2400_acquisition import Acquisition
from drivers.emulators.smu_2400_system import add_system
from drivers.emulators.source_measure import CURRENT, OVERRANGE, RESISTANCE, VOLTAGE, Model, Quantity, Settings
from pib_lab.device import Clock

RANGES_OHM = (2.0, 20.0, 200.0, 2e3, 2e4, 2e5, 2e6, 2e7, 2e8)
PHYSICS = Model(
    ranges={
        VOLTAGE: (0.2, 2.0, 20.0, 200.0),
        CURRENT: (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0),
        RESISTANCE: RANGES_OHM,
    },
    compliance_min={VOLTAGE: 2e-4, CURRENT: 1e-9},
    off_fraction=0.005,
    range_compliance=True,
)
PROTECTIONS_V = (20.0, 40.0, 60.0, 80.0, 100.0, 120.0, 160.0)
IDENTITY = "KEITHLEY INSTRUMENTS INC.,MODEL 2400,1234567,C34 Sep 21 2016 15:30:00/A02  /S/K"
TOO_SMALL, READ_BACK, ABOVE_COMPLIANCE, AUTO_OHMS = (
    (822, "Too small for sense range"),
    (823, "Invalid with source read-back on"),
    (824, "Cannot exceed compliance range"),
    (825, "Invalid with auto-ohms on"),
)
_SHORT = {VOLTAGE: "VOLTage", CURRENT: "CURRent", RESISTANCE: "RESistance"}
_OTHER = {VOLTAGE: CURRENT, CURRENT: VOLTAGE}
_UNIT = {VOLTAGE: "V", CURRENT: "A", RESISTANCE: "OHM"}


def fresh_settings() -> Settings:
    """The *RST conditions."""
    return Settings(
        level={VOLTAGE: 0.0, CURRENT: 0.0},
        limit={VOLTAGE: 21.0, CURRENT: 105e-6},
        source_range={VOLTAGE: 20.0, CURRENT: 1e-4},
        measure_range={VOLTAGE: 20.0, CURRENT: 1e-4, RESISTANCE: 2e5},
    )


class Keithley2400(EmulatedSmu):
    """One Model 2400 at `port`."""

    model = "smu-2400"

    def __init__(
        self,
        port: Port,
        clock: Clock,
        seed: int,
        latency: Latency,
        physics: Model = PHYSICS,
        identity: str = IDENTITY,
    ) -> None:
        super().__init__(identity, physics, fresh_settings, port, clock, seed, latency, error_depth=10)
        self.acquisition = Acquisition(self)
        self._add_source()
        self._add_sense()
        self._add_output()
        add_system(self)

    def reset(self) -> None:
        """*RST: as :ABORt first; the trace buffer and its readings stay."""
        self.acquisition.reset()
        super().reset()

    def trigger(self) -> None:
        """*TRG: go on from the arm layer, if it waits there."""
        self.acquisition.bus_trigger()

    @property
    def auto_ohms(self) -> bool:
        """Whether the instrument itself sources what suits the resistance."""
        return RESISTANCE in self.functions and bool(self.kept["[:SENSe]:RESistance:MODE"] == "AUTO")

    def set_function(self, quantity: str) -> None:
        """What is sourced; automatic ohms source by themselves."""
        if self.auto_ohms:
            raise ScpiError(*AUTO_OHMS)
        super().set_function(quantity)

    def set_level(self, quantity: Quantity, value: float) -> None:
        """A source level; automatic ohms source by themselves."""
        if self.auto_ohms:
            raise ScpiError(*AUTO_OHMS)
        super().set_level(quantity, value)

    def refusal_power(self) -> ScpiError:
        """+826."""
        return ScpiError(826, "Attempt to exceed power limit")

    @property
    def functions(self) -> list[Quantity]:
        """What is measured, in the order of the readings."""
        return [quantity for quantity in (VOLTAGE, CURRENT, RESISTANCE) if quantity in self.kept["functions"]]

    @property
    def front(self) -> bool:
        """Whether the front terminals are connected."""
        return bool(self.kept[":ROUTe:TERMinals"] == "FRON")

    def set_output(self, on: bool) -> None:
        """Output on or off; off ends what is being acquired."""
        if on and self.kept[":OUTPut:ENABle[:STATe]"] and self.core.faults.interlock_open:
            raise ScpiError(802, "OUTPUT blocked by output enable")
        if not on:
            self.acquisition.triggering.waiting = False
        self.core.switch(on)

    def _add_source(self) -> None:
        tree = self.tree
        tree.choice(
            ":SOURce:FUNCtion[:MODE]", "VOLTage CURRent", lambda: str(self.now.function), lambda w: self.set_function(w)
        )
        self.keep_choice(":SOURce:FUNCtion:SHAPe", "DC", "DC")
        self.keep_boolean(":SOURce:CLEar:AUTO", False)
        tree.add(":SOURce:CLEar[:IMMediate]", lambda p: self.set_output(False))
        tree.number(":SOURce:DELay", lambda: self.now.delay_s[VOLTAGE], self._set_delay, 0.0, 9999.999, 0.0, "S", plain)
        tree.boolean(":SOURce:DELay:AUTO", lambda: self.now.delay_auto[VOLTAGE], self._set_delay_auto)
        for quantity in (VOLTAGE, CURRENT):
            self._add_source_of(quantity)
        tree.add(
            ":SOURce:VOLTage:PROTection[:LEVel]",
            self._set_protection,
            lambda p: scientific(min(self.now.protection_v, 210.0)),
            (1, 1),
        )
        tree.add(":SOURce:VOLTage:PROTection:TRIPped", get=lambda p: str(int(self.core.protecting())))

    def _add_source_of(self, quantity: Quantity) -> None:
        base = f":SOURce:{_SHORT[quantity]}"
        full, unit = self.core.model.full_scale(quantity), _UNIT[quantity]
        self.tree.number(
            base + "[:LEVel][:IMMediate][:AMPLitude]",
            lambda: self.now.level[quantity],
            lambda value: self.set_level(quantity, value),
            -full,
            full,
            0.0,
            unit,
            scientific,
        )
        self.tree.number(
            base + ":RANGe",
            lambda: self.now.source_range[quantity] * OVERRANGE,
            lambda value: self.set_source_range(quantity, value),
            -full,
            full,
            fresh_settings().source_range[quantity],
            unit,
            scientific,
            lambda word: self.next_range(quantity, self.now.source_range[quantity], word),
        )
        self.tree.boolean(
            base + ":RANGe:AUTO",
            lambda: self.now.source_auto[quantity],
            lambda on: self.set_source_auto(quantity, on),
        )

    def _add_sense(self) -> None:
        self.keep("functions", (CURRENT,))
        self.keep_boolean("[:SENSe]:FUNCtion:CONCurrent", True)
        self.tree.add("[:SENSe]:FUNCtion[:ON]", self._functions_on, lambda p: self._functions_text(True), (1, 3))
        self.tree.add("[:SENSe]:FUNCtion:OFF", self._functions_off, lambda p: self._functions_text(False), (1, 3))
        self.tree.add("[:SENSe]:FUNCtion[:ON]:ALL", lambda p: self._measure_only(tuple(Quantity)))
        self.tree.add("[:SENSe]:FUNCtion:OFF:ALL", lambda p: self._measure_only(()))
        self.tree.add("[:SENSe]:FUNCtion[:ON]:COUNt", get=lambda p: str(len(self.functions)))
        for quantity in Quantity:
            self._add_sense_of(quantity)
        for quantity in (VOLTAGE, CURRENT):
            self._add_compliance_of(quantity)
        self.keep_choice("[:SENSe]:RESistance:MODE", "MANual AUTO", "AUTO")
        self.keep_boolean("[:SENSe]:RESistance:OCOMpensated", False)
        self.tree.boolean(
            "[:SENSe]:AVERage[:STATe]",
            lambda: self.now.filtered[VOLTAGE],
            lambda on: self.now.filtered.update(dict.fromkeys(Quantity, on)),
        )
        self.keep_choice("[:SENSe]:AVERage:TCONtrol", "REPeat MOVing", "REP")
        self.tree.number(
            "[:SENSe]:AVERage:COUNt",
            lambda: self.now.averages[VOLTAGE],
            lambda count: self.now.averages.update(dict.fromkeys(Quantity, int(count))),
            1,
            100,
            10,
        )

    def _add_sense_of(self, quantity: Quantity) -> None:
        dc = "" if quantity is RESISTANCE else "[:DC]"
        base = f"[:SENSe]:{_SHORT[quantity]}{dc}"
        full = 2.1e8 if quantity is RESISTANCE else self.core.model.full_scale(quantity)
        self.tree.number(
            base + ":RANGe[:UPPer]",
            lambda: self.core.present_range(quantity) * OVERRANGE,
            lambda value: self._set_measure_range(quantity, value),
            0.0 if quantity is RESISTANCE else -full,
            full,
            fresh_settings().measure_range[quantity] * OVERRANGE,
            _UNIT[quantity],
            scientific,
            lambda word: self.next_range(quantity, self.core.present_range(quantity), word),
        )
        self.tree.boolean(
            base + ":RANGe:AUTO",
            lambda: self.now.measure_auto[quantity],
            lambda on: self.change(lambda: self.now.measure_auto.update({quantity: on})),
        )
        for limit in ("LLIMit", "ULIMit"):
            self.keep_number(
                f"{base}:RANGe:AUTO:{limit}", 0.0, full, full if limit == "ULIMit" else 0.0, form=scientific
            )
        self.tree.number(
            base + ":NPLCycles",
            lambda: self.now.nplc[quantity],
            lambda cycles: self.now.nplc.update(dict.fromkeys(Quantity, cycles)),  # one for all functions
            0.01,
            10.0,
            1.0,
            form=lambda value: f"{value:.2f}",
        )

    def _add_compliance_of(self, quantity: Quantity) -> None:
        base = f"[:SENSe]:{_SHORT[quantity]}[:DC]:PROTection"
        full = self.core.model.full_scale(quantity)
        self.tree.number(
            base + "[:LEVel]",
            lambda: self.now.limit[quantity],
            lambda value: self._set_compliance(quantity, value),
            -full,
            full,
            fresh_settings().limit[quantity],
            _UNIT[quantity],
            scientific,
        )
        self.tree.add(base + ":TRIPped", get=lambda p: str(int(self._limits(quantity) and self.core.tripped())))
        self.keep_boolean(base + ":RSYNchronize", False)

    def _add_output(self) -> None:
        tree = self.tree
        tree.boolean(":OUTPut[:STATe]", lambda: self.core.output, self.set_output)
        tree.choice(":OUTPut:SMODe", "HIMPedance NORMal ZERO GUARd", lambda: self.now.off_state, self._set_off_state)
        self.keep_boolean(":OUTPut:ENABle[:STATe]", False)
        tree.add(":OUTPut:ENABle:TRIPped", get=lambda p: str(int(not self.core.faults.interlock_open)))
        read, write = self.keep(":ROUTe:TERMinals", "FRON")

        def route(terminals: str) -> None:
            if terminals != read():
                self.set_output(False)
            write(terminals)

        tree.choice(":ROUTe:TERMinals", "FRONt REAR", read, route)

    def _set_delay(self, delay_s: float) -> None:
        for quantity in (VOLTAGE, CURRENT):
            self.now.delay_s[quantity], self.now.delay_auto[quantity] = delay_s, False

    def _set_delay_auto(self, on: bool) -> None:
        self.now.delay_auto.update(dict.fromkeys((VOLTAGE, CURRENT), on))

    def _set_protection(self, parameters: Parameters) -> None:
        wanted = abs(parameters[0].number(-210.0, 210.0, 210.0, "V", lambda word: 210.0 if word == "NONE" else None))
        self.now.protection_v = next((level for level in PROTECTIONS_V if wanted <= level), math.inf)
        self.core.apply()

    def _set_measure_range(self, quantity: Quantity, value: float) -> None:
        nominal = self.core.model.range_for(quantity, value)
        if self.now.function is quantity:
            raise ScpiError(*READ_BACK)
        if quantity is not RESISTANCE:
            limit = self.now.limit[quantity]
            if nominal > self.core.model.range_for(quantity, limit):
                raise ScpiError(*ABOVE_COMPLIANCE)
            if limit < 0.001 * nominal * (1 - 1e-9):
                raise ScpiError(*TOO_SMALL)
        self.now.measure_range[quantity], self.now.measure_auto[quantity] = nominal, False
        self.core.apply()

    def _set_compliance(self, quantity: Quantity, value: float) -> None:
        value = abs(value)
        if value < self.core.model.compliance_min[quantity] * (1 - 1e-9):
            raise ScpiError(-222)
        fixed = self._limits(quantity) and not self.now.measure_auto[quantity]
        if fixed and value < 0.001 * self.now.measure_range[quantity] * (1 - 1e-9):
            raise ScpiError(*TOO_SMALL)
        self.change(lambda: self.now.limit.update({quantity: value}))

    def _limits(self, quantity: Quantity) -> bool:
        """Whether this quantity is the one that is limited, since the other is sourced."""
        return self.now.function is _OTHER[quantity]

    def _set_off_state(self, state: str) -> None:
        self.now.off_state = state
        self.core.switch(self.core.output)

    def set_remote_sense(self, on: bool) -> None:
        """Four-wire sensing or two-wire; a change switches the output off."""
        if on != self.now.remote_sense:
            self.set_output(False)
        self.now.remote_sense = on

    def set_autozero(self, parameters: Parameters) -> None:
        """On, off, or ONCE, which takes the time of a reading."""
        if parameters[0].text.upper() == "ONCE":
            self.core.wait(self.core.latency.reading_s(self.now.nplc[VOLTAGE], True))
        else:
            self.now.autozero = parameters[0].boolean()

    def _measure_only(self, functions: tuple[Quantity, ...]) -> None:
        self.kept["functions"] = functions

    def _functions_on(self, parameters: Parameters) -> None:
        named = [_function(parameter.string()) for parameter in parameters]
        if self.kept["[:SENSe]:FUNCtion:CONCurrent"]:
            self._measure_only((*self.kept["functions"], *named))
        else:
            self._measure_only((named[-1],))

    def _functions_off(self, parameters: Parameters) -> None:
        named = [_function(parameter.string()) for parameter in parameters]
        self._measure_only(tuple(quantity for quantity in self.functions if quantity not in named))

    def _functions_text(self, on: bool) -> str:
        names = {VOLTAGE: '"VOLT:DC"', CURRENT: '"CURR:DC"', RESISTANCE: '"RES"'}
        return ",".join(names[quantity] for quantity in Quantity if (quantity in self.functions) is on) or '""'


def _function(name: str) -> Quantity:
    words: dict[str, Quantity] = {}
    for quantity in Quantity:
        for word in (str(quantity), _SHORT[quantity].upper()):
            words[word] = words[f"{word}:DC"] = quantity
    if name.strip().upper() not in words:
        raise ScpiError(-224)
    return words[name.strip().upper()]
