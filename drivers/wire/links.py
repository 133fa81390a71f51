"""Opening instruments by address: which transport speaks to which kind of name."""

from __future__ import annotations

import re

from drivers.wire.line_transport import LineTransport, Marker, Timing
from drivers.wire.serial_transport import SerialTransport
from drivers.wire.visa_transport import VisaTransport, is_visa
from pib_lab.device import Traffic
from pib_lab.errors import ConfigurationError

_SERIAL = re.compile(r"serial:.+|/dev/.+|COM\d+(\?.*)?|ASRL.+", re.IGNORECASE)


def make_transport(
    address: str,
    *,
    marker: Marker | None = None,
    timing: Timing | None = None,
    log: Traffic | None = None,
    backend: str | None = None,
    exclusive: bool = True,
) -> LineTransport:
    """The transport for `address`; nothing is sent before its `open`.

    marker: the dialect's (`drivers.wire.dialects`); a serial line needs one, elsewhere it adds certainty. backend: see
    `VisaTransport`. exclusive: see `SerialTransport`. Raises ConfigurationError for an address of no known form.
    """
    if _SERIAL.fullmatch(address):
        if marker is None:
            raise ConfigurationError(
                f"address {address!r}: a serial line needs a marker, such as SCPI.marker or TSP.marker"
            )
        return SerialTransport(address, marker=marker, timing=timing, log=log, exclusive=exclusive)
    if is_visa(address):
        return VisaTransport(address, marker=marker, timing=timing, log=log, backend=backend)
    raise ConfigurationError(
        f"address {address!r} has no known form; write TCPIP::192.0.2.1::5025::SOCKET, TCPIP::192.0.2.1::INSTR, "
        "GPIB0::24::INSTR, USB0::0x05E6::0x2450::04012345::INSTR or serial:/dev/ttyUSB0?baud=9600 "
        "(`pib-lab list instruments` shows what is connected)"
    )
