"""The emulated board's firmware: frames in, frames out, limits, sessions, and a dead-man timer. Knows no wires.

It does what docs/crossbar-board.md asks of a board, on top of the mock chip's physics. Never raises for what comes in.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import astuple

from drivers.board.frames import ANSWER, MAX_PAYLOAD, Frame
from drivers.board.protocol import (
    MAX_DEADMAN_MS,
    VERIFIED,
    VERSION,
    BoardLimits,
    Hello,
    Identity,
    Kind,
    Outputs,
    ProtocolError,
    State,
    Status,
    decode_u8,
    decode_u16,
    encode_u8,
    encode_u16,
    outputs_of,
)
from drivers.chip.profiles import MemristorProfile, Use, electrical_limits
from drivers.emulators.board_array import SharedCells
from drivers.emulators.board_operations import MAX_REQUEST_MS, Operations, Refused
from drivers.emulators.latency import NONE, Latency
from drivers.mock.forming import SOUND, CellDefects
from pib_lab.device import Clock

_KEPT_ANSWERS = 4
_KEPT_SESSIONS = 8


class Firmware:
    """One board with one chip. clock: on which it waits and the cells age; watch: that of the dead-man timer.

    The truth that no frame tells: `outputs`, `hanging` (outputs that do not go off), `chip.arrays`.
    """

    def __init__(
        self,
        profile: MemristorProfile,
        seed: int,
        clock: Clock,
        *,
        watch: Clock | None = None,
        latency: Latency = NONE,
        arrays: int = 32,
        board_serial: str = "emulated-board",
        chip_serial: str = "emulated-1",
        defects: CellDefects = SOUND,
        shared: SharedCells | None = None,
    ) -> None:
        # A converter has a number of bits; a profile may leave them open, to see what they cost.
        bits = {"dac_bits": profile.dac_bits or 16, "adc_bits": profile.adc_bits or 24}
        self._profile = profile.model_copy(update=bits)
        self._clock, self._watch, self._latency = clock, watch or clock, latency
        seeds = [seed, zlib.crc32(chip_serial.encode())]
        self.chip = Operations(self._profile, seeds, clock, arrays, defects, shared)
        self._hard_limits = hard_limits(profile)
        self._limits = self._hard_limits
        self._serials = board_serial, chip_serial
        self.outputs = Outputs.NONE
        self.hanging = Outputs.NONE
        self.executed = 0
        self.broken_frames = 0
        self._deadman, self._deadman_ms = False, MAX_DEADMAN_MS
        self._heard_s = self._watch.now_s()
        self._session, self._newest = 0, 0
        self._past: deque[int] = deque(maxlen=_KEPT_SESSIONS)
        self._answers: OrderedDict[int, Frame] = OrderedDict()
        self._carry_out: dict[int, Callable[[bytes], bytes]] = {
            Kind.STATUS: self._status,
            Kind.HEARTBEAT: self._heartbeat,
            Kind.ABORT: self._abort,
            Kind.OUTPUTS: self._switch,
            Kind.GATE: self._set_gate,
            Kind.LIMITS: self._lower_limits,
        }

    @property
    def gate_mv(self) -> int:
        """Bias of the word lines."""
        return self.chip.gate_mv

    # The link

    def tick(self) -> None:
        """Let the dead-man timer look at the time: outputs go off when nothing has been heard for too long."""
        if self.outputs and (self._watch.now_s() - self._heard_s) * 1000.0 > self._deadman_ms:
            self._off()
            self._deadman = True

    def receive(self, frame: Frame) -> Frame | None:
        """The answer to a request; None for what is not one."""
        self.tick()
        if frame.kind & ANSWER or frame.status:
            return None
        if frame.kind == Kind.HELLO:
            answer = self._hello(frame)
        elif frame.session != self._session or not self._session:
            return _error(frame, Status.NO_SESSION, "say HELLO first")
        else:
            answer = self._once(frame)
        self._clock.sleep_s(
            self._latency.board_frame_s + self._latency.board_byte_s * (len(frame.payload) + len(answer.payload))
        )
        if frame.session == self._session:
            self._heard_s = self._watch.now_s()
        return answer

    def _hello(self, frame: Frame) -> Frame:
        if frame.session == self._session:
            return self._once(frame)
        if frame.session in self._past or not frame.session:
            return _error(frame, Status.STALE, "that session is over")
        try:
            wish = Hello.decode(frame.payload)
        except ProtocolError as problem:
            return _error(frame, Status.BAD_REQUEST, str(problem))
        if wish.version != VERSION:
            return _error(frame, Status.WRONG_VERSION, f"this board speaks version {VERSION}")
        if not 1 <= wish.deadman_ms <= MAX_DEADMAN_MS:
            return _error(frame, Status.BEYOND_LIMIT, f"dead-man time must be 1 to {MAX_DEADMAN_MS} ms")
        self._off()
        self.chip.gate_mv = 0
        self._past.append(self._session)
        self._session, self._newest = frame.session, frame.sequence
        self._limits, self._deadman_ms, self._deadman = self._hard_limits, wish.deadman_ms, False
        self._answers.clear()
        return self._kept(Frame(frame.kind | ANSWER, frame.session, frame.sequence, self.identity().encode()))

    def _once(self, frame: Frame) -> Frame:
        """Carry a request out, unless it has been: then it is answered again."""
        if frame.sequence in self._answers:
            return self._answers[frame.sequence]
        ahead = (frame.sequence - self._newest) & 0xFFFF
        if not 0 < ahead < 0x8000:
            return _error(frame, Status.STALE, "its answer is no longer kept")
        self._newest = frame.sequence
        try:
            payload = self._answer(frame.kind, frame.payload)
        except ProtocolError as problem:
            return self._kept(_error(frame, Status.BAD_REQUEST, str(problem)))
        except Refused as problem:
            return self._kept(_error(frame, problem.status, str(problem)))
        self.executed += 1
        return self._kept(Frame(frame.kind | ANSWER, frame.session, frame.sequence, payload))

    def _answer(self, kind: int, payload: bytes) -> bytes:
        if kind in self._carry_out:
            return self._carry_out[kind](payload)
        if kind in self.chip.passive:
            return self.chip.passive[kind](payload, self._limits)
        if kind not in self.chip.energised:
            raise Refused(Status.UNKNOWN_KIND, f"kind {kind:#x}")
        if self._deadman:
            raise Refused(Status.DEADMAN, "the dead-man timer has switched outputs off; switch them on again")
        if self.outputs != Outputs.ALL:
            raise Refused(Status.OUTPUTS_OFF, "outputs are off")
        return self.chip.energised[kind](payload, self._limits)

    def _kept(self, answer: Frame) -> Frame:
        self._answers[answer.sequence] = answer
        while len(self._answers) > _KEPT_ANSWERS:
            self._answers.popitem(last=False)
        return answer

    # State and safety

    def identity(self) -> Identity:
        """What HELLO is answered with."""
        p = self._profile
        return Identity(
            version=VERSION,
            board_serial=self._serials[0],
            chip_serial=self._serials[1],
            arrays=self.chip.count,
            rows=p.rows,
            columns=p.columns,
            dac_bits=p.dac_bits,
            adc_bits=p.adc_bits,
            flags=VERIFIED if p.programming == "write-verify" else 0,
            max_pulses=p.max_pulses,
            low_ps=round(p.g_min_siemens * 1e12),
            high_ps=round(p.g_max_siemens * 1e12),
            dac_full_uv=round(p.v_read_v * 1e6),
            sample_ns=round((p.settle_s + p.conversion_s) * 1e9),
            pulse_ns=round(p.pulse_s * 1e9),
            verify_ns=round(p.verify_s * 1e9),
            deadman_ms=self._deadman_ms,
            max_request_ms=MAX_REQUEST_MS,
            max_payload=MAX_PAYLOAD,
            limits=self._limits,
            ranges_na=self.chip.ranges_na,
        )

    def _off(self) -> None:
        """Row drivers first, then word lines; what hangs stays on."""
        self.outputs &= self.hanging

    def _status(self, payload: bytes) -> bytes:
        _empty(payload)
        return State(
            self.outputs, self._deadman, self.gate_mv, self._deadman_ms, self.broken_frames, self.executed
        ).encode()

    def _heartbeat(self, payload: bytes) -> bytes:
        _empty(payload)
        return encode_u8(self.outputs)

    def _abort(self, payload: bytes) -> bytes:
        _empty(payload)
        self._off()
        return encode_u8(self.outputs)

    def _switch(self, payload: bytes) -> bytes:
        wanted = outputs_of(decode_u8(payload))
        if Outputs.ROW_DRIVERS in wanted and not (Outputs.WORD_LINES in wanted and Outputs.WORD_LINES in self.outputs):
            raise Refused(Status.GATE_FIRST, "word lines go on before row drivers, and off after them")
        if wanted and not self.gate_mv:
            raise Refused(Status.GATE_FIRST, "the gate bias is zero")
        self._deadman = False
        self.outputs = wanted | (self.outputs & self.hanging)
        return encode_u8(self.outputs)

    def _set_gate(self, payload: bytes) -> bytes:
        wanted_mv = decode_u16(payload)
        if wanted_mv > self._limits.gate_mv:
            raise Refused(Status.BEYOND_LIMIT, f"gate bias of {wanted_mv} mV; limit {self._limits.gate_mv} mV")
        if Outputs.ROW_DRIVERS in self.outputs and not wanted_mv:
            raise Refused(Status.GATE_FIRST, "row drivers go off before the gate bias")
        self.chip.gate_mv = wanted_mv
        return encode_u16(self.gate_mv)

    def _lower_limits(self, payload: bytes) -> bytes:
        if payload:
            wanted = BoardLimits.decode(payload)
            if wanted != wanted.tightened(self._limits):
                raise Refused(Status.BEYOND_LIMIT, "limits can only be lowered within a session")
            if self.gate_mv > wanted.gate_mv:
                raise Refused(Status.BEYOND_LIMIT, f"the gate bias is {self.gate_mv} mV; lower it first")
            if not all(astuple(wanted)):
                raise Refused(Status.BAD_REQUEST, "a limit of zero")
            self._limits = wanted
        return self._limits.encode()


def hard_limits(profile: MemristorProfile) -> BoardLimits:
    """What an emulated board lets through to a chip of this profile, to form."""
    chip = electrical_limits(profile, Use.FORMING)
    column_na = round(chip.current_a * 1e9)
    return BoardLimits(
        drive_uv=round(profile.v_read_v * 1e6),
        column_na=column_na,
        pulse_mv=round(chip.voltage_v * 1e3),
        pulse_ns=10_000,
        charge_fc=10 * column_na,  # of a pulse of 10 us at the full column current
        pulse_rate_hz=500_000,
        gate_mv=round(chip.gate_v * 1e3),
    )


def _empty(payload: bytes) -> None:
    if payload:
        raise Refused(Status.BAD_REQUEST, f"{len(payload)} bytes where none belong")


def _error(frame: Frame, status: Status, text: str) -> Frame:
    return Frame(frame.kind | ANSWER, frame.session, frame.sequence, text.encode("ascii", "replace"), status)
