"""The grammar of program messages (IEEE 488.2): a message is units between `;`, a unit is a header and parameters."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from drivers.emulators.scpi_numbers import parse_number, starts_number
from drivers.emulators.scpi_status import ScpiError

MESSAGE_LIMIT = 8192
"""Characters that the input buffer takes."""

_HEADER = re.compile(r"(:?)(\*?[A-Z][A-Z0-9_]*(?::[A-Z][A-Z0-9_]*)*)(\??)(?=\s|$)", re.ASCII | re.IGNORECASE)
_WORD = re.compile(r"[A-Z][A-Z0-9_]*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Unit:
    """One command or query. path: mnemonics in capitals; rooted: with a leading colon; common: like *IDN."""

    path: tuple[str, ...]
    rooted: bool
    common: bool
    query: bool
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter as it was sent, taken for what the command expects. All methods raise ScpiError."""

    text: str

    def number(
        self,
        low: float,
        high: float,
        default: float,
        unit: str = "",
        named: Callable[[str], float | None] = lambda word: None,
    ) -> float:
        """A number within low..high, or MINimum, MAXimum, DEFault, or a word that `named` knows."""
        if starts_number(self.text):
            value = parse_number(self.text, unit)
        else:
            value = self._named_number(low, high, default, named)
        if not low <= value <= high:
            raise ScpiError(-222)
        return value

    def boolean(self) -> bool:
        """ON, OFF, or a number, which is true unless it rounds to nought."""
        if starts_number(self.text):
            return round(parse_number(self.text)) != 0
        word = self.word()
        if word not in ("ON", "OFF"):
            raise ScpiError(-224)
        return word == "ON"

    def choice(self, options: str) -> str:
        """One of space-separated `options` such as "HIMPedance NORMal", in its short form."""
        word = self.word()
        for option in options.split():
            if word in forms(option):
                return forms(option)[1]
        raise ScpiError(-224)

    def string(self) -> str:
        """What stands between quotes of either kind; a doubled quote is one quote."""
        if self.text[0] not in "'\"":
            raise ScpiError(-104)
        quote = self.text[0]
        if len(self.text) < 2 or self.text[-1] != quote or quote in self.text[1:-1].replace(2 * quote, ""):
            raise ScpiError(-151)
        return self.text[1:-1].replace(2 * quote, quote)

    def word(self) -> str:
        """Character data, in capitals."""
        if self.text[0] in "'\"":
            raise ScpiError(-158)
        if self.text[0] == "(":
            raise ScpiError(-178)
        if self.text[0] == "#":
            raise ScpiError(-168)
        if starts_number(self.text):
            raise ScpiError(-128)
        if not _WORD.fullmatch(self.text):
            raise ScpiError(-141)
        return self.text.upper()

    def _named_number(self, low: float, high: float, default: float, named: Callable[[str], float | None]) -> float:
        word = self.word()
        for option, value in (("MINimum", low), ("MAXimum", high), ("DEFault", default)):
            if word in forms(option):
                return value
        value_named = named(word)
        if value_named is None:
            raise ScpiError(-224)
        return value_named


def forms(mnemonic: str) -> tuple[str, str]:
    """Long and short form of a mnemonic that marks its short form with capitals: "SOURce" is SOURCE and SOUR."""
    return mnemonic.upper(), "".join(letter for letter in mnemonic if not letter.islower())


def split_message(message: str) -> list[str]:
    """Units of a message, without empty ones. Raises ScpiError for a message that no unit can be told from."""
    if len(message) > MESSAGE_LIMIT:
        raise ScpiError(-363)
    message = message.strip("\r\n\t ")
    if not message.isascii() or any(ord(letter) < 32 and letter not in "\t\r\n" for letter in message):
        raise ScpiError(-101)
    return [unit for unit in _split(message, ";") if unit]


def parse_unit(text: str) -> Unit:
    """Header and parameters of one unit. Raises ScpiError."""
    match = _HEADER.match(text)
    if match is None:
        raise ScpiError(-111 if re.match(r":?\*?[A-Z]", text, re.IGNORECASE) else -102)
    colon, header, query = match.groups()
    path = tuple(header.upper().split(":"))
    if header.startswith("*") and len(path) > 1:
        raise ScpiError(-113)
    if any(len(mnemonic.rstrip("0123456789")) > 13 for mnemonic in path):
        raise ScpiError(-112)
    rest = text[match.end() :].strip()
    parameters = tuple(map(Parameter, _split(rest, ","))) if rest else ()
    if not all(parameter.text for parameter in parameters):
        raise ScpiError(-102)
    return Unit(path, bool(colon), header.startswith("*"), bool(query), parameters)


def _split(text: str, separator: str) -> list[str]:
    """Parts between separators that stand outside quotes and parentheses."""
    parts, start, quote, depth = [], 0, "", 0
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "(":
            depth += 1
        elif letter == ")":
            depth = max(0, depth - 1)
        elif letter == separator and not depth:
            parts.append(text[start:place].strip())
            start = place + 1
    if quote:
        raise ScpiError(-151)
    return [*parts, text[start:].strip()]
