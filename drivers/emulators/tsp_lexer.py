"""Words of TSP, the Lua dialect of Keithley's instruments: names, numbers, strings, operators."""

from __future__ import annotations

import re
from dataclasses import dataclass

_WORDS = "and break do else elseif end false for function if in local nil not or repeat return then true until while"
KEYWORDS = frozenset(_WORDS.split())
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n\f\v]+|--\[\[.*?\]\]|--[^\n]*)
      | (?P<number>0[xX][0-9a-fA-F]{1,16}|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
      | (?P<name>[A-Za-z_][A-Za-z_0-9]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<symbol>\.\.\.|\.\.|==|~=|<=|>=|[-+*/^%<>=(){}\[\];:,.\#])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\n": "\n"}


class TspSyntaxError(Exception):
    """What the instrument says when it cannot read a message (error -285)."""


@dataclass(frozen=True, slots=True)
class Token:
    """kind: "number", "name", "string", "symbol", "keyword" or "end"; value: the text, or what it stands for."""

    kind: str
    value: str | float

    @property
    def text(self) -> str:
        """How error messages name it."""
        return "<eof>" if self.kind == "end" else str(self.value)


def tokenise(text: str) -> list[Token]:
    """Tokens of one message, ended by one of kind "end". Raises TspSyntaxError for a character that starts none."""
    tokens, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise TspSyntaxError(f"unexpected symbol near `{text[at]}'")
        at = match.end()
        kind, found = str(match.lastgroup), match.group()
        if kind == "number":
            tokens.append(Token(kind, float(int(found, 16)) if found[:2] in ("0x", "0X") else float(found)))
        elif kind == "string":
            tokens.append(Token(kind, re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), found[1:-1], flags=re.S)))
        elif kind == "name":
            tokens.append(Token("keyword" if found in KEYWORDS else "name", found))
        elif kind == "symbol":
            tokens.append(Token(kind, found))
    return [*tokens, Token("end", "")]
