"""Bench files: which emulated instruments there are, and how they are wired to one chip (TOML)."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from drivers.mock.forming import SOUND, CellDefects
from pib_lab.errors import ConfigurationError

Lines = Annotated[int, Field(ge=1, le=32)]
TcpPort = Annotated[int, Field(ge=0, le=65535)]
Bus = Annotated[str, Field(min_length=1, max_length=20)]
PORTS = {"smu-2400": 1, "smu-2450": 1, "smu-2602b": 2, "matrix-707b": 0, "crossbar-board": 0}
"""Buses that each model takes."""
BOARD = "crossbar-board"


class Part(BaseModel):
    """Base of all tables: unknown keys are mistakes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Made(Part):
    """What the cells of a chip are made by, what is wrong with them, and the serial number that a board tells."""

    profile: str = "chip-b"
    override: dict[str, Any] = {}
    seed: Annotated[int, Field(ge=0)] = 0
    serial: Annotated[str, Field(pattern=r"^[ -~]{1,16}$")] = "emulated-1"
    defects: CellDefects = SOUND


M = TypeVar("M", bound=Made)


class BoardChip(Made):
    """[instruments.chip]: of a board with a chip of its own; how many arrays, each as large as the profile's."""

    arrays: Annotated[int, Field(ge=1, le=256)] = 32


class Chip(Made):
    """[chip]: rows x columns cells of a profile. bleed_ohm: from every line to ground; without it lines float."""

    rows: Lines
    columns: Lines
    gates: bool = False
    bleed_ohm: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    contact_ohm: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1.0
    threshold_v: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 0.5
    write_v: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> Chip:
        if not self.threshold_v < self.write_v:
            raise ValueError("threshold_v must be below write_v")
        return self


class Instrument(Part):
    """[[instruments]]: port 0 takes any free one; pty: a pseudo-terminal instead; buses: what its terminals are on (a
    matrix and a board have none); chip: one of its own, of a board. A board without has the bench's chip as its array.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
    model: Literal["smu-2400", "smu-2450", "smu-2602b", "matrix-707b", "crossbar-board"]
    port: TcpPort = 0
    pty: bool = False
    buses: tuple[Bus, ...] = ()
    chip: BoardChip | None = None

    @model_validator(mode="after")
    def _wired(self) -> Instrument:
        if self.chip is not None and self.model != BOARD:
            raise ValueError(f"only a {BOARD} has a chip of its own")
        if self.pty and self.port:
            raise ValueError("a pseudo-terminal has no port: leave out one of pty and port")
        if len(self.buses) != PORTS[self.model]:
            raise ValueError(f"{self.model} is wired to {PORTS[self.model]} bus(es): buses = [...]")
        return self


class Wiring(Part):
    """[wiring]: matrix columns by slot and column ("1:01"), each with its chip line; buses tied to ground; buses wired
    to lines for good. The matrix's rows A to H are the buses of these names."""

    columns: dict[Annotated[str, Field(pattern=r"^[1-6]:(0[1-9]|1[0-2])$")], str] = {}
    grounded: tuple[Bus, ...] = ()
    fixed: dict[Bus, tuple[str, ...]] = {}


class BenchFile(Part):
    """The whole file."""

    title: str = ""
    control_port: TcpPort = 0
    chip: Chip
    instruments: Annotated[tuple[Instrument, ...], Field(min_length=1)]
    wiring: Wiring = Wiring()

    def made_virgin(self) -> BenchFile:
        """The same bench with the cells of all its chips still to be formed."""
        instruments = tuple(
            instrument.model_copy(update={"chip": _virgin(instrument.chip)}) if instrument.chip else instrument
            for instrument in self.instruments
        )
        return self.model_copy(update={"chip": _virgin(self.chip), "instruments": instruments})

    @model_validator(mode="after")
    def _named_once(self) -> BenchFile:
        names = [instrument.name for instrument in self.instruments]
        if len(set(names)) < len(names) or "chip" in names:
            raise ValueError('instruments must have different names, none of them "chip"')
        if sum(instrument.model == "matrix-707b" for instrument in self.instruments) > 1:
            raise ValueError("a bench has one matrix at most")
        return self


def _virgin(chip: M) -> M:
    defects = chip.defects.model_copy(update={"virgin": True})
    return chip.model_copy(update={"defects": defects})


def read_bench_file(path: Path) -> BenchFile:
    """Read and check. Raises ConfigurationError with the file, the key and what is wrong there."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from None
    try:
        return BenchFile.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "file"
        raise ConfigurationError(f"{path}: {key}: {first['msg'].removeprefix('Value error, ')}") from None
