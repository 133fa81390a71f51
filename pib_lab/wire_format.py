"""Events as bytes: msgpack, with arrays as bytes, dtype and shape. No pickles: a decoder must be safe to feed.

A dataclass travels as extension 1, `[class name, {field: value}]`; an array as extension 2, `[dtype, shape, bytes]`.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from typing import Any

import msgpack
import numpy as np

from pib_lab.errors import LinkError
from pib_lab.events import Event
from pib_lab.frames import CameraFrame
from pib_lab.procedure_events import ProcedureEvent
from pib_lab.records import Passes, UnitInfo, UnitStep

_RECORD = 1
_ARRAY = 2
_NUMERIC_KINDS = "biuf"
_RECORDS: Mapping[str, type[Any]] = {
    record.__name__: record
    for record in (*typing.get_args(Event | ProcedureEvent), Passes, UnitInfo, UnitStep, CameraFrame)
}


def encode(event: Event) -> bytes:
    """The bytes of one event. Raises TypeError for a value that no event should hold, such as an array of objects."""
    return pack(event)


def decode(data: bytes) -> Event:
    """The event that `encode` made `data` from; its arrays are read-only.

    Raises LinkError for bytes that are no event of this version.
    """
    record = unpack(data)
    if not isinstance(record, typing.get_args(Event)):
        raise LinkError(f"received a {type(record).__name__} where an event was expected; close this connection")
    return typing.cast(Event, record)


def pack(value: Any) -> bytes:
    """Any nesting of mappings, tuples, plain scalars, arrays and event records, as bytes. Lists come back as tuples."""
    return typing.cast(bytes, msgpack.packb(value, default=_pack_special, use_bin_type=True))


def unpack(data: bytes) -> Any:
    """What `pack` was given. Raises LinkError for bytes that cannot be read."""
    try:
        return msgpack.unpackb(data, ext_hook=_unpack_special, use_list=False, raw=False)
    except (ValueError, TypeError, KeyError, msgpack.exceptions.UnpackException) as error:
        raise LinkError(f"received bytes that are not of this version of PIB Lab: {error}") from error


def _pack_special(value: Any) -> Any:
    if is_dataclass(value) and type(value).__name__ in _RECORDS:
        content = {field.name: getattr(value, field.name) for field in fields(value)}
        return msgpack.ExtType(_RECORD, pack([type(value).__name__, content]))
    if isinstance(value, np.ndarray) and value.dtype.kind in _NUMERIC_KINDS:
        return msgpack.ExtType(_ARRAY, pack([value.dtype.str, value.shape, value.tobytes()]))
    if isinstance(value, np.generic) and value.dtype.kind in _NUMERIC_KINDS:
        return value.item()
    raise TypeError(f"{type(value).__name__} does not belong in an event")


def _unpack_special(code: int, data: bytes) -> Any:
    if code == _ARRAY:
        dtype, shape, content = unpack(data)
        if np.dtype(dtype).kind not in _NUMERIC_KINDS:
            raise ValueError(f"arrays of dtype {dtype} are not accepted")
        return np.frombuffer(content, dtype=dtype).reshape(shape)
    if code == _RECORD:
        name, content = unpack(data)
        for field_name, enumeration in _enumerations(name):
            content[field_name] = enumeration(content[field_name])
        return _RECORDS[name](**content)
    raise ValueError(f"extension {code} is unknown")


@functools.cache
def _enumerations(name: str) -> tuple[tuple[str, type[StrEnum]], ...]:
    """Fields of record `name` that are enumerations: msgpack sends them as texts."""
    hints = typing.get_type_hints(_RECORDS[name])
    return tuple((name, hint) for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, StrEnum))
