"""How long real instruments take, in one table: emulators wait by it, drivers foresee costs, figures are made with it.

[L] looked up in a published source or a public driver, [M] from experience, to be checked on the bench.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds. The defaults are like the real instruments'.

    command_s: one message over LAN, answer included; 1 to 3 ms [M]
    cycle_s: one power line cycle at 50 Hz: the unit of integration time
    conversion_s: overhead of one analog-to-digital conversion; 185 us, 2400 user's manual, appendix A [L]
    autozero_conversions: conversions a reading with auto zero on: signal, zero, reference; 2400 user's manual [L]
    point_s: overhead of one source-delay-measure cycle; a 2400 steps at about 1 ms a point [L]
    source_delay_s: automatic source delay; about 1 ms, 2400 user's manual [L]
    settle_s: time constant of the output; 100 us to settle to 0.1 %, 2400 specification [L]
    relay_s: the output relay opens or closes (high-impedance output-off state); about 15 ms [L]
    closure_s: one matrix relay closes or opens; about 4 ms, 707B [L]
    matrix_settle_s: low currents settle after a closure, by the card; 10 ms [M]
    board_frame_s: one frame to the crossbar board and its answer, USB serial, without its data; 1 ms [M]
    board_byte_s: one byte of a frame's data; 12 Mbit/s USB full speed at about 1 Mbyte/s [M]
    """

    command_s: float = 2e-3
    cycle_s: float = 20e-3
    conversion_s: float = 185e-6
    autozero_conversions: int = 3
    point_s: float = 1e-3
    source_delay_s: float = 1e-3
    settle_s: float = 15e-6
    relay_s: float = 15e-3
    closure_s: float = 4e-3
    matrix_settle_s: float = 10e-3
    board_frame_s: float = 1e-3
    board_byte_s: float = 1e-6

    def reading_s(self, nplc: float, autozero: bool) -> float:
        """Seconds that one reading of one quantity integrates, `nplc` power line cycles a conversion."""
        conversions = self.autozero_conversions if autozero else 1
        return conversions * (nplc * self.cycle_s + self.conversion_s)


LIKE_REAL = Latency()
"""What timing figures are made with."""

NONE = Latency(
    command_s=0.0,
    cycle_s=0.0,
    conversion_s=0.0,
    autozero_conversions=1,
    point_s=0.0,
    source_delay_s=0.0,
    settle_s=0.0,
    relay_s=0.0,
    closure_s=0.0,
    matrix_settle_s=0.0,
    board_frame_s=0.0,
    board_byte_s=0.0,
)
"""No waiting: for tests of anything but time."""
