"""Numbers as SCPI writes them: decimal with unit suffixes, or #H, #Q, #B; and back."""

from __future__ import annotations

import re

from drivers.emulators.scpi_status import ScpiError

INFINITY = 9.9e37
"""What instruments answer for an overflow."""

NOT_A_NUMBER = 9.91e37
"""What instruments answer for something that was not measured."""

_DECIMAL = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:\s*E\s*([+-]?\d+))?\s*([A-Z]*)", re.ASCII)
_BASES = {"H": 16, "Q": 8, "B": 2}
_PREFIXES = {
    "EX": 1e18,
    "PE": 1e15,
    "T": 1e12,
    "G": 1e9,
    "MA": 1e6,
    "K": 1e3,
    "": 1.0,
    "M": 1e-3,
    "U": 1e-6,
    "N": 1e-9,
    "P": 1e-12,
    "F": 1e-15,
    "A": 1e-18,
}
_MEGA_UNITS = ("OHM", "HZ")  # IEEE 488.2: MOHM and MHZ are mega, as everybody says


def starts_number(text: str) -> bool:
    """Whether a parameter is numeric data (else it is character data, a string, ...)."""
    return bool(text) and (text[0] in "+-.0123456789" or (text[0] == "#" and text[1:2].upper() in _BASES))


def parse_number(text: str, unit: str = "") -> float:
    """The value of numeric data in its basic unit ("10MA" is 0.01 where `unit` is "A").

    Raises ScpiError -121, -123, -131 or -138.
    """
    text = text.strip().upper()
    if text.startswith("#"):
        return _non_decimal(text)
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise ScpiError(-121)
    digits, exponent, suffix = match.groups()
    if len(digits) > 255:
        raise ScpiError(-124)
    if exponent is not None and (len(exponent) > 6 or abs(int(exponent)) > 300):
        raise ScpiError(-123)
    return float(f"{digits}E{exponent or 0}") * _factor(suffix, unit)


def plain(value: float) -> str:
    """The shortest form with seven digits: 0.001, 1E-09."""
    return f"{value:.7g}".upper()


def scientific(value: float) -> str:
    """Settings of an older instrument: 1.000000E-03."""
    return f"{value:.6E}"


def signed(value: float) -> str:
    """Readings: +1.000000E-03."""
    return f"{value:+.6E}"


def _non_decimal(text: str) -> float:
    base = _BASES.get(text[1:2], 0)
    try:
        return float(int(text[2:66], base)) if text[2:].isalnum() and len(text) <= 66 else _bad()
    except ValueError:
        return _bad()


def _bad() -> float:
    raise ScpiError(-121)


def _factor(suffix: str, unit: str) -> float:
    if not suffix:
        return 1.0
    if not unit:
        raise ScpiError(-138)
    if not suffix.endswith(unit):
        raise ScpiError(-131)
    prefix = suffix.removesuffix(unit)
    if prefix == "M" and unit in _MEGA_UNITS:
        return 1e6
    if prefix not in _PREFIXES:
        raise ScpiError(-131)
    return _PREFIXES[prefix]
