"""Valid inputs of every parser, and the words of their languages, for fuzzing to damage."""

from __future__ import annotations

import json

import numpy as np

from benchmarks.fuzz_emulators import ROOT, ready_firmware
from drivers.board import protocol as said
from drivers.board.frames import Frame, encode
from drivers.board.vectors import Measure, ReadCells, Write
from pib_lab.events import MadeSafe, Message
from pib_lab.wire_format import encode as encode_event


def words(text: str) -> tuple[bytes, ...]:
    return tuple(word.encode() for word in text.split())


def files(pattern: str) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted(ROOT.glob(pattern)))


TOML = (
    *words("[ ] [[ ]] = \" ' { } , . # -1 0 1e99 nan inf true false 1979-05-27 name value source units hardware"),
    b"\n",
    b"\n[",
    b'"""',
)
JSON = words('{ } [ ] , : " null true -0 1e999 NaN \\u0000 "get" "set" "fault" "do" "action" "entries" "chip"')
SCPI_WORDS = words(
    ":SOUR :SENS VOLT CURR :LEV :PROT :RANG AUTO ON OFF ? ; , ( ) @ # * *IDN? *RST *CLS *ESE :OUTP :READ? :FORM ELEM "
    "MIN MAX DEF 1e999 -0 #H7F #215 \" ' :TRAC:DATA? :LIST :TRIG:COUN NPLC 10mV 5 kohm INF NAN :SYST:ERR? defbuffer1"
)
TSP_WORDS = words(
    "smua smub . = == ( ) { } [ ] , ; print printbuffer local if then else end while do for repeat until break "
    "function nil true 1e308 -1 0x10 .. ... # \" ' -- --[[ ]] [[ channel.close channel.open allslots "
    "1A01 source.levelv measure.iv nvbuffer1 delay math.huge and or not errorqueue.next reset abort"
)
NUMBER_WORDS = words("1 - + . e E 9.9e37 9.91E+37 nan inf , \t 0x1 1_0 ٣ ½ ( ) true false nil")

SCPI_LINES = tuple(
    line.encode()
    for line in (
        "*IDN?",
        ":SOUR:VOLT:LEV 1.0E-1;LEV?",
        ":SOURCE:VOLTage:RANGe 20;:SENSE:CURR:PROT 1E-3;PROT:TRIP?",
        ':SENS:FUNC "VOLT","CURR";:FORM:ELEM VOLT,CURR,STAT;:OUTP ON;:READ?',
        ":SOUR:LIST:VOLT 0.1,0.2,0.3;:TRIG:COUN 3;:SOUR:VOLT:MODE LIST;:OUTP ON;:READ?",
        "*ESE 3;*ESE?;*ESE 0;*ESE?;*SRE 4;*STB?;*OPC?",
        ':TRAC:MAKE "b",100;:READ? "b",SOUR,READ;:TRAC:DATA? 1,1,"b"',
        ":SYST:ERR?;:SYST:VERS?;:OUTP:SMOD HIMP;:SOUR:DEL 5 ms",
        ":STAT:QUE:NEXT?;:DISP:ENAB OFF;:SYST:RSEN ON;:SOUR:SWE:SPAC LOG;:SOUR:VOLT:STAR 0;STOP 1;STEP 0.1",
    )
)
TSP_LINES = tuple(
    line.encode()
    for line in (
        "print(smua.source.levelv, smua.measure.iv())",
        "smua.source.output = smua.OUTPUT_ON print(smua.source.compliance)",
        "local i, v = smua.measure.iv() print(i, v)",
        "for k = 1, 10 do smua.source.levelv = k / 100 smua.measure.iv(smua.nvbuffer1, smua.nvbuffer2) end",
        "printbuffer(1, 3, smua.nvbuffer1.readings)",
        "t = {1, 2, x = {3}} print(t[1] + t.x[1], #t, 'a' .. 2)",
        "while true do x = (x or 0) + 1 if x > 10 then break end end print(x)",
        "repeat y = 1 until y == 1 --[[ c ]] print(math.sin(1), 2 ^ 10, 7 % 3, not nil)",
        "channel.exclusiveclose('1A01,1B02:1B05') print(channel.getclose('allslots'))",
        "channel.setforbidden('2C03') channel.connectrule = channel.BREAK_BEFORE_MAKE print(channel.connectrule)",
        "print(errorqueue.count) print(errorqueue.next()) *IDN?",
    )
)
CONTROL_LINES = tuple(
    json.dumps(line).encode()
    for line in (
        {"get": "state"},
        {"get": "outputs"},
        {"set": {"chip": {"conductances": [[1e-6, 2e-6]]}}},
        {"set": {"drive": {"offset_a": 1e-6, "stuck_compliance": 1.0, "error_flood": 3, "identity": "x"}}},
        {"set": {"matrix": {"welded": "1A01"}}},
        {"fault": "late-answer", "for": 1, "late_s": 0.5, "instrument": "drive"},
        {"fault": "cells", "kind": "low", "fraction": 0.1, "seed": 1},
        {"fault": "welded-relay", "value": "1A01,2B02"},
        {"fault": "none"},
        {"switch_off": True},
    )
)
REQUESTS = tuple(
    bytes([kind]) + payload
    for kind, payload in (
        (said.Kind.HELLO, said.Hello(said.VERSION, 500).encode()),
        (said.Kind.STATUS, b""),
        (said.Kind.LIMITS, said.BoardLimits(200_000, 1_000_000, 3000, 1000, 100_000, 1000, 2500).encode()),
        (said.Kind.WINDOW, said.Window(0, 4, 2).encode()),
        (said.Kind.SET_RANGE, said.Range(0, 100_000).encode()),
        (said.Kind.OUTPUTS, said.encode_u8(3)),
        (said.Kind.GATE, said.encode_u16(2000)),
        (said.Kind.MEASURE, Measure((0,), np.full((3, 4), 9, np.uint16)).encode()),
        (said.Kind.READ_CELLS, ReadCells(0, 0, 4, 100_000).encode()),
        (said.Kind.WRITE, Write(0, 0, np.ones((4, 4), np.bool_), np.full(16, 10**7), None, 4).encode()),
        (said.Kind.WRITE, Write(0, 0, np.ones((1, 4), np.bool_), np.full(4, 10**7), np.full(4, 10**6), 4).encode()),
        (said.Kind.PULSE, said.Pulse(0, 1, 1, -1500, 1000, 3, 1000).encode()),
    )
)
FRAMES = tuple(encode(Frame(request[0], 1, 20 + at, request[1:])) for at, request in enumerate(REQUESTS))
PAYLOADS = (
    ready_firmware().identity().encode(),
    said.State(said.Outputs.ALL, False, 2500, 500, 3, 4).encode(),
    *(request[1:] for request in REQUESTS),
    bytes(range(60)),
)
EVENTS = tuple(encode_event(event) for event in (MadeSafe("a", ("x",), ("y",), "z"), Message("info", "text")))
PASSPORT = json.dumps(
    {
        "schema": 1,
        "serial": "chip",
        "mock": False,
        "entries": [
            {
                "procedure": "contact-check",
                "date": "2025-01-01T00:00:00+00:00",
                "status": "finished",
                "verdict": "pass",
                "checks": [{"name": "c", "verdict": "pass", "numbers": {"a_s": 1.0}, "limits": {}, "detail": ""}],
                "settings": {"read_v": 0.2},
                "who": "me",
                "versions": {"pib-lab": "1"},
                "commit": "",
                "array": [8, 8],
                "pulses": 0,
                "run": "/x",
                "plots": [],
                "error": "",
            }
        ],
        "reference": {"8x8": {"vector_a": {"values": [1.0, 2.0], "date": "", "run": ""}}},
    }
).encode()
OVERRIDES = words("schedule.epochs=5 units.0.name='x' seed=1 hardware.chip.override.read_noise=0.1 =1 a..b=[1,2]")
QUANTITIES = tuple(
    text.encode() for text in ("200 mV", "0.2 V", "1e-3 A", "5 kohm", "10 uS", "-3 mV/s", "1 V**2", "3", "1/0 V", "%")
)
ADDRESSES = tuple(
    text.encode()
    for text in (
        "TCPIP::127.0.0.1::5025::SOCKET",
        "TCPIP0::[::1]::5025::SOCKET",
        "TCPIP::127.0.0.1::hislip0,9::INSTR",
        "GPIB0::24::INSTR",
        "USB0::0x05E6::0x2450::04012345::INSTR",
        "ASRL1::INSTR",
        "serial:/dev/none?baud=9600",
        "/dev/none",
        "COM3?baud=115200",
    )
)
PROTOCOLS: list[bytes] = []
PROCEDURES: list[bytes] = []
for _path in sorted(ROOT.glob("protocols/*.toml")):
    (PROCEDURES if b"[procedure]" in _path.read_bytes() else PROTOCOLS).append(_path.read_bytes())
