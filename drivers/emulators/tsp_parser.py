"""From one TSP message to a tree of statements: the part of Lua that drivers send, without functions of their own."""

from __future__ import annotations

import functools

from drivers.emulators.tsp_lexer import Token, TspSyntaxError, tokenise
from drivers.emulators.tsp_tree import (
    Assign,
    Block,
    Break,
    Call,
    Constructor,
    Do,
    Expression,
    For,
    If,
    Index,
    Literal,
    Loop,
    Name,
    Operation,
    Statement,
)

MAX_DEPTH = 40
"""Nesting beyond this is refused, so that no input can exhaust the stack."""
_BINARY = {
    "or": 1, "and": 2, "<": 3, ">": 3, "<=": 3, ">=": 3, "~=": 3, "==": 3, "..": 4, "+": 5, "-": 5, "*": 6, "/": 6,
    "%": 6, "^": 8,
}  # fmt: skip
_UNARY = 7
_RIGHT = ("..", "^")


@functools.lru_cache(maxsize=256)  # drivers say the same few sentences over and over
def parse(text: str) -> Block:
    """The statements of one message. Raises TspSyntaxError."""
    parser = _Parser(tokenise(text))
    block = parser.block()
    parser.expect("end", "")
    return block


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens, self._at, self._depth = tokens, 0, 0

    @property
    def _now(self) -> Token:
        return self._tokens[self._at]

    def _is(self, *values: str) -> bool:
        return self._now.kind in ("symbol", "keyword") and self._now.value in values

    def _take(self, *values: str) -> bool:
        if found := self._is(*values):
            self._at += 1
        return found

    def _need(self, value: str) -> None:
        if not self._take(value):
            raise TspSyntaxError(f"`{value}' expected near `{self._now.text}'")

    def expect(self, kind: str, what: str) -> str:
        """The text of the next token, which must be of `kind`."""
        if self._now.kind != kind:
            raise TspSyntaxError(f"{what or kind} expected near `{self._now.text}'")
        token = self._now
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return str(token.value)

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise TspSyntaxError("chunk has too many syntax levels")

    def block(self) -> Block:
        """Statements up to the end, or to a word that ends a block."""
        self._deeper()
        statements: list[Statement] = []
        while self._now.kind != "end" and not self._is("end", "else", "elseif", "until"):
            if not self._take(";"):
                statements.append(self._statement())
        self._depth -= 1
        return tuple(statements)

    def _statement(self) -> Statement:
        if self._is("function", "return"):
            raise TspSyntaxError(f"`{self._now.text}' is not emulated")
        if self._take("local"):
            names = [Name(self.expect("name", "<name>"))]
            while self._take(","):
                names.append(Name(self.expect("name", "<name>")))
            return Assign(tuple(names), self._expressions() if self._take("=") else (), local=True)
        if self._take("if"):
            return self._if()
        if self._take("while"):
            condition = self._expression()
            self._need("do")
            return Loop(condition, self._closed_block(), test_first=True)
        if self._take("repeat"):
            body = self.block()
            self._need("until")
            return Loop(self._expression(), body, test_first=False)
        if self._take("for"):
            return self._for()
        if self._take("do"):
            return Do(self._closed_block())
        if self._take("break"):
            return Break()
        return self._call_or_assignment()

    def _closed_block(self) -> Block:
        body = self.block()
        self._need("end")
        return body

    def _if(self) -> If:
        branches: list[tuple[Expression, Block]] = []
        while True:
            condition = self._expression()
            self._need("then")
            branches.append((condition, self.block()))
            if not self._take("elseif"):
                break
        if self._take("else"):
            branches.append((Literal(True), self.block()))
        self._need("end")
        return If(tuple(branches))

    def _for(self) -> For:
        name = self.expect("name", "<name>")
        self._need("=")
        bounds = self._expressions()
        if not 2 <= len(bounds) <= 3:
            raise TspSyntaxError(f"`for' needs two or three bounds near `{self._now.text}'")
        self._need("do")
        return For(name, bounds, self._closed_block())

    def _call_or_assignment(self) -> Statement:
        first = self._suffixed()
        if isinstance(first, Call):
            return first
        targets = [self._target(first)]
        while self._take(","):
            targets.append(self._target(self._suffixed()))
        self._need("=")
        return Assign(tuple(targets), self._expressions(), local=False)

    def _target(self, found: Expression) -> Name | Index:
        if not isinstance(found, Name | Index):
            raise TspSyntaxError(f"syntax error near `{self._now.text}'")
        return found

    def _expressions(self) -> tuple[Expression, ...]:
        found = [self._expression()]
        while self._take(","):
            found.append(self._expression())
        return tuple(found)

    def _expression(self, above: int = 0) -> Expression:
        self._deeper()
        if self._is("not", "-", "#"):
            operator = self.expect(self._now.kind, "")
            left: Expression = Operation(operator, (self._expression(_UNARY),))
        else:
            left = self._simple()
        while self._now.kind in ("symbol", "keyword") and _BINARY.get(self._now.text, 0) > above:
            operator = self.expect(self._now.kind, "")
            strength = _BINARY[operator]
            left = Operation(operator, (left, self._expression(strength - 1 if operator in _RIGHT else strength)))
        self._depth -= 1
        return left

    def _simple(self) -> Expression:
        token = self._now
        if token.kind in ("number", "string"):
            self._at += 1
            return Literal(token.value)
        if self._take("nil"):
            return Literal(None)
        if self._take("true"):
            return Literal(True)
        if self._take("false"):
            return Literal(False)
        if self._take("{"):
            return self._constructor()
        return self._suffixed()

    def _suffixed(self) -> Expression:
        found: Expression
        if self._take("("):
            found = self._expression()
            self._need(")")
        elif self._now.kind == "name":
            found = Name(self.expect("name", "<name>"))
        else:
            raise TspSyntaxError(f"unexpected symbol near `{self._now.text}'")
        for _ in range(MAX_DEPTH):
            if self._take("."):
                found = Index(found, Literal(self.expect("name", "<name>")))
            elif self._take("["):
                found = Index(found, self._expression())
                self._need("]")
            elif self._take("("):
                arguments = () if self._is(")") else self._expressions()
                self._need(")")
                found = Call(found, arguments)
            elif self._now.kind == "string":
                found = Call(found, (Literal(self.expect("string", "")),))
            else:
                return found
        raise TspSyntaxError("chunk has too many syntax levels")

    def _constructor(self) -> Constructor:
        items: list[tuple[Expression | None, Expression]] = []
        while not self._take("}"):
            following = self._tokens[min(self._at + 1, len(self._tokens) - 1)]
            if self._take("["):
                key: Expression | None = self._expression()
                self._need("]")
                self._need("=")
            elif self._now.kind == "name" and following.kind == "symbol" and following.value == "=":
                key = Literal(self.expect("name", ""))
                self._need("=")
            else:
                key = None
            items.append((key, self._expression()))
            if not self._take(",", ";") and not self._is("}"):
                raise TspSyntaxError(f"`}}' expected near `{self._now.text}'")
        return Constructor(tuple(items))
