"""The control port of emulators: shows and sets the truth behind the instruments, in JSON, one object a line.

    {"get": "outputs"}                                        which outputs are truly on, by instrument
    {"get": "state"}                                          that, and all of the instruments' and the chip's state
    {"set": {"smu": {"offset_a": 1e-6}}}                      an instrument's state
    {"set": {"chip": {"conductances": [[1e-6, 2e-6]]}}}       the cells, in siemens
    {"fault": "late-answer", "for": 1, "late_s": 0.5}         of all instruments, or of the one in "instrument"
    {"set": {"board": {"conductances": {"0": [[[1e-6, 2e-6]]]}}}}   of a board with a chip of its own, by array
    {"fault": "cells", "kind": "low", "fraction": 0.1, "seed": 1}   of the bench's chip, or of the one on "instrument"
    {"switch_off": true}                                      the front panels' output keys

Answers are {"ok": true, ...} or {"ok": false, "error": "..."}.
"""

from __future__ import annotations

import contextlib
import json
import math
import socket
import threading
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from drivers.emulators.bench import Bench
from drivers.emulators.fault_modes import FaultModes, strike
from drivers.emulators.instrument import Truth
from drivers.emulators.server import close_listener, listen
from pib_lab.errors import ConfigurationError, PibError

MAX_REQUEST = 1_000_000


class Server(Protocol):
    """What a control port knows of a server, whatever language its instrument speaks."""

    @property
    def instrument(self) -> Truth:
        """The truth behind it."""

    @property
    def faults(self) -> FaultModes:
        """What strikes its answers."""

    @property
    def address(self) -> str:
        """What a protocol names it by."""

    def close(self) -> None:
        """Stop serving. Idempotent."""


@runtime_checkable
class HoldsCells(Protocol):
    """Has a chip, whose cells can be struck."""

    def strike(self, kind: str, fraction: float, seed: int) -> int:
        """Strike healthy cells; returns how many. Raises ConfigurationError."""


class Control:
    """What the control port knows: servers by the name of their instrument, and the bench behind them."""

    def __init__(self, servers: Mapping[str, Server], bench: Bench | None = None) -> None:
        self._servers, self._bench = servers, bench

    def outputs_on(self) -> list[str]:
        """Outputs that are truly on, as "instrument.output"."""
        return [
            f"{name}.{output}"
            for name, server in self._servers.items()
            for output, on in server.instrument.outputs().items()
            if on
        ]

    def handle(self, line: str) -> dict[str, Any]:
        """Carry out one request. Never raises for bad input."""
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return _refused("a request is one JSON object on one line")
        if not isinstance(request, dict):
            return _refused("a request is a JSON object")
        try:
            return {"ok": True, **self._answer(request)}
        except PibError as problem:
            return _refused(str(problem))

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if "get" in request:
            return self._get(request["get"])
        if "set" in request:
            self._set(request["set"])
        elif request.get("fault") == "cells":
            return {"struck": self._strike_cells(request)}
        elif "fault" in request:
            for server in self._chosen(request.get("instrument")):
                strike(server.instrument, server.faults, str(request["fault"]), request)
        elif request.get("switch_off") is True:
            for server in self._servers.values():
                server.instrument.switch_off()
        else:
            raise ConfigurationError('a request has one of "get", "set", "fault", "switch_off"')
        return {}

    def _get(self, what: Any) -> dict[str, Any]:
        if what == "outputs":
            return {"outputs_on": self.outputs_on()}
        if what != "state":
            raise ConfigurationError('"get" is "state" or "outputs"')
        instruments = {
            name: {
                "model": server.instrument.model,
                "address": server.address,
                "outputs": server.instrument.outputs(),
                "state": server.instrument.state(),
                "faults": server.faults.state(),
            }
            for name, server in self._servers.items()
        }
        chip = {} if self._bench is None else {"chip": self._bench.state()}
        return {"outputs_on": self.outputs_on(), "instruments": instruments, **chip}

    def _set(self, wanted: Any) -> None:
        if not isinstance(wanted, dict) or not all(isinstance(values, dict) for values in wanted.values()):
            raise ConfigurationError('"set" is {"instrument": {"name": value}} or {"chip": {"conductances": [[...]]}}')
        for name, values in wanted.items():
            for key, value in values.items():
                if name == "chip" and self._bench is not None:
                    if key != "conductances":
                        raise ConfigurationError(f'of the chip only "conductances" can be set, not {key!r}')
                    self._bench.set_conductances(value)
                    continue
                instrument = self._chosen(name)[0].instrument
                try:
                    instrument.set_state(key, value)
                except KeyError:
                    raise ConfigurationError(f"{name} has no state {key!r} that can be set") from None
                except (TypeError, ValueError, OverflowError) as problem:
                    raise ConfigurationError(f"{name}.{key}: {value!r} cannot be set: {problem}") from None

    def _strike_cells(self, request: dict[str, Any]) -> int:
        struck = self._chip_of(request.get("instrument"))
        fraction, seed = request.get("fraction", 0.1), request.get("seed", 0)
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not math.isfinite(fraction):
            raise ConfigurationError(f'"fraction": {fraction!r} is no number')
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ConfigurationError(f'"seed": {seed!r} is not a whole number, 0 or more')
        return struck.strike(str(request.get("kind", "mixed")), float(fraction), seed)

    def _chip_of(self, name: Any) -> HoldsCells:
        """The bench's chip where no instrument is named; a board that is the only instrument need not be named."""
        if name is None and self._bench is not None:
            return self._bench
        if name is None and len(self._servers) > 1:
            raise ConfigurationError('several instruments, and no chip between them: name one in "instrument"')
        (server,) = self._chosen(name)
        if not isinstance(server.instrument, HoldsCells):
            raise ConfigurationError(f'{server.instrument.model} has no chip of its own; leave "instrument" out')
        return server.instrument

    def _chosen(self, name: Any) -> list[Server]:
        if name is None:
            return list(self._servers.values())
        if not isinstance(name, str) or name not in self._servers:
            raise ConfigurationError(f"instrument {name!r} does not exist (known: {', '.join(self._servers)})")
        return [self._servers[name]]


class ControlServer:
    """Serves a `Control` on TCP; one client after another, each as long as it likes to stay, several at a time."""

    def __init__(self, control: Control, host: str = "127.0.0.1", port: int = 0) -> None:
        self._control, self._closing = control, threading.Event()
        self._listener = listen(host, port)
        self.host, self.port = self._listener.getsockname()[:2]
        self._links: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, name="control server", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving. Idempotent."""
        self._closing.set()
        close_listener(self._listener)
        for link in list(self._links):
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        self._thread.join(2.0)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                link, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:  # closed
                return
            self._links.add(link)
            threading.Thread(target=self._serve, args=(link,), name="control client", daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        pending = b""
        with link, contextlib.suppress(OSError):
            while not self._closing.is_set() and (data := link.recv(65_536)):
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    answer = self._control.handle(line.decode("utf-8", "replace"))
                    link.sendall(json.dumps(answer).encode() + b"\n")
                if len(pending) > MAX_REQUEST:
                    break
        self._links.discard(link)


def _refused(why: str) -> dict[str, Any]:
    return {"ok": False, "error": why}
