"""Ready-made safe actions of the instruments that have a driver here. A driver's `safe_actions` names one by address.

Every instrument is first told to abandon what it is doing, then its source levels are brought to zero, then its output
goes off and is asked for. "Off" is each instrument's own off state, which its driver sets: see docs/safety.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.safe.commands import Ramp, ReadBack, SafeAction


def keithley_2400(device: str, address: str) -> SafeAction:
    """One-channel SMU that speaks SCPI; its sweep is aborted first."""
    return _scpi_smu(device, address, r"(?i)MODEL 24[0-4]\d")


def keithley_2450(device: str, address: str) -> SafeAction:
    """One-channel SMU with its SCPI command set chosen."""
    return _scpi_smu(device, address, "(?i)MODEL 2450")


def _scpi_smu(device: str, address: str, models: str) -> SafeAction:
    return SafeAction(
        device=device,
        address=address,
        kind="scpi",
        identity=models,
        clear=(":ABOR",),
        ramps=tuple(Ramp(f":SOUR:{what}:LEV?", f":SOUR:{what}:LEV {{level:.6e}}") for what in ("VOLT", "CURR")),
        commands=(":OUTP OFF",),
        read_back=(ReadBack("output", ":OUTP?", ("0", "OFF")),),
    )


def keithley_2600(device: str, address: str, channels: Sequence[str] = ("smua", "smub")) -> SafeAction:
    """SMU that speaks TSP, with the channels that it has; a running script is aborted first."""
    return SafeAction(
        device=device,
        address=address,
        kind="tsp",
        identity=r"(?i)MODEL 26\d\d",
        clear=("abort",),
        ramps=tuple(
            Ramp(f"print({channel}.source.level{what})", f"{channel}.source.level{what} = {{level:.6e}}")
            for channel in channels
            for what in "vi"
        ),
        commands=tuple(f"{channel}.source.output = 0" for channel in channels),
        read_back=tuple(ReadBack(channel, f"print({channel}.source.output)", ("0",)) for channel in channels),
    )


def keithley_707(device: str, address: str) -> SafeAction:
    """Switch matrix that speaks TSP: every crosspoint opens, after the sources have gone off."""
    return SafeAction(
        device=device,
        address=address,
        kind="tsp",
        identity="(?i)MODEL 70[78]",
        clear=("abort",),
        commands=('channel.open("allslots")',),
        read_back=(ReadBack("crosspoints", 'print(channel.getclose("allslots"))', ("nil",)),),
        stage=1,
    )


def crossbar_board(device: str, address: str) -> SafeAction:
    """Serial crossbar board: its outputs command, asked for afterwards."""
    return SafeAction(device=device, address=address, kind="board", outputs=("row drivers", "word lines"))
