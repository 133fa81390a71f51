"""How a Keithley 2400 takes readings: trigger model, sweeps, :READ? and its kin, the trace buffer.

An acquisition is carried out when it is asked for, and its time passes then: a device clear or the output key ends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.emulators.scpi import Parameters
from drivers.emulators.scpi_numbers import plain, signed
from drivers.emulators.scpi_status import ScpiError
from drivers.emulators.smu_2400_readings import BUFFER_LIMIT, ELEMENTS, Reading2400, Trace, reading
from drivers.emulators.smu_2400_sweep import INFINITE, Triggering
from drivers.emulators.smu_2400_triggers import add_sweeps, add_triggering
from drivers.emulators.source_measure import CURRENT, RESISTANCE, VOLTAGE, Quantity

if TYPE_CHECKING:
    from drivers.emulators.smu_2400 import Keithley2400

BUFFER_FULL, READING_AVAILABLE = 1 << 9, 1 << 6  # of the measurement event register
_TEST_CURRENTS_A = {2.0: 1.0, 20.0: 0.1, 200.0: 0.01, 2e3: 1e-3, 2e4: 1e-4, 2e5: 1e-5, 2e6: 1e-6, 2e7: 1e-6, 2e8: 1e-7}


class Acquisition:
    """Readings of one 2400, and the commands that ask for them."""

    def __init__(self, smu: Keithley2400) -> None:
        self._smu = smu
        self.origin_s = smu.clock.now_s()
        self.triggering = Triggering()
        self.trace = Trace()
        self._latest: list[Reading2400] = []
        self._add_reading()
        add_triggering(smu, self)
        add_sweeps(smu, self)
        self._add_trace()

    def reset(self) -> None:
        """Idle, with defaults; what is in the trace buffer stays."""
        self.triggering = Triggering()
        self._latest = []

    def reset_time(self) -> None:
        """Time stamps count from now."""
        self.origin_s = self._smu.clock.now_s()

    def operation(self) -> int:
        """Operation condition: waiting in the arm layer (bit 6), or idle (bit 10)."""
        return 1 << 6 if self.triggering.waiting else 1 << 10

    def initiate(self) -> None:
        """:INITiate: take all readings, or wait for whoever triggers."""
        triggering = self.triggering
        if triggering.waiting:
            raise ScpiError(-213)
        self._check_output()
        endless = triggering.arm_count >= INFINITE
        if endless or triggering.external or triggering.arm_source == "BUS":
            triggering.waiting = True
        else:
            self._run(int(triggering.arm_count))

    def bus_trigger(self) -> None:
        """*TRG while the arm layer waits for the bus; else it is ignored, with an error."""
        if not self.triggering.waiting or self.triggering.arm_source != "BUS":
            raise ScpiError(-211)
        self.triggering.waiting = False
        self._run(1)

    def _check_output(self) -> None:
        if not self._smu.core.output and not self._smu.kept[":SOURce:CLEar:AUTO"]:
            raise ScpiError(803, "Not permitted with OUTPUT off")

    def _run(self, arms: int) -> None:
        smu, core, triggering = self._smu, self._smu.core, self.triggering
        levels = triggering.sweeps[smu.now.function].levels(triggering.spacing, triggering.direction)
        clear, abort = smu.kept[":SOURce:CLEar:AUTO"], smu.kept[":SOURce:SWEep:CABort"]
        self._latest = []
        for arm in range(arms):
            if arm and triggering.arm_source == "TIM":
                core.wait(triggering.arm_timer_s)
            for point in range(triggering.trigger_count):
                if core.aborted.is_set():
                    return
                core.wait(triggering.trigger_delay_s)
                if levels is not None:
                    core.set_level(smu.now.function, levels[point % len(levels)])
                if clear:
                    smu.set_output(True)
                if levels is not None and abort == "EARL" and core.tripped():
                    return
                self._take()
                if clear:
                    core.switch(False)
                if levels is not None and abort == "LATE" and core.tripped():
                    return

    def _take(self) -> None:
        smu, functions = self._smu, self._smu.functions
        smu.core.settle()
        if smu.auto_ohms:
            self._choose_test_current()
        taken = reading(smu.core.measure(functions), smu.now, functions, smu.front, self.origin_s)
        self._latest.append(taken)
        events = smu.status.sets[0]
        events.event |= READING_AVAILABLE
        if self.trace.take(taken):
            events.event |= BUFFER_FULL

    def _choose_test_current(self) -> None:
        """Automatic ohms: a current is sourced that suits the resistance, found with a small one."""
        smu, core = self._smu, self._smu.core
        smu.now.function = CURRENT
        if smu.now.measure_auto[RESISTANCE]:
            core.set_level(CURRENT, min(_TEST_CURRENTS_A.values()))
            found = core.measure([RESISTANCE]).resistance_ohm
            smu.now.measure_range[RESISTANCE] = core.model.range_for(RESISTANCE, found)
        core.set_level(CURRENT, _TEST_CURRENTS_A[smu.now.measure_range[RESISTANCE]])

    def _add_reading(self) -> None:
        tree = self._smu.tree
        read, write = self._smu.keep("elements", ("VOLT", "CURR", "RES", "TIME", "STAT"))
        tree.add(
            ":FORMat:ELEMents[:SENSe]",
            lambda p: write(tuple(parameter.choice(ELEMENTS) for parameter in p)),
            lambda p: ",".join(name for name in ("VOLT", "CURR", "RES", "TIME", "STAT") if name in read()),
            (1, 5),
        )
        tree.add(":READ", get=lambda p: self._read())
        for pattern in (":FETCh", "[:SENSe]:DATA[:LATest]"):
            tree.add(pattern, get=lambda p: self._text(self._latest))
        tree.add(":MEASure", get=lambda p: self._read())
        tree.add(":CONFigure", get=lambda p: ",".join(f'"{quantity}"' for quantity in self._smu.functions))
        for quantity, name in ((VOLTAGE, "VOLTage[:DC]"), (CURRENT, "CURRent[:DC]"), (RESISTANCE, "RESistance")):
            self._add_measure(quantity, name)

    def _add_measure(self, quantity: Quantity, name: str) -> None:
        def measure(parameters: Parameters) -> str | None:
            self._configure(quantity)
            return self._read()

        self._smu.tree.add(f":CONFigure:{name}", lambda p: self._configure(quantity))
        self._smu.tree.add(f":MEASure:{name}", get=measure)

    def _configure(self, quantity: Quantity) -> None:
        """One-shot measurement of one function, which switches the output on, as the manual warns."""
        smu, fresh = self._smu, Triggering()
        smu.kept["functions"] = (quantity,)
        smu.now.nplc.update(dict.fromkeys(Quantity, 1.0))
        smu.now.filtered.update(dict.fromkeys(Quantity, False))
        smu.now.measure_auto[quantity] = True
        if quantity is RESISTANCE:
            smu.kept["[:SENSe]:RESistance:MODE"] = "AUTO"
        for name in ("arm_count", "trigger_count", "arm_source", "trigger_source", "trigger_delay_s"):
            setattr(self.triggering, name, getattr(fresh, name))
        smu.set_output(True)

    def _read(self) -> str | None:
        triggering = self.triggering
        triggering.waiting = False  # as by :ABORt
        if triggering.arm_count >= INFINITE:
            raise ScpiError(830, "Invalid with INF ARM:COUNT")
        if triggering.arm_source == "BUS":
            raise ScpiError(-214)
        self.initiate()
        return None if triggering.waiting or self._smu.core.aborted.is_set() else self._text(self._latest)

    def _text(self, readings: list[Reading2400]) -> str:
        if not readings:
            raise ScpiError(-230)
        elements = self._smu.kept["elements"]
        return ",".join(signed(value) for taken in readings for value in taken.pick(elements))

    def abort(self) -> None:
        """:ABORt: idle again."""
        self.triggering.waiting = False

    def _add_trace(self) -> None:
        tree = self._smu.tree
        for root in (":TRACe", ":DATA"):
            tree.add(f"{root}:DATA", get=lambda p: self._text(self.trace.readings))
            tree.add(f"{root}:CLEar", lambda p: self.trace.readings.clear())
            tree.add(f"{root}:FREE", get=lambda p: self._free())
            tree.number(
                f"{root}:POINts",
                lambda: self.trace.points,
                lambda n: self.trace.resize(n),
                1,
                BUFFER_LIMIT,
                100,
                form=plain,
            )
            tree.add(f"{root}:POINts:ACTual", get=lambda p: str(len(self.trace.readings)))
            tree.choice(f"{root}:FEED", "SENSe", lambda: "SENS", lambda feed: None)
            tree.choice(
                f"{root}:FEED:CONTrol", "NEXT NEVer", lambda: self.trace.control, lambda c: self.trace.set_control(c)
            )
        self._smu.keep_choice(":CALCulate3:FORMat", "MEAN SDEViation MAXimum MINimum PKPK", "MEAN")
        tree.add(":CALCulate3:DATA", get=lambda p: self._statistics())

    def _statistics(self) -> str:
        return ",".join(map(signed, self.trace.statistic(self._smu.kept[":CALCulate3:FORMat"])))

    def _free(self) -> str:
        used = len(self.trace.readings) * 24
        return f"{BUFFER_LIMIT * 24 - used},{used}"
