"""What drivers of real cameras share: formats of pixels, steps of regions, numbers of frames."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.optics.camera import Roi
from drivers.optics.pixel_formats import decode
from drivers.optics.roi_steps import Axis, check_roi
from drivers.optics.triggered_camera import Arrival, TriggeredCamera
from pib_lab.clocks import VirtualClock
from pib_lab.errors import DeviceError, LimitError, LinkError

# Formats


def _bits(counts: list[int], bits: int) -> bytes:
    """Counts as one stream of bits, the lowest first: what the `p` formats are by definition."""
    whole = sum(count << (bits * place) for place, count in enumerate(counts))
    return whole.to_bytes(-(-bits * len(counts) // 8), "little")


@given(st.sampled_from([("Mono10p", 10), ("Mono12p", 12)]), st.integers(1, 5), st.integers(1, 9), st.data())
def test_packed_counts_are_those_that_were_packed(
    packed: tuple[str, int], rows: int, columns: int, data: st.DataObject
) -> None:
    """For any size, also those that end in the middle of a group of bytes."""
    name, bits = packed
    counts = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=rows * columns, max_size=rows * columns))
    assert decode(_bits(counts, bits), name, rows, columns).ravel().tolist() == counts


@given(st.lists(st.integers(0, 4095), min_size=4, max_size=4))
def test_gige_visions_own_packing_is_read(counts: list[int]) -> None:
    """High bytes outside, both low nibbles in the middle."""
    pairs = [(counts[k], counts[k + 1]) for k in (0, 2)]
    data = b"".join(bytes([a >> 4, (a & 15) | (b & 15) << 4, b >> 4]) for a, b in pairs)
    assert decode(data, "Mono12Packed", 2, 2).ravel().tolist() == counts


def test_padded_lines_are_cut() -> None:
    """The last line may come without its padding."""
    data = b"\x01\x02\xff\xff\x03\x04\xff\xff\x05\x06"
    assert decode(data, "Mono8", 3, 2, padding=2).tolist() == [[1, 2], [3, 4], [5, 6]]
    assert decode(data, "Mono16", 3, 1, padding=2).tolist() == [[0x0201], [0x0403], [0x0605]]


def test_left_justified_counts_are_brought_down() -> None:
    """12 bits that a camera sends in the upper ones of 16; low bits that are not zero show that it does not."""
    assert decode((4095 << 4).to_bytes(2, "little"), "Mono16", 1, 1, bits=12).item() == 4095
    with pytest.raises(DeviceError, match="significant_bits"):
        decode((4095).to_bytes(2, "little"), "Mono16", 1, 1, bits=12)


@pytest.mark.parametrize("name", ["Mono8", "Mono12", "Mono12p", "Mono12Packed", "Mono10p"])
def test_a_buffer_that_is_too_short_is_refused(name: str) -> None:
    """And so is a format that nobody knows."""
    with pytest.raises(DeviceError, match="too short"):
        decode(bytes(11), name, 4, 3)
    with pytest.raises(DeviceError, match="cannot be read"):
        decode(bytes(1000), "BayerRG8", 4, 3)


# Regions


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 40), st.integers(1, 40))
def test_a_region_off_the_steps_is_refused_with_one_that_is_not(top: int, left: int, height: int, width: int) -> None:
    """What the message offers is accepted."""
    sensor, steps = Roi(0, 0, 80, 80), [Axis(0, 2), Axis(0, 4), Axis(2, 2), Axis(8, 8)]
    wanted = Roi(top, left, height, width)
    if not (top % 2 or left % 4 or height % 2 or width % 8):
        check_roi(wanted, sensor, steps, "camera")
        return
    with pytest.raises(LimitError, match="the next one it takes is") as refused:
        check_roi(wanted, sensor, steps, "camera")
    offered = eval(str(refused.value).rpartition("takes is ")[2], {"Roi": Roi})
    check_roi(offered, sensor, steps, "camera")


# Numbers


class Wire(TriggeredCamera):
    """A camera whose buffers are put in by hand: block numbers, negative for an incomplete one; None for no number."""

    def __init__(self, *, in_software: bool = True) -> None:
        super().__init__("camera", VirtualClock(), in_software=in_software)
        self.buffers: deque[int | None] = deque()
        self.streams = self.fired = 0
        self._opened()

    def _start_stream(self) -> None:
        self.streams += 1

    def _stop_stream(self) -> None:
        self.buffers.clear()

    def _fire(self) -> None:
        self.fired += 1

    def _fetch(self, timeout_s: float) -> Arrival | None:
        if not self.buffers:
            self._clock.sleep_s(timeout_s)
            return None
        block = self.buffers.popleft()
        if block is None or block < 0:
            return Arrival(None if block is None else -block, None, "incomplete")
        return Arrival(block, np.full((1, 1), block % 65536, np.uint16))


def _answers(camera: Wire, count: int) -> list[int | str]:
    """For each grab the block that was given out, or what was wrong."""
    found: list[int | str] = []
    for _ in range(count):
        try:
            found.append(int(camera.grab(1.0).pixels.item()))
        except LinkError:
            found.append("silent")
        except DeviceError as problem:
            found.append("lost" if "lost" in str(problem) else "refused")
    return found


def _prime(camera: Wire, block: int) -> None:
    """The first frame of a stream, which tells where the camera counts from."""
    camera.trigger()
    camera.buffers.append(block)
    assert _answers(camera, 1) == [block]


@pytest.mark.parametrize("start", [0, 1, 77])
@given(present=st.lists(st.sampled_from(["come", "lost", "incomplete"]), max_size=8))
def test_every_trigger_is_answered_by_its_own_frame(start: int, present: list[str]) -> None:
    """Wherever the camera counts from: what is lost is reported and counted, what is incomplete refused."""
    camera = Wire()
    _prime(camera, start)
    for _ in [*present, "come"]:
        camera.trigger()
    expected: list[int | str] = []
    for place, what in enumerate([*present, "come"]):
        block = start + 1 + place
        if what != "lost":
            camera.buffers.append(block if what == "come" else -block)
        expected.append({"come": block, "lost": "lost", "incomplete": "refused"}[what])
    assert _answers(camera, len(expected)) == expected
    assert camera.dropped == expected.count("lost")
    assert camera.failed == expected.count("refused")


def test_numbers_of_16_bits_go_round() -> None:
    """GigE Vision counts 65534, 65535, 1; a frame lost across it is seen."""
    camera = Wire()
    _prime(camera, 65534)
    for _ in range(3):
        camera.trigger()
    camera.buffers.extend([65535, 2])
    assert _answers(camera, 3) == [65535, "lost", 2]


def test_a_second_trigger_waits_until_it_is_known_where_the_camera_counts_from() -> None:
    """Else a first frame that was lost would shift all others."""
    camera = Wire()
    camera.trigger()
    camera.buffers.append(41)
    camera.trigger()
    assert not camera.buffers
    camera.buffers.append(42)
    assert _answers(camera, 2) == [41, 42]


def test_after_a_time_out_nothing_late_is_taken_for_another_frame() -> None:
    """The stream is started anew; what was outstanding is lost, and counted."""
    camera = Wire()
    _prime(camera, 5)
    for _ in range(3):
        camera.trigger()
    assert _answers(camera, 1) == ["silent"]
    camera.buffers.clear()
    assert _answers(camera, 2) == ["lost", "lost"]
    assert camera.dropped == 3
    camera.trigger()
    camera.buffers.append(0)
    assert _answers(camera, 1) == [0]
    assert camera.streams == 2


def test_a_frame_that_nobody_triggered_is_an_error() -> None:
    """There is a second source of triggers."""
    camera = Wire()
    _prime(camera, 0)
    camera.trigger()
    camera.buffers.append(5)
    with pytest.raises(DeviceError, match="nobody triggered"):
        camera.grab(1.0)


def test_frames_without_numbers_are_an_error() -> None:
    """All ones is what libraries say where a camera counts nothing."""
    camera = Wire()
    camera.trigger()
    camera.buffers.append(2**64 - 1)
    with pytest.raises(DeviceError, match="carry no numbers"):
        camera.grab(1.0)


def test_a_refused_frame_without_a_number_leaves_the_others_theirs() -> None:
    """Also as the first of a stream, whose numbers are then learned anew."""
    camera = Wire()
    _prime(camera, 3)
    for _ in range(3):
        camera.trigger()
    camera.buffers.extend([None, 5, 6])
    assert _answers(camera, 3) == ["refused", 5, 6]
    other = Wire()
    other.trigger()
    other.buffers.append(None)
    other.trigger()
    other.buffers.append(9)
    assert _answers(other, 2) == ["refused", 9]
    assert other.streams == 2


def test_bounds_hold_the_exposure() -> None:
    """From before the trigger until the exposure's end after it was sent."""

    class Slow(Wire):
        def _fire(self) -> None:
            self._clock.sleep_s(0.25)

    camera = Slow()
    camera.exposure_s = 0.5
    camera.buffers.append(1)
    from_s = camera.trigger()
    frame = camera.grab(1.0)
    assert (frame.exposed_from_s, frame.exposed_to_s) == (from_s, from_s + 0.75)


def test_a_camera_on_a_line_is_waited_for_and_its_pulse_lies_within_the_bounds() -> None:
    """One stream for each frame; further pulses are not taken for later triggers'."""
    camera = Wire(in_software=False)
    for block in (1, 1):
        camera.buffers.extend([block, block + 1, block + 2])
        from_s = camera.trigger()
        frame = camera.grab(1.0)
        assert frame.pixels.item() == block
        assert frame.exposed_from_s == from_s
    assert (camera.streams, camera.fired, camera.dropped) == (2, 0, 0)
    camera.trigger()
    assert _answers(camera, 1) == ["lost"]
    assert camera.dropped == 1


def test_settings_wait_for_frames_that_are_outstanding() -> None:
    """And nothing is done with a camera that is closed."""
    camera = Wire()
    camera.trigger()
    with pytest.raises(DeviceError, match="outstanding"):
        camera._require_idle()
    camera._closed()
    with pytest.raises(DeviceError, match="not open"):
        camera.trigger()
    with pytest.raises(DeviceError, match="not open"):
        camera.grab(1.0)
