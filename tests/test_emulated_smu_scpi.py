"""The emulated 2400 and 2450 as instruments: what they source, how they clamp, what they read, how long it takes."""

from __future__ import annotations

import math
import statistics

import pytest

from drivers.emulators.circuit import Drive, Mode, Operating, Resistor
from drivers.emulators.latency import LIKE_REAL, NONE
from tests.scpi_bench import Bench2400, bench_2400, bench_2450

OVERFLOW, NOT_MEASURED = 9.9e37, 9.91e37
COMPLIANCE, OVER_VOLTAGE, RANGE_COMPLIANCE = 1 << 3, 1 << 4, 1 << 16


class Watched(Resistor):
    """A resistor that remembers how it was driven."""

    def __init__(self, ohm: float) -> None:
        super().__init__(ohm)
        self.drives: list[Drive] = []

    def drive(self, drive: Drive) -> None:
        self.drives.append(drive)
        super().drive(drive)


def status(bench: Bench2400) -> int:
    """The status word of a reading."""
    return int(bench.numbers(":READ?")[4])


def test_a_sourced_voltage_drives_its_current_through_the_port() -> None:
    """0.5 V across 10 kOhm reads 50 uA; what is not measured is not a number."""
    bench = bench_2400(1e4)
    bench.say(":SOUR:VOLT 500MV;:SENS:CURR:PROT 1MA;:OUTP ON")
    voltage, current, resistance, _, _ = bench.numbers(":READ?")
    assert (voltage, current) == pytest.approx((0.5, 5e-5), rel=1e-4)
    assert resistance == NOT_MEASURED


def test_a_sourced_current_makes_its_voltage() -> None:
    """10 uA through 10 kOhm reads 0.1 V."""
    bench = bench_2400(1e4)
    bench.say(":SOUR:FUNC CURR;:SOUR:CURR 1E-5;:SENS:FUNC 'VOLT';:OUTP ON")
    assert bench.numbers(":READ?")[0] == pytest.approx(0.1, rel=1e-4)


def test_compliance_clamps_the_2400_and_is_reported() -> None:
    """Beyond the programmed current the voltage gives way; TRIP? and the status word say so."""
    bench = bench_2400(1e3)
    bench.say(":SOUR:VOLT 1;:SENS:CURR:PROT 1E-4;:SENS:FUNC 'VOLT';:OUTP ON")
    voltage, current = bench.numbers(":READ?")[:2]
    assert (voltage, current) == pytest.approx((0.1, 1e-4), rel=1e-3)
    assert bench.ask(":SENS:CURR:PROT:TRIP?") == "1"
    assert status(bench) & (COMPLIANCE | RANGE_COMPLIANCE) == COMPLIANCE


def test_range_compliance_clamps_the_2400_at_105_percent_of_a_fixed_range() -> None:
    """The compliance level reads back as it was set, TRIP? says 0, and yet the source clamps."""
    bench = bench_2400(1e3)
    bench.say(":SOUR:VOLT 1;:SENS:CURR:PROT 1E-2;:SENS:CURR:RANG 1E-5;:OUTP ON")
    assert bench.numbers(":READ?")[1] == pytest.approx(1.05e-5, rel=1e-3)
    assert float(bench.ask(":SENS:CURR:PROT?")) == 1e-2
    assert bench.ask(":SENS:CURR:PROT:TRIP?") == "0"
    assert status(bench) & (COMPLIANCE | RANGE_COMPLIANCE) == RANGE_COMPLIANCE
    bench.say(":SENS:CURR:RANG:AUTO ON")
    assert bench.numbers(":READ?")[1] == pytest.approx(1e-3, rel=1e-3)


def test_the_2450_overflows_a_fixed_range_instead_of_clamping() -> None:
    """A reading beyond 105 % of its range is 9.9e37, with its sign, while the full current flows."""
    port = Watched(1e3)
    bench = bench_2450(port=port)
    bench.say(":SOUR:VOLT -1;:SOUR:VOLT:ILIM 1E-2;:SENS:CURR:RANG 1E-5;:OUTP ON")
    assert float(bench.ask(":READ?")) == -OVERFLOW
    assert port.operating().current_a == pytest.approx(-1e-3)
    assert bench.ask(":SOUR:VOLT:ILIM:TRIP?") == "0"


def test_the_limit_clamps_the_2450_and_is_reported() -> None:
    """ILIM:TRIP? is 1 in compliance, and so is the reading's source status."""
    bench = bench_2450(1e3)
    bench.say(":SOUR:VOLT 1;:SOUR:VOLT:ILIM 1E-4;:OUTP ON")
    assert float(bench.ask(":READ?")) == pytest.approx(1e-4, rel=1e-3)
    assert bench.ask(":SOUR:VOLT:ILIM:TRIP?;:SOUR:CURR:VLIM:TRIP?") == "1;0"
    assert int(bench.ask(":READ? 'defbuffer1', SOURSTAT")) & 8


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("NORM", Drive(Mode.VOLTAGE, 0.0, 0.005 * 1e-3)),
        ("ZERO", Drive(Mode.VOLTAGE, 0.0, 1e-3)),
        ("GUAR", Drive(Mode.CURRENT, 0.0, 0.005 * 2.0)),
        ("HIMP", Drive(Mode.OPEN)),
    ],
)
def test_output_off_of_a_2400_is_what_its_state_says(state: str, expected: Drive) -> None:
    """Normal is 0 V with 0.5 % of range, not an open relay; only HIMP opens it."""
    port = Watched(1e6)
    bench = bench_2400(port=port)
    bench.say(f":SOUR:VOLT 1;:SENS:CURR:PROT 1E-3;:SENS:CURR:RANG 1E-3;:OUTP:SMOD {state};:OUTP ON;:OUTP OFF")
    assert port.drives[-1] == expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("NORM", Drive(Mode.VOLTAGE, 0.0, 0.1 * 1e-3)),
        ("ZERO", Drive(Mode.VOLTAGE, 0.0, 2e-3)),
        ("GUAR", Drive(Mode.CURRENT, 0.0, 0.1 * 2.0)),
        ("HIMP", Drive(Mode.OPEN)),
    ],
)
def test_output_off_of_a_2450_is_what_its_state_says(state: str, expected: Drive) -> None:
    """Normal is 0 V with 10 % of range."""
    port = Watched(1e6)
    bench = bench_2450(port=port)
    bench.say(f":SOUR:VOLT 1;:SOUR:VOLT:ILIM 2E-3;:SENS:CURR:RANG 1E-3;:OUTP:VOLT:SMOD {state};:OUTP ON;:OUTP OFF")
    assert (port.drives[-1].mode, port.drives[-1].level) == (expected.mode, expected.level)
    assert port.drives[-1].limit == pytest.approx(expected.limit)


def test_the_port_is_held_at_the_off_state_before_anything_is_sent() -> None:
    """An instrument that has just been switched on drives 0 V, and its output is off."""
    port = Watched(1e3)
    bench = bench_2400(port=port)
    assert port.drives == [Drive(Mode.VOLTAGE, 0.0, 0.005 * 1e-4)]
    assert bench.smu.outputs() == {"output": False}


def test_the_output_relay_takes_time_and_wears_only_in_high_impedance() -> None:
    """15 ms and one operation each way with HIMP; none with NORM."""
    bench = bench_2400(latency=LIKE_REAL)
    bench.say(":OUTP ON", ":OUTP OFF")
    assert bench.smu.state()["relay_operations"] == 0
    bench.say(":OUTP:SMOD HIMP")
    before_s = bench.clock.now_s()
    bench.say(":OUTP ON", ":OUTP OFF")
    assert bench.smu.state()["relay_operations"] == 3
    assert bench.clock.now_s() - before_s == pytest.approx(2 * (LIKE_REAL.relay_s + LIKE_REAL.command_s))


def test_a_2400_does_not_read_with_the_output_off() -> None:
    """:READ? and :INIT are error +803, and no answer comes."""
    bench = bench_2400()
    assert bench.smu.execute(":READ?") == []
    assert bench.smu.execute(":INIT") == []
    assert [bench.error(), bench.error(), bench.error()] == [803, 803, 0]


def test_automatic_output_off_switches_on_for_each_reading_and_off_after_it() -> None:
    """With :SOUR:CLE:AUTO ON a 2400 reads with its output off."""
    port = Watched(1e3)
    bench = bench_2400(port=port)
    bench.say(":SOUR:VOLT 0.01;:SOUR:CLE:AUTO ON")
    assert bench.numbers(":READ?")[1] == pytest.approx(1e-5, rel=1e-3)
    assert bench.ask(":OUTP?") == "0"
    assert [drive.level for drive in port.drives] == [0.0, 0.01, 0.0]


def test_configure_and_measure_switch_the_output_of_a_2400_on() -> None:
    """As the manual warns: :MEAS? needs no :OUTP ON, and leaves it on."""
    bench = bench_2400(1e4)
    bench.say(":SOUR:VOLT 0.1")
    assert bench.numbers(":MEAS:CURR?")[1] == pytest.approx(1e-5, rel=1e-3)
    assert bench.ask(":OUTP?") == "1"


def test_a_2450_refuses_to_read_with_the_output_off() -> None:
    """No answer comes, and there is an error."""
    bench = bench_2450()
    assert bench.smu.execute(":READ?") == []
    assert bench.error() == -221


def test_over_voltage_protection_holds_the_voltage_down() -> None:
    """A level above it is not reached, whether voltage or current is sourced."""
    port = Watched(1e6)
    bench = bench_2400(port=port)
    bench.say(":SOUR:VOLT:PROT 20;:SOUR:VOLT 50;:SENS:FUNC 'VOLT';:OUTP ON")
    assert port.operating().voltage_v == 20.0
    assert bench.ask(":SOUR:VOLT:PROT:TRIP?") == "1"
    assert status(bench) & OVER_VOLTAGE
    assert float(bench.ask(":SOUR:VOLT:PROT?")) == 20.0
    bench.say(":OUTP OFF;:SOUR:FUNC CURR;:SENS:VOLT:PROT 40;:SOUR:CURR 1E-4;:OUTP ON")
    assert port.operating().voltage_v == 20.0


def test_the_2450_names_its_protection_levels() -> None:
    """PROT2 to PROT180, or NONE."""
    port = Watched(1e6)
    bench = bench_2450(port=port)
    assert bench.ask(":SOUR:VOLT:PROT?") == "NONE"
    bench.say(":SOUR:VOLT:PROT PROT2;:SOUR:VOLT 5;:OUTP ON")
    assert port.operating().voltage_v == 2.0
    assert bench.ask(":SOUR:VOLT:PROT?;:SOUR:VOLT:PROT:TRIP?") == "PROT2;1"


def test_an_open_sense_lead_drives_the_output_up_to_the_protection() -> None:
    """In four-wire mode nothing comes back to the loop; only the protection stops it."""
    port = Watched(1e6)
    bench = bench_2450(port=port)
    bench.say(":SENS:CURR:RSEN ON;:SOUR:VOLT 0.2;:SOUR:VOLT:RANG 20;:OUTP ON")
    assert port.operating().voltage_v == pytest.approx(0.2)
    bench.smu.set_state("open_sense", True)
    assert port.operating().voltage_v == pytest.approx(21.0)
    bench.say(":SOUR:VOLT:PROT PROT5")
    assert port.operating().voltage_v == 5.0


def test_an_open_interlock_caps_a_2450_and_blocks_a_2400_that_minds_it() -> None:
    """42 V at most on the one; +802 on the other once its output enable is in use."""
    port = Watched(1e6)
    bench = bench_2450(port=port)
    bench.smu.set_state("interlock_open", True)
    bench.say(":SOUR:VOLT 100;:OUTP ON")
    assert port.operating().voltage_v == 42.0
    old = bench_2400()
    old.smu.set_state("interlock_open", True)
    old.say(":OUTP:ENAB ON")
    old.smu.execute(":OUTP ON")
    assert old.error() == 802
    assert old.ask(":OUTP?") == "0"


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([":SENS:CURR:PROT 1E-4", ":SENS:CURR:RANG 1E-2"], 824),
        ([":SENS:CURR:PROT 1E-2", ":SENS:CURR:RANG 1E-2", ":SENS:CURR:PROT 1E-6"], 822),
        ([":SENS:VOLT:RANG 2"], 823),
        ([":SENS:CURR:PROT 1", ":SOUR:VOLT:RANG 200"], 826),
        ([":SENS:CURR:PROT 1E-10"], -222),
        ([":SOUR:VOLT:RANG 2", ":SOUR:VOLT 3"], -222),
        ([":SENS:FUNC 'RES'", ":SOUR:VOLT 1"], 825),
        ([":TRIG:COUN 100;:ARM:COUN 100"], -222),
        ([":OUTP ON;:ARM:COUN INF", ":READ?"], 830),
        ([":OUTP ON;:ARM:SOUR BUS", ":READ?"], -214),
        (["*TRG"], -211),
        ([":FETC?"], -230),
        ([":TRAC:FEED:CONT NEXT", ":TRAC:POIN 5"], 800),
        ([":OUTP ON;:ARM:SOUR BUS;:INIT", ":INIT"], -213),
    ],
)
def test_a_2400_refuses_what_the_manual_forbids(messages: list[str], code: int) -> None:
    """Each refusal has the instrument's own number, and comes from the last message."""
    bench = bench_2400()
    bench.say(*messages[:-1])
    assert bench.smu.execute(messages[-1]) == []
    assert bench.error() == code


def test_a_refused_setting_leaves_the_one_before() -> None:
    """Beyond the power limit neither the range nor the drive changes."""
    bench = bench_2400()
    bench.say(":SENS:CURR:PROT 1")
    bench.smu.execute(":SOUR:VOLT:RANG 200")
    assert float(bench.ask(":SOUR:VOLT:RANG?")) == pytest.approx(21.0)


def test_ranges_read_back_as_their_full_scale_on_a_2400_and_by_name_on_a_2450() -> None:
    """A range of 10 uA is 1.05e-5 on the one and 1e-5 on the other; it is the first that holds the value."""
    old, new = bench_2400(), bench_2450()
    assert old.numbers(":SENS:CURR:RANG 2E-6;RANG?") == [1.05e-5]
    assert new.numbers(":SENS:CURR:RANG 2E-6;RANG?") == [1e-5]
    assert old.ask(":SENS:CURR:RANG:AUTO?") == "0"


def test_noise_falls_with_the_root_of_the_integration_time() -> None:
    """A hundred times the power line cycles is a tenth of the spread."""
    spreads = {}
    for cycles in (0.1, 10.0):
        bench = bench_2400(1e4, quiet=False)
        bench.say(f":SOUR:VOLT 1;:SENS:CURR:PROT 1E-3;:SENS:CURR:NPLC {cycles};:TRIG:COUN 400;:FORM:ELEM CURR;:OUTP ON")
        spreads[cycles] = statistics.stdev(bench.numbers(":READ?"))
    assert spreads[0.1] / spreads[10.0] == pytest.approx(10.0, rel=0.15)
    assert spreads[10.0] == pytest.approx(5e-6 * 1e-4 / math.sqrt(10), rel=0.15)


def test_the_same_seed_gives_the_same_noise() -> None:
    """Two instruments alike read alike."""
    readings = []
    for _ in range(2):
        bench = bench_2400(quiet=False)
        bench.say(":SOUR:VOLT 0.1;:TRIG:COUN 5;:OUTP ON")
        readings.append(bench.ask(":READ?"))
    assert readings[0] == readings[1]


@pytest.mark.parametrize("cycles", [0.01, 1.0, 10.0])
@pytest.mark.parametrize("autozero", [True, False])
def test_a_reading_takes_its_power_line_cycles(cycles: float, autozero: bool) -> None:
    """Message, source delay, cycle overhead, and one conversion, or three with auto zero."""
    bench = bench_2400(latency=LIKE_REAL)
    bench.say(f":SENS:CURR:NPLC {cycles};:SYST:AZER {int(autozero)};:OUTP ON")
    before_s = bench.clock.now_s()
    bench.ask(":READ?")
    overhead_s = LIKE_REAL.command_s + LIKE_REAL.source_delay_s + LIKE_REAL.point_s
    conversions = 3 if autozero else 1
    assert bench.clock.now_s() - before_s == pytest.approx(overhead_s + conversions * (cycles * 0.02 + 185e-6))


def test_without_a_source_delay_a_reading_sees_the_output_settle() -> None:
    """On a sensitive range the output has not arrived when a fast reading is taken at once."""
    seen = []
    for delay in ("0", "0.1"):
        bench = bench_2400(1e7, LIKE_REAL)
        bench.say(":SENS:CURR:RANG 1E-6;NPLC 0.01;:SYST:AZER OFF;:FORM:ELEM CURR;:OUTP ON")
        bench.say(f":SOUR:VOLT:MODE LIST;:SOUR:LIST:VOLT 0,1;:TRIG:COUN 2;:SOUR:DEL {delay}")
        seen.append(bench.numbers(":READ?")[1])
    assert seen[0] < 0.9999e-7
    assert seen[1] == pytest.approx(1e-7, rel=1e-4)


@pytest.mark.parametrize("ohm", [5.0, 1e3, 3e6, 1.5e8])
def test_automatic_ohms_finds_a_current_that_suits(ohm: float) -> None:
    """:MEAS:RES? is right over eight decades."""
    assert bench_2400(ohm).numbers(":MEAS:RES?")[2] == pytest.approx(ohm, rel=1e-2)


def test_a_list_sweep_of_a_2400_gives_a_reading_a_level() -> None:
    """The elements come in the instrument's own order, whatever was asked."""
    bench = bench_2400(1e3)
    bench.say(":FORM:ELEM CURR,VOLT;:SENS:FUNC 'VOLT';:SENS:CURR:PROT 1E-3;:SOUR:VOLT:MODE LIST")
    bench.say(":SOUR:LIST:VOLT 0.1,0.2;:SOUR:LIST:VOLT:APP 0.3;:TRIG:COUN 3;:OUTP ON")
    numbers = bench.numbers(":READ?")
    assert numbers[::2] == pytest.approx([0.1, 0.2, 0.3], rel=1e-3)
    assert numbers[1::2] == pytest.approx([1e-4, 2e-4, 3e-4], rel=1e-3)


@pytest.mark.parametrize(
    ("setup", "levels"),
    [
        ("SPAC LIN", [0.1, 0.55, 1.0]),
        ("SPAC LIN;DIR DOWN", [1.0, 0.55, 0.1]),
        ("SPAC LOG", [0.1, math.sqrt(0.1), 1.0]),
    ],
)
def test_a_stair_sweep_of_a_2400(setup: str, levels: list[float]) -> None:
    """Linear or logarithmic, up or down."""
    bench = bench_2400(1e6)
    bench.say(f":SENS:FUNC 'VOLT';:FORM:ELEM VOLT;:SOUR:VOLT:MODE SWE;STAR 0.1;STOP 1;:SOUR:SWE:POIN 3;{setup}")
    bench.say(":TRIG:COUN 3;:OUTP ON")
    assert bench.numbers(":READ?") == pytest.approx(levels, rel=1e-3)


def test_a_sweep_can_end_at_compliance() -> None:
    """:SOUR:SWE:CAB EARL leaves out what would be read in compliance."""
    bench = bench_2400(1e3)
    bench.say(":FORM:ELEM CURR;:SENS:CURR:PROT 1E-4;:SOUR:VOLT:MODE LIST;:SOUR:LIST:VOLT 0.05,0.2,0.3;:TRIG:COUN 3")
    bench.say(":SOUR:SWE:CAB EARL;:OUTP ON")
    assert bench.numbers(":READ?") == pytest.approx([5e-5], rel=1e-3)


def test_the_trace_buffer_fills_stops_and_asks_for_service() -> None:
    """A full buffer sets bit 9 of the measurement events; its statistics are of what it holds."""
    bench = bench_2400(1e4)
    bench.say(":TRAC:POIN 4;FEED:CONT NEXT;:STAT:MEAS:ENAB 512;*SRE 1;:TRIG:COUN 6;:SOUR:VOLT 0.1;:OUTP ON;:INIT")
    assert int(bench.ask("*STB?")) & 65 == 65
    assert bench.ask(":TRAC:POIN:ACT?;:TRAC:FEED:CONT?") == "4;NEV"
    assert len(bench.numbers(":TRAC:DATA?")) == 20
    assert bench.numbers(":CALC3:FORM MEAN;DATA?")[1] == pytest.approx(1e-5, rel=1e-3)


def test_a_bus_trigger_goes_on_from_the_arm_layer() -> None:
    """With :ARM:SOUR BUS nothing is read before *TRG."""
    bench = bench_2400()
    bench.say(":ARM:SOUR BUS;:OUTP ON;:INIT")
    assert int(bench.ask(":STAT:OPER:COND?")) == 1 << 6
    assert bench.smu.execute(":FETC?") == []
    bench.say("*CLS;*TRG")
    assert len(bench.numbers(":FETC?")) == 5


def test_a_trigger_that_never_comes_gives_no_answer_and_can_be_aborted() -> None:
    """:READ? waiting for a trigger line answers nothing; :ABORt makes it idle again."""
    bench = bench_2400()
    bench.say(":ARM:SOUR TLIN;:OUTP ON")
    assert bench.smu.execute(":READ?") == []
    bench.say(":ABOR;:ARM:SOUR IMM")
    assert len(bench.numbers(":READ?")) == 5


def test_the_output_key_ends_a_long_wait() -> None:
    """Switching off from outside ends what is being acquired, and the output is off."""
    bench = bench_2400()

    class Impatient(Resistor):
        """Has the output key pressed while the second point is read."""

        readings = 0

        def operating(self) -> Operating:
            self.readings += 1
            if self.readings == 6:
                bench.smu.switch_off()
            return super().operating()

    bench = bench_2400(port=Impatient(1e3))
    bench.say(":ARM:SOUR TIM;TIM 9999;COUN 1000;:OUTP ON")
    assert bench.smu.execute(":READ?") == []
    assert bench.clock.now_s() < 99_990
    assert bench.smu.outputs() == {"output": False}


def test_a_built_in_sweep_of_a_2450_switches_its_output_on_and_off_by_itself() -> None:
    """:SOUR:SWE:VOLT:LIN and :INIT read source and measured value into the buffer."""
    bench = bench_2450(1e4)
    bench.say(":SOUR:VOLT:ILIM 1E-3;:SOUR:SWE:VOLT:LIN 0.1,0.3,3,0.01", ":INIT;*WAI")
    numbers = bench.numbers(":TRAC:DATA? 1,3,'defbuffer1',SOUR,READ")
    assert numbers == pytest.approx([0.1, 1e-5, 0.2, 2e-5, 0.3, 3e-5], rel=1e-3)
    assert bench.ask(":OUTP?") == "0"


def test_a_list_sweep_and_a_dual_stair_of_a_2450() -> None:
    """A list starts where it is told; a dual sweep comes back."""
    bench = bench_2450(1e4)
    bench.say(":SOUR:VOLT:ILIM 1E-3;:SOUR:LIST:VOLT 0.1,0.2;:SOUR:LIST:VOLT:APP 0.4;:SOUR:SWE:VOLT:LIST 2, 0.01;:INIT")
    assert bench.numbers(":TRAC:DATA? 1,2,'defbuffer1',SOUR") == pytest.approx([0.2, 0.4], rel=1e-3)
    bench.say(":SOUR:SWE:VOLT:LIN:STEP 0,0.2,0.1,0,1,AUTO,ON,ON;:INIT")
    assert bench.numbers(":TRAC:DATA? 1,5,'defbuffer1',SOUR") == pytest.approx([0, 0.1, 0.2, 0.1, 0], abs=1e-4)


def test_buffers_of_a_2450_are_made_filled_read_and_deleted() -> None:
    """A series goes into a named buffer; the answer is its last reading."""
    bench = bench_2450(1e4)
    bench.say(":TRAC:MAKE 'Mine', 10;:SENS:COUN 5;:SOUR:VOLT 0.1;:OUTP ON;:TRAC:TRIG 'mine'")
    assert bench.ask(":TRAC:ACT? 'mine';:TRAC:ACT?") == "5;0"
    assert float(bench.ask(":TRAC:STAT:AVER? 'mine'")) == pytest.approx(1e-5, rel=1e-3)
    bench.ask(":READ? 'mine'")
    bench.ask(":READ? 'mine'")
    assert bench.ask(":TRAC:ACT? 'mine'") == "10"
    bench.say(":TRAC:DEL 'mine'")
    bench.smu.execute(":TRAC:ACT? 'mine'")
    assert bench.error() == -224


def test_the_language_of_a_2450_changes_with_a_power_cycle() -> None:
    """*LANG chooses, the next start obeys; in TSP no SCPI query is answered."""
    bench = bench_2450()
    bench.say("*LANG SCPI2400")
    assert bench.ask("*LANG?") == "SCPI"
    assert bench.smu.execute(":SENS:CURR:PROT?") == []
    bench.smu.set_state("power_cycle", True)
    assert bench.ask("*LANG?") == "SCPI2400"
    assert bench.ask("*IDN?").startswith("KEITHLEY INSTRUMENTS,MODEL 2450")
    assert float(bench.ask(":SENS:CURR:PROT?")) == 105e-6
    bench.smu.set_state("language", "TSP")
    assert bench.ask("*LANG?") == "TSP"
    assert bench.smu.execute(":OUTP?") == []


@pytest.mark.parametrize("make", [bench_2400, bench_2450])
def test_faults_can_be_set_while_it_runs(make: type) -> None:
    """Offset, stuck compliance, wrong identity and a flood of errors; an unknown one is a KeyError."""
    bench = make(1e3)
    bench.say(":SOUR:VOLT 0.01;:OUTP ON")
    bench.smu.set_state("offset_a", 5e-6)
    index = 1 if make is bench_2400 else 0
    assert bench.numbers(":READ?")[index] == pytest.approx(1.5e-5, rel=1e-3)
    bench.smu.set_state("offset_a", 0.0)
    bench.smu.set_state("stuck_compliance", 1e-6)
    assert bench.numbers(":READ?")[index] == pytest.approx(1e-6, rel=1e-3)
    bench.smu.set_state("identity", "ACME,MODEL 1,0,0")
    assert bench.ask("*IDN?") == "ACME,MODEL 1,0,0"
    bench.smu.set_state("error_flood", 5000)
    assert 0 < len(bench.smu.state()["errors"]) <= 1000
    with pytest.raises(KeyError):
        bench.smu.set_state("colour", "green")


@pytest.mark.parametrize("make", [bench_2400, bench_2450])
def test_reset_switches_off_and_brings_the_defaults_back(make: type) -> None:
    """*RST: output off, 0 V, 105 uA."""
    bench = make(1e3)
    bench.say(":SOUR:VOLT 5;:OUTP ON;*RST")
    state = bench.smu.state()
    assert (state["output"], state["level_v"], state["limit_a"]) == (False, 0.0, 105e-6)


def test_no_latency_means_no_waiting() -> None:
    """With the table of noughts a reading takes no time."""
    bench = bench_2400(latency=NONE)
    bench.say(":OUTP ON")
    bench.ask(":READ?")
    assert bench.clock.now_s() == 0.0
