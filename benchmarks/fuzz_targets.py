"""Every parser that takes bytes or text from outside: its valid inputs, its words, and the function to feed.

A feed returns, or raises: what a parser promises to raise for bad input is caught in it, and anything else is a crash.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks import fuzz_emulators as emulated
from benchmarks import fuzz_files as files
from benchmarks import fuzz_ours as ours
from benchmarks import fuzz_samples as like
from benchmarks.fuzz_emulators import Make
from data.wear_ledger import FILE
from drivers.board import protocol as said
from drivers.chip.profiles import load_profile
from drivers.emulators.bench_file import read_bench_file
from drivers.smu.keithley_2400 import Keithley2400
from drivers.smu.keithley_2450 import Keithley2450
from drivers.smu.keithley_2600b import Keithley2600B
from pib_lab.clocks import VirtualClock
from pib_lab.experiment import parse_experiment
from pib_lab.overrides import apply_overrides
from pib_lab.procedure import parse_procedure
from pib_lab.quantities import parse_quantity
from pib_lab.wire_format import decode as decode_event


@dataclass(frozen=True)
class Target:
    """One parser. samples: valid inputs; words: pieces of the language."""

    name: str
    samples: tuple[bytes, ...]
    words: tuple[bytes, ...]
    make: Make


TARGETS = (
    Target("SCPI, emulated 2400", like.SCPI_LINES, like.SCPI_WORDS, emulated.executed(emulated.smu_2400)),
    Target("SCPI, emulated 2450", like.SCPI_LINES, like.SCPI_WORDS, emulated.executed(emulated.smu_2450)),
    Target("TSP, emulated 2602B", like.TSP_LINES, like.TSP_WORDS, emulated.executed(emulated.smu_2602b)),
    Target("TSP, emulated 707B", like.TSP_LINES, like.TSP_WORDS, emulated.executed(emulated.matrix_707b)),
    Target(
        "bytes to an emulator's server",
        (*like.TSP_LINES, b"print(1)\nprint(2)\r\n"),
        like.TSP_WORDS,
        emulated.served,
    ),
    Target("control port, JSON", like.CONTROL_LINES, like.JSON, emulated.controlled),
    Target(
        "emulated board, requests",
        like.REQUESTS,
        tuple(bytes([kind]) for kind in said.Kind),
        emulated.board_requests,
    ),
    Target(
        "emulated board, bytes",
        like.FRAMES,
        (b"\0", b"\0\0", *like.FRAMES),
        emulated.board_bytes,
    ),
    Target(
        "board frames",
        like.FRAMES,
        (b"\0", b"\1", b"\xff", *like.FRAMES),
        emulated.always(ours.board_frames),
    ),
    Target(
        "board answers",
        like.PAYLOADS,
        (b"\0\0", b"\xff\xff", b"emulated"),
        emulated.always(ours.board_answers),
    ),
    Target(
        "numbers",
        like.NUMBER_WORDS,
        like.NUMBER_WORDS,
        emulated.always(ours.numbers),
    ),
    Target(
        "answer lines",
        (b"1.5\n", b"1,2\r\n", b"a\nb\n"),
        (*like.NUMBER_WORDS, b"\n", b"\r"),
        emulated.always(ours.answer_lines),
    ),
    Target(
        "identity and error queue",
        (
            b"KEITHLEY INSTRUMENTS INC.,MODEL 2400,1,C30",
            b'-113,"Undefined header"',
            b"-286\tTSP Runtime error at line 1\t20\t1",
            b'0,"No error"',
        ),
        like.NUMBER_WORDS + like.words('"No error" , MODEL 2400 KEITHLEY'),
        ours.identity_and_errors,
    ),
    Target(
        "answers to the 2400's driver",
        (b"0.1,1E-5,0", b"1.000000E-04", b"1", b"HIMP"),
        like.NUMBER_WORDS,
        ours.driven(emulated.smu_2400, lambda link: Keithley2400(link, ours.LIMITS, VirtualClock())),
    ),
    Target(
        "answers to the 2450's driver",
        (b"0.1,1E-5", b"1.000000E-04", b"1", b"HIMP", b"SCPI"),
        like.NUMBER_WORDS,
        ours.driven(emulated.smu_2450, lambda link: Keithley2450(link, ours.LIMITS, VirtualClock())),
    ),
    Target(
        "answers to the 2600B's driver",
        (b"1e-5\t0.1\ttrue", b"1.00000e-04", b"true", b"1.0, 2.0, 3.0"),
        like.NUMBER_WORDS,
        ours.driven(emulated.smu_2602b, lambda link: Keithley2600B(link, ours.LIMITS, VirtualClock(), "a")),
    ),
    Target("answers to the 707B's driver", (b"1A01;2B03", b"nil", b"1A01,1A02"), like.NUMBER_WORDS, ours.closures),
    Target(
        "addresses",
        like.ADDRESSES,
        like.words("TCPIP :: SOCKET INSTR serial: /dev/ ? baud= [ ] COM 5025"),
        emulated.always(ours.addresses),
    ),
    Target(
        "bench file",
        like.files("docs/examples/*bench.toml"),
        like.TOML,
        files.file_parser("bench.toml", read_bench_file),
    ),
    Target(
        "protocol",
        tuple(like.PROTOCOLS),
        like.TOML,
        files.text_parser(parse_experiment),
    ),
    Target(
        "bring-up protocol",
        tuple(like.PROCEDURES),
        like.TOML,
        files.text_parser(parse_procedure),
    ),
    Target(
        "overrides",
        like.OVERRIDES,
        like.TOML + like.OVERRIDES,
        files.text_parser(lambda text: apply_overrides(files.EXAMPLE, [text])),
    ),
    Target(
        "quantities",
        like.QUANTITIES,
        like.QUANTITIES + like.words("** / * ( ) mV V degC"),
        files.text_parser(lambda text: parse_quantity(text, "V")),
    ),
    Target(
        "device profile",
        like.files("data/profiles/*.toml"),
        like.TOML,
        files.file_parser("p.toml", lambda path: load_profile(str(path))),
    ),
    Target(
        "wear ledger",
        (files.ledger_bytes(),),
        (b"PK", b"\0"),
        files.file_parser(f"chip/{FILE}", files.read_ledger),
    ),
    Target(
        "wear ledger, its facts",
        (files.ledger_facts(),),
        like.JSON,
        files.file_parser(f"chip/{FILE}", files.read_ledger_facts),
    ),
    Target("chip passport", (like.PASSPORT,), like.JSON, files.file_parser("chip.json", files.read_passport)),
    Target("guardian, JSON lines", files.guardian_lines(), like.JSON, files.guardian_told),
    Target("events on the wire", like.EVENTS, (b"\xc7", b"\x81", b"Message"), files.bytes_parser(decode_event)),
)
