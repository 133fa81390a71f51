"""How the guardian switches a crossbar board off: a session of its own, outputs off, and what the board says then."""

from __future__ import annotations

import os
from collections.abc import Sequence

from drivers.board.frames import ANSWER, Frame, FrameDecoder, encode
from drivers.board.protocol import DEFAULT_DEADMAN_MS, OUTPUT_NAMES, VERSION, Hello, Kind, Outputs, State, encode_u8
from drivers.safe.links import ByteLink
from pib_lab.errors import DeviceError, LinkError

_END = b"\0"
_HELLO = Hello(VERSION, DEFAULT_DEADMAN_MS).encode()
_SILENCE_S = 0.005
_ANSWERS = 8
"""Frames that are looked at for the awaited answer; earlier ones were meant for the dead process."""


def switch_board_off(link: ByteLink, outputs: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """The names of outputs that are still on, and a word about them. Raises LinkError, DeviceError."""
    link.send(_END)  # ends what the dead process may have half sent
    link.discard(_SILENCE_S)
    board = _Session(link)
    board.ask(Kind.OUTPUTS, encode_u8(Outputs.NONE))
    state = State.decode(board.ask(Kind.STATUS, b""))
    on = tuple(name for output, name in OUTPUT_NAMES.items() if output in state.outputs and name in outputs)
    return on, f"the board says that {', '.join(on)} are on" if on else ""


def send_off(link: ByteLink) -> None:
    """The same, without waiting for an answer to anything. Raises LinkError."""
    link.send(_END)
    session = _new_session()
    for number, (kind, payload) in enumerate(((Kind.HELLO, _HELLO), (Kind.OUTPUTS, encode_u8(Outputs.NONE))), 1):
        link.send(encode(Frame(kind, session, number, payload)))
        link.discard(_SILENCE_S)


def _new_session() -> int:
    return int.from_bytes(os.urandom(2), "little") or 1


class _Session:
    """A session of its own: requests of the dead one cannot be mistaken for it, nor its answers for these."""

    def __init__(self, link: ByteLink) -> None:
        self._link = link
        self._sequence = 0
        self._session = _new_session()
        self.ask(Kind.HELLO, _HELLO)

    def ask(self, kind: Kind, payload: bytes) -> bytes:
        """Payload of the answer to a request. Raises LinkError without one, DeviceError where the board refuses."""
        self._sequence += 1
        self._link.send(encode(Frame(kind, self._session, self._sequence, payload)))
        decoder = FrameDecoder()
        for _ in range(_ANSWERS):
            for frame in decoder.feed(self._link.receive(_END) + _END):
                if (frame.kind, frame.session, frame.sequence) != (kind | ANSWER, self._session, self._sequence):
                    continue
                if frame.status:
                    text = frame.payload.decode("ascii", errors="replace")
                    raise DeviceError(f"the board refuses {kind.name}: {text} (status {frame.status})")
                return frame.payload
        raise LinkError(f"the board does not answer {kind.name}")
