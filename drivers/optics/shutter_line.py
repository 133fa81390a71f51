"""A shutter, or a laser's interlock input, behind a text protocol: which words open, close and tell is in the protocol.

Proved against a line server only. No laser-safety function.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drivers.safe.commands import ReadBack, SafeAction
from drivers.wire.dialects import SCPI
from drivers.wire.links import make_transport
from drivers.wire.transport import Transport
from pib_lab.device import DeviceContext
from pib_lab.errors import ConfigurationError, DeviceError

Text = Annotated[str, Field(min_length=1)]


class LineShutterOptions(BaseModel):
    """address; commands `open` and `close`; `query` and the answers that mean closed and open; how long a blade moves.

    scpi: it knows IEEE 488.2's common commands, which a serial line needs to be brought into step after a time-out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: Text
    open: Text
    close: Text
    query: Text
    closed_answer: Text
    open_answer: Text
    moves_s: Annotated[float, Field(ge=0.0, le=10.0)] = 0.05
    scpi: bool = False


def read_line_options(options: Mapping[str, Any], where: str) -> LineShutterOptions:
    """Raises ConfigurationError with the key that is missing, unknown or wrong."""
    try:
        return LineShutterOptions.model_validate(dict(options))
    except ValidationError as error:
        lines = [f"{where}.{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()]
        raise ConfigurationError("\n".join(lines)) from None


class LineShutter:
    """A `Shutter` over a transport. A command is believed only after `query` has answered."""

    def __init__(self, options: LineShutterOptions, context: DeviceContext, transport: Transport | None = None) -> None:
        self._options, self._clock = options, context.clock
        self._link = transport or make_transport(options.address, marker=SCPI.marker if options.scpi else None)
        self._connected = False
        self.name = f"{context.name}.shutter at {options.address}"

    def open(self) -> None:
        """Let light through. Raises DeviceError when it does not read back open, LinkError when it is silent."""
        self._command(self._options.open)
        if (answer := self._ask()) != self._options.open_answer:
            raise DeviceError(f"{self.name}: was told to open and answers {answer!r}; look at its interlock")

    def close_and_read_back(self) -> bool:
        """Stop the light; True only when the answer is the one that means closed."""
        self._command(self._options.close)
        return self._ask() == self._options.closed_answer

    def is_closed(self) -> bool:
        """Ask. Raises DeviceError for an answer that means neither."""
        answer = self._ask()
        if answer not in (self._options.closed_answer, self._options.open_answer):
            raise DeviceError(f"{self.name}: answers {answer!r}, which the protocol's table does not explain")
        return answer == self._options.closed_answer

    def release(self) -> None:
        """Disconnect. Idempotent."""
        if self._connected:
            self._link.close()
            self._connected = False

    def safe_action(self, device: str) -> SafeAction:
        """How the guardian closes it."""
        o = self._options
        return SafeAction(
            device=device,
            address=o.address,
            kind="scpi",
            commands=(o.close,),
            read_back=(ReadBack("shutter", o.query, (o.closed_answer,)),),
        )

    def _connect(self) -> None:
        if not self._connected:
            self._link.open()
            self._connected = True

    def _command(self, text: str) -> None:
        self._connect()
        self._link.write(text)
        self._clock.sleep_s(self._options.moves_s)

    def _ask(self) -> str:
        self._connect()
        return self._link.query(self._options.query).strip()
