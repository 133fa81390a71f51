"""The crossbar board's frames and messages: what is sound comes through, what is not does nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from board_bench import SESSION, Talk, bare
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.board.frames import MAX_PAYLOAD, Frame, FrameDecoder, crc16, decode, encode
from drivers.board.protocol import (
    BoardLimits,
    Hello,
    Identity,
    Kind,
    Outputs,
    ProtocolError,
    Pulse,
    Range,
    State,
    Window,
    decode_u8,
    decode_u16,
)
from drivers.board.vectors import Measure, ReadCells, Readings, Write, Written
from drivers.emulators.board_faults import BoardEnd, FrameFaults

U8, U16, U32 = st.integers(0, 255), st.integers(0, 65535), st.integers(0, 2**32 - 1)
FRAMES = st.builds(Frame, U8, U16, U16, st.binary(max_size=600), U8)
DECODERS: list[Callable[[bytes], Any]] = [
    Hello.decode,
    BoardLimits.decode,
    Identity.decode,
    State.decode,
    Window.decode,
    Range.decode,
    Pulse.decode,
    decode_u8,
    decode_u16,
    Measure.decode,
    ReadCells.decode,
    Write.decode,
    lambda payload: Readings.decode(payload, 5, 8),
    lambda payload: Written.decode(payload, 5),
]


def test_the_checksum_is_the_documented_one() -> None:
    """The test vector of CRC-16/IBM-3740."""
    assert crc16(b"123456789") == 0x29B1


def test_a_frame_is_the_documented_bytes() -> None:
    """The example of docs/crossbar-board.md: HEARTBEAT, session 0x1234, sequence number 7."""
    assert encode(Frame(Kind.HEARTBEAT, 0x1234, 7)).hex(" ") == "00 02 03 04 34 12 07 01 01 01 01 01 01 03 49 d3 00"


@given(FRAMES)
def test_a_frame_comes_back_as_it_was(frame: Frame) -> None:
    """Encoding and decoding are inverse, and no zero byte is inside."""
    data = encode(frame)
    assert 0 not in data[1:-1]
    assert decode(data[1:-1]) == frame


@given(st.lists(FRAMES, max_size=4), st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_frames_are_found_however_the_stream_is_cut(frames: list[Frame], cuts: list[int]) -> None:
    """Pieces of any size give the same frames."""
    data, decoder, found, place = b"".join(map(encode, frames)), FrameDecoder(), [], 0
    for size in [*cuts, len(data)]:
        found += decoder.feed(data[place : place + size])
        place += size
    assert found == frames
    assert decoder.broken == 0


@given(FRAMES, st.data())
def test_a_changed_frame_is_dropped(frame: Frame, data: st.DataObject) -> None:
    """Any change of up to four bytes leaves no frame, or the same."""
    sound = bytearray(encode(frame))
    for _ in range(data.draw(st.integers(1, 4))):
        sound[data.draw(st.integers(0, len(sound) - 1))] ^= data.draw(st.integers(1, 255))
    assert FrameDecoder().feed(bytes(sound)) in ([], [frame])


def test_an_endless_frame_takes_no_memory_and_the_next_one_comes_through() -> None:
    """What is longer than any frame is thrown away up to the next delimiter."""
    decoder, frame = FrameDecoder(), Frame(1, 2, 3, b"x")
    for _ in range(40):
        assert decoder.feed(b"\xff" * 10_000) == []
    assert len(decoder._buffer) < 2 * MAX_PAYLOAD
    assert decoder.feed(encode(frame)) == [frame]


def test_a_half_frame_does_not_spoil_the_next() -> None:
    """The delimiter before a frame ends what was cut off."""
    decoder, frame = FrameDecoder(), Frame(1, 2, 3, b"abc")
    assert decoder.feed(encode(frame)[:9]) == []
    assert decoder.feed(encode(frame)) == [frame]


@pytest.mark.parametrize("decode_any", DECODERS)
@given(payload=st.binary(max_size=200))
def test_a_payload_is_understood_or_refused(decode_any: Callable[[bytes], Any], payload: bytes) -> None:
    """No payload does anything to a decoder but ProtocolError."""
    try:
        decode_any(payload)
    except ProtocolError:
        return


LIMITS = st.builds(BoardLimits, *[U32] * 7)
ASCII = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=16)
IDENTITIES = st.builds(
    Identity,
    *(U16, ASCII, ASCII, U16, U16, U16, U8, U8, U16, U16),
    *([U32] * 6),
    *([U16] * 3),
    LIMITS,
    st.lists(st.integers(1, 2**32 - 1), min_size=1, unique=True).map(sorted).map(tuple),
)


@given(
    st.one_of(
        IDENTITIES,
        LIMITS,
        st.builds(Hello, U16, U16),
        st.builds(Window, U16, U16, U16),
        st.builds(Range, U16, U32),
        st.builds(State, st.sampled_from(list(Outputs)), st.booleans(), U16, U16, U32, U32),
        st.builds(Pulse, U16, U16, U16, st.integers(-32768, 32767), U32, U16, U32),
        st.builds(ReadCells, U16, U16, U16, U32),
    )
)
def test_a_message_comes_back_as_it_was(message: Any) -> None:
    """Encoding and decoding are inverse."""
    assert type(message).decode(message.encode()) == message


@given(st.integers(0, 2**32), st.booleans(), st.integers(0, 9), st.integers(1, 7))
def test_a_write_comes_back_as_it_was(seed: int, verified: bool, rows: int, columns: int) -> None:
    """Mask, targets and starts survive the wire, for any number of chosen cells."""
    rng = np.random.default_rng(seed)
    mask = rng.random((rows, columns)) < 0.5
    count = int(mask.sum())
    target, start = rng.integers(-(2**31), 2**31, count), rng.integers(-(2**31), 2**31, count)
    back = Write.decode(Write(3, 4, mask, target, None if verified else start, 9).encode())
    assert (back.array, back.first_row, back.max_pulses, back.verified) == (3, 4, 9, verified)
    np.testing.assert_array_equal(back.mask, mask)
    np.testing.assert_array_equal(back.target_ps, target)
    if back.start_ps is not None:
        np.testing.assert_array_equal(back.start_ps, start)


@pytest.mark.parametrize("bits", [8, 16, 24])
def test_readings_and_drives_come_back_as_they_were(bits: int) -> None:
    """Codes of any converter width with their flags, and DAC codes with their arrays."""
    rng = np.random.default_rng(bits)
    codes = rng.integers(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1), 21)
    flags = rng.random(21) < 0.3
    back = Readings.decode(Readings(codes, flags).encode(bits), 21, bits)
    np.testing.assert_array_equal(back.codes, codes)
    np.testing.assert_array_equal(back.saturated, flags)
    drives = rng.integers(0, 65536, (3, 5))
    request = Measure.decode(Measure((4, 9), drives).encode())
    assert request.arrays == (4, 9)
    np.testing.assert_array_equal(request.codes, drives)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=8))
def test_garbage_does_nothing_to_a_board(pieces: list[bytes]) -> None:
    """Random bytes in any portions: no answer that means anything, no request carried out, no output on."""
    firmware = bare()
    end = BoardEnd(firmware, FrameFaults(0), FrameFaults(0))
    for piece in pieces:
        end.take(piece)
    assert firmware.executed == 0
    assert firmware.outputs == Outputs.NONE


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(list(Kind)) | U8, st.binary(max_size=120)), max_size=6), st.booleans())
def test_a_sound_frame_with_any_payload_is_answered(requests: list[tuple[int, bytes]], energised: bool) -> None:
    """Whatever a session asks for, the firmware answers or ignores what is no request, and it never raises."""
    talk = Talk(_FIRMWARE, session=next(_SESSIONS))
    if energised:
        talk.energise()
    for kind, payload in requests:
        talk.sequence += 1
        answer = talk.firmware.receive(Frame(kind, talk.session, talk.sequence, payload))
        assert answer is None or answer.sequence == talk.sequence


_FIRMWARE, _SESSIONS = bare(), itertools.count(1)


def test_an_answer_is_not_a_request() -> None:
    """A frame that the board might hear of itself is ignored."""
    assert Talk().firmware.receive(Frame(0x85, SESSION, 9, b"\x03")) is None
