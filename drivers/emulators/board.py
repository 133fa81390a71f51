"""The emulated crossbar board on a real link: a TCP port of this computer, or a pseudo-terminal.

server = start(profile="chip-b", seed=1)          # server.address goes into the protocol
server = serve(port=None, pty=True, profile="chip-b", seed=1)      # as `pib-lab emulate crossbar-board --pty`
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from drivers.board.protocol import OUTPUT_NAMES, Outputs
from drivers.chip.profiles import load_profile
from drivers.emulators.board_faults import KINDS, BoardEnd, FrameFaults
from drivers.emulators.board_firmware import Firmware
from drivers.emulators.latency import LIKE_REAL, NONE, Latency
from pib_lab.clocks import RealClock, VirtualClock
from pib_lab.device import Clock

TICK_S = 0.02
"""So often the dead-man timer looks at the time."""
_SEND_S = 2.0
"""A host that does not take an answer for so long does not get it."""


def serve(
    port: int | None = None,
    pty: bool = False,
    profile: str = "chip-b",
    seed: int = 1,
    override: Mapping[str, Any] | None = None,
    *,
    fast: bool = False,
) -> BoardServer:
    """A board in real time, with the latencies of a real one; `port` None or 0: any that is free.

    fast: cells age by the time that a real board would have taken, but nothing waits for it.
    """
    clock: Clock = VirtualClock() if fast else RealClock()
    latency = NONE if fast else LIKE_REAL
    return start(port=port or 0, pty=pty, profile=profile, seed=seed, override=override, clock=clock, latency=latency)


def start(
    *,
    port: int = 0,
    pty: bool = False,
    profile: str = "chip-b",
    seed: int = 1,
    override: Mapping[str, Any] | None = None,
    clock: Clock | None = None,
    watch: Clock | None = None,
    latency: Latency = NONE,
    arrays: int = 32,
    chip_serial: str = "emulated-1",
) -> BoardServer:
    """A running board. clock: on which it waits and its cells age (virtual when left out); watch: of the dead-man timer
    (real when left out). Raises ConfigurationError for an unknown profile or key, OSError for a port that is taken.
    """
    firmware = Firmware(
        load_profile(profile, override or {}),
        seed,
        clock or VirtualClock(),
        watch=watch or RealClock(),
        latency=latency,
        arrays=arrays,
        chip_serial=chip_serial,
    )
    return BoardServer(firmware, _Terminal() if pty else _Listener(port), seed)


class BoardServer:
    """Serves one board to any number of hosts in turn or at once, in a thread of its own.

    Shows and sets the truth: outputs, conductances, faults of cells, and faults of the link (`to_board`, `to_host`).
    """

    model = "crossbar-board"

    def __init__(self, firmware: Firmware, line: _Line, seed: int) -> None:
        self.to_board, self.to_host = FrameFaults(seed), FrameFaults(seed + 1)
        self._firmware, self._line = firmware, line
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="emulated board", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """What a protocol names it by."""
        return self._line.address

    def close(self) -> None:
        """Stop serving. Idempotent."""
        self._closing.set()
        self._thread.join()
        self._line.close()

    def __enter__(self) -> BoardServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def board(self) -> Iterator[Firmware]:
        """The firmware, with nothing else going on in it."""
        with self._lock:
            yield self._firmware

    def outputs(self) -> dict[str, bool]:
        """The truth: which outputs are on now."""
        with self.board() as firmware:
            firmware.tick()
            return {name: bool(output & firmware.outputs) for output, name in OUTPUT_NAMES.items()}

    def switch_off(self) -> None:
        """As by the supply's switch, except that nothing is forgotten; also frees what hangs."""
        with self.board() as firmware:
            firmware.outputs = firmware.hanging = Outputs.NONE

    def state(self) -> dict[str, Any]:
        """The truth as plain JSON values."""
        outputs = self.outputs()
        with self.board() as firmware:
            return {
                "outputs": outputs,
                "gate_v": firmware.gate_mv * 1e-3,
                "hanging": [name for output, name in OUTPUT_NAMES.items() if output & firmware.hanging],
                "dead": self.to_board.dead,
                "requests": firmware.executed,
                "broken_frames": firmware.broken_frames,
                "injected": self.to_board.injected + self.to_host.injected,
                "arrays": {
                    str(number): {
                        "conductances_siemens": array.conductances().tolist(),
                        "faults": array.faults().tolist(),
                        "pulses": array.pulses(),
                    }
                    for number, array in firmware.chip.arrays.items()
                },
            }

    def set_state(self, name: str, value: Any) -> None:
        """Set a fault: "dead" (True: no frame passes), "hanging" (names of outputs that stay on), or a kind of
        FrameFaults with the chance that it strikes a frame on either way. Raises KeyError for another name."""
        if name == "dead":
            self.to_board.dead = self.to_host.dead = bool(value)
        elif name == "hanging":
            by_name = {text: output for output, text in OUTPUT_NAMES.items()}
            stuck = Outputs.NONE
            for output in value:
                stuck |= by_name[output]
            with self.board() as firmware:
                firmware.hanging = stuck
        elif name in KINDS:
            for faults in (self.to_board, self.to_host):
                faults.chances[name] = float(value)
        else:
            raise KeyError(f"{name!r} cannot be set (known: dead, hanging, {', '.join(KINDS)})")

    def _work(self) -> None:
        ends: dict[int, BoardEnd] = {}
        while not self._closing.is_set():
            arrived = self._line.receive(TICK_S)
            with self._lock:
                self._firmware.tick()
                back = {}
                for link, data in arrived.items():
                    end = ends.setdefault(link, BoardEnd(self._firmware, self.to_board, self.to_host))
                    back[link] = end.take(data)
            for link, data in back.items():
                if data:
                    self._line.send(link, data)


class _Line(Protocol):
    """Links of hosts, by number."""

    address: str

    def receive(self, timeout_s: float) -> dict[int, bytes]:
        """What has come from each link, as soon as anything has."""

    def send(self, link: int, data: bytes) -> None:
        """Send to one link; what a host does not take in time, or is no longer there for, is lost."""

    def close(self) -> None:
        """Drop all links."""


class _Listener:
    """TCP, on this computer only."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self.address = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        self._hosts: dict[int, socket.socket] = {}
        self._count = 0

    def receive(self, timeout_s: float) -> dict[int, bytes]:
        ready, _, _ = select.select([self._listener, *self._hosts.values()], [], [], timeout_s)
        if self._listener in ready:
            host, _ = self._listener.accept()
            host.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            host.settimeout(_SEND_S)
            self._count += 1
            self._hosts[self._count] = host
        arrived = {}
        for number, host in list(self._hosts.items()):
            if host in ready:
                with contextlib.suppress(OSError):
                    arrived[number] = host.recv(1 << 18)
                if not arrived.get(number):
                    self._drop(number)
        return arrived

    def send(self, link: int, data: bytes) -> None:
        if link not in self._hosts:
            return
        try:
            self._hosts[link].sendall(data)
        except OSError:
            self._drop(link)

    def close(self) -> None:
        self._listener.close()
        for number in list(self._hosts):
            self._drop(number)

    def _drop(self, number: int) -> None:
        self._hosts.pop(number).close()


class _Terminal:
    """A pseudo-terminal, which looks to a host like a serial port."""

    def __init__(self) -> None:
        import tty

        self._board, self._host = os.openpty()
        tty.setraw(self._host)
        os.set_blocking(self._board, False)
        self.address = f"serial:{os.ttyname(self._host)}"

    def receive(self, timeout_s: float) -> dict[int, bytes]:
        ready, _, _ = select.select([self._board], [], [], timeout_s)
        return {0: os.read(self._board, 1 << 18)} if ready else {}

    def send(self, link: int, data: bytes) -> None:
        while data:
            _, ready, _ = select.select([], [self._board], [], _SEND_S)
            if not ready:
                return
            data = data[os.write(self._board, data) :]

    def close(self) -> None:
        for end in (self._board, self._host):
            os.close(end)
