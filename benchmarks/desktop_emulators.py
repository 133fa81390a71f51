"""Emulators in a process of their own, and when each of their outputs was on last, by the truth behind them.

`python -m benchmarks.desktop_emulators FOLDER KIND` starts a board, the instruments around a matrix, or both, writes
FOLDER/KIND.toml to run on them, and then obeys lines of JSON on stdin, each answered by one: {"kill": NAME, "how":
"silent" or "gone"}, {"heal": true}, {"last": true} for the outputs and the time (monotonic, seconds) of the last look
at which each was on, None for never, with "now" for those that are on.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.kills import COARSE, ROWS, station, write_protocol
from drivers.emulators import board
from drivers.emulators.fault_modes import WireFault
from drivers.emulators.latency import LIKE_REAL
from drivers.emulators.server import TcpServer
from pib_lab.clocks import RealClock

LOOK_S = 0.002
KINDS = ("board", "matrix", "both")

_BOARD_SHAPE, _MATRIX_SHAPE = (64, 20), (4, 4)
_ENDLESS = "epochs = 1000000\nbatch = 8\nevaluate_every = 1000000\n"


class Truth:
    """Watches outputs; `last_s` is when each was seen on for the last time."""

    def __init__(self, servers: dict[str, Any]) -> None:
        self._servers = servers
        self.last_s: dict[str, float] = {}
        self.now: list[str] = []
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK_S)
            now_s = time.monotonic()
            on = [
                f"{name} {output}"
                for name, server in self._servers.items()
                for output, is_on in server.instrument.outputs().items()
                if is_on
            ]
            self.last_s |= dict.fromkeys(on, now_s)
            self.now = on


def main(folder: Path, kind: str) -> None:
    """Serve until stdin ends."""
    with emulators(folder, kind) as servers:
        truth = Truth(servers)
        print(json.dumps({"protocol": str(folder / f"{kind}.toml"), "names": list(servers)}), flush=True)
        for line in sys.stdin:
            print(json.dumps(obey(json.loads(line), servers, truth)), flush=True)


def obey(request: dict[str, Any], servers: dict[str, Any], truth: Truth) -> dict[str, Any]:
    """Carry out one request."""
    if "kill" in request:
        server = servers[request["kill"]]
        if not isinstance(server, TcpServer):
            server.instrument.set_state("dead", True)
        else:
            server.faults.arm(WireFault.NO_ANSWER)
            if request["how"] == "gone":
                server.faults.arm(WireFault.DROPPED_LINK)
                server.drop_links()
    elif "heal" in request:
        for server in servers.values():
            if isinstance(server, TcpServer):
                server.faults.clear()
            else:
                server.instrument.set_state("dead", False)
    return {"last_s": truth.last_s, "now": truth.now}


@contextlib.contextmanager
def emulators(folder: Path, kind: str) -> Iterator[dict[str, Any]]:
    """Servers by name, with the latencies of the real instruments; the protocol that runs on them is in `folder`."""
    servers: dict[str, Any] = {}
    hardware = ""
    with contextlib.ExitStack() as stack:
        if kind in ("board", "both"):
            served = stack.enter_context(board.start(clock=RealClock(), watch=RealClock(), latency=LIKE_REAL))
            servers["board"] = served
            hardware += f'[hardware.board]\ndriver = "memristor-board"\naddress = "{served.address}"\n'
        if kind in ("matrix", "both"):
            text, bench = stack.enter_context(station(LIKE_REAL))
            servers |= bench.servers
            text = text.replace(f"rows = {ROWS}\n", "rows = 4\ndrive_bits = 1\nnplc = 0.01\n", 1)
            hardware += text.replace("[hardware.chip.matrix]", f"{COARSE}[hardware.chip.matrix]", 1)
        if kind == "both":
            _write_both(folder, hardware)
        else:
            shape = _BOARD_SHAPE if kind == "board" else _MATRIX_SHAPE
            write_protocol(folder, hardware, shape, 320, 0.1, _ENDLESS).rename(folder / f"{kind}.toml")
        yield servers


def _write_both(folder: Path, hardware: str) -> None:
    """A network whose first layer is on the board and whose second is behind the matrix."""
    path = write_protocol(folder, hardware, _MATRIX_SHAPE, 320, 0.1, _ENDLESS)
    text = path.read_text()
    first = '[[units]]\nname = "first"\ndevice = "board"\ninputs = 4\noutputs = 4\nobjective = "conditional-entropy"\n'
    text = text.replace("[[units]]\n", f'{first}[[units]]\ndevice = "chip"\n')
    (folder / "both.toml").write_text(text)
    path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
