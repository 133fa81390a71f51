"""Looking for instruments, only when someone asks: a search disturbs other users of a bus and takes seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

SEARCH_S = 6.0


@dataclass(frozen=True, slots=True)
class Found:
    """address: what to write into a protocol; kind: "VISA" or "serial"; description: what the system says of it."""

    address: str
    kind: str
    description: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What a search found, and which parts of it failed or did not end in time."""

    found: tuple[Found, ...]
    problems: tuple[str, ...]


def discover(timeout_s: float = SEARCH_S, backend: str = "@py") -> Survey:
    """Search VISA resources and serial ports, within `timeout_s`. Nothing is opened and nobody is asked who it is.

    Raw sockets cannot be found: their addresses are in the instrument's own menu.
    """
    return survey({"VISA": lambda: _visa(backend), "serial": _serial}, timeout_s)


def survey(searches: dict[str, Callable[[], list[Found]]], timeout_s: float) -> Survey:
    """Run named searches side by side; one that fails or does not end in time is named among the problems."""
    found: dict[str, list[Found]] = {}
    problems: dict[str, str] = {}

    def search(name: str, look: Callable[[], list[Found]]) -> None:
        try:
            found[name] = look()
        except Exception as error:  # a broken backend must not hide what the other search finds
            problems[name] = f"{name}: {error}"

    deadline_s = time.monotonic() + timeout_s
    threads = {name: threading.Thread(target=search, args=(name, look), daemon=True) for name, look in searches.items()}
    for thread in threads.values():
        thread.start()
    for name, thread in threads.items():
        thread.join(max(0.0, deadline_s - time.monotonic()))
        if thread.is_alive():
            problems[name] = f"{name}: the search did not end within {timeout_s:g} s"
    in_time = [name for name in searches if name in found and name not in problems]
    return Survey(tuple(f for name in in_time for f in found[name]), tuple(problems[name] for name in sorted(problems)))


def _visa(backend: str) -> list[Found]:
    import pyvisa

    names = pyvisa.ResourceManager(backend).list_resources("?*::INSTR")
    return [
        Found(name, "VISA", "") for name in names if not name.upper().startswith("ASRL")
    ]  # those are the serial ones


def _serial() -> list[Found]:
    from serial.tools.list_ports import comports

    ports = sorted(comports(), key=lambda port: port.device)
    return [Found(f"serial:{port.device}", "serial", port.description or "") for port in ports]
