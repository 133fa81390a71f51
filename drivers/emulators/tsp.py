"""A bounded interpreter of TSP messages: what a driver sends line by line, not scripts with functions of their own.

Emulated: assignments to one or several targets, locals, calls, tables, arithmetic, comparison, `and`/`or`/`not`, `..`,
`#`, `if`, numeric `for`, `while`, `repeat`, `break`, comments. Not emulated, and told as a syntax error: `function`,
`return`, generic `for`, method calls with `:`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from drivers.emulators.tsp_lexer import TspSyntaxError
from drivers.emulators.tsp_parser import parse
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
from drivers.emulators.tsp_values import (
    Indexable,
    Table,
    TspError,
    TspRuntimeError,
    Value,
    as_number,
    binary,
    truth,
    type_name,
    unary,
)

MAX_STEPS = 20_000
"""Statements and expressions that one message may take; real scripts run for ever, an emulator must not. The costliest
loop, of measurements, then ends within a fifth of a second on an idle computer."""


class _Leave(Exception):
    """A `break` on its way to its loop."""


class Interpreter:
    """Executes messages on the instrument's global names; each error goes to `report`, in order."""

    def __init__(self, names: dict[str, Value], report: Callable[[TspError], None]) -> None:
        self.globals = names
        self._report = report
        self._scopes: list[dict[str, Value]] = []
        self._steps = 0

    def run(self, text: str) -> None:
        """Carry out one message. Never raises for bad input."""
        self._scopes, self._steps = [{}], 0
        try:
            self._block(parse(text))
        except TspSyntaxError as problem:
            self._report(TspError(-285, f"TSP Syntax error at line 1: {problem}"))
        except TspRuntimeError as problem:
            self._report(problem)
        except _Leave:
            self._report(TspError(-285, "TSP Syntax error at line 1: no loop to break near `<eof>'"))
        except RecursionError:
            self._report(TspRuntimeError("stack overflow"))

    def _block(self, block: Block) -> None:
        self._scopes.append({})
        for statement in block:
            try:
                self._statement(statement)
            except TspRuntimeError:
                raise
            except TspError as problem:
                self._report(problem)
        self._scopes.pop()

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise TspRuntimeError(f"stopped after {MAX_STEPS} steps, the emulator's bound")

    def _statement(self, statement: Statement) -> None:
        self._step()
        match statement:
            case Call():
                self._call(statement)
            case Assign():
                self._assign(statement)
            case If():
                for condition, block in statement.branches:
                    if truth(self._value(condition)):
                        self._block(block)
                        break
            case Loop():
                self._within_loop(lambda: self._loop(statement))
            case For():
                self._within_loop(lambda: self._for(statement))
            case Do():
                self._block(statement.body)
            case Break():
                raise _Leave

    def _within_loop(self, loop: Callable[[], None]) -> None:
        depth = len(self._scopes)
        try:
            loop()
        except _Leave:
            pass
        finally:
            del self._scopes[depth:]

    def _loop(self, loop: Loop) -> None:
        while not loop.test_first or truth(self._value(loop.condition)):
            self._step()
            self._block(loop.body)
            if not loop.test_first and truth(self._value(loop.condition)):
                return

    def _for(self, loop: For) -> None:
        bounds = [as_number(self._value(bound), "'for' bound") for bound in loop.bounds]
        value, stop, step = (*bounds, 1.0)[:3]
        while value <= stop if step > 0.0 else value >= stop:
            self._step()
            self._scopes.append({loop.name: value})
            self._block(loop.body)
            self._scopes.pop()
            value += step

    def _assign(self, assign: Assign) -> None:
        values = self._values(assign.values)
        values += [None] * (len(assign.targets) - len(values))
        for target, value in zip(assign.targets, values, strict=False):
            if isinstance(target, Index):
                self._table(target).set_item(self._value(target.key), value)
            elif assign.local:
                self._scopes[-1][target.name] = value
            else:
                scope = next((scope for scope in reversed(self._scopes) if target.name in scope), self.globals)
                scope[target.name] = value

    def _values(self, expressions: Sequence[Expression]) -> list[Value]:
        """All values; only the last expression may give several, as in Lua."""
        if not expressions:
            return []
        values = [self._value(expression) for expression in expressions[:-1]]
        last = expressions[-1]
        return values + (self._call(last) if isinstance(last, Call) else [self._value(last)])

    def _call(self, call: Call) -> list[Value]:
        function = self._value(call.function)
        if not callable(function):
            raise TspRuntimeError(f"attempt to call {_described(call.function)} (a {type_name(function)} value)")
        return function(self._values(call.arguments))

    def _table(self, index: Index) -> Indexable:
        table = self._value(index.table)
        if not isinstance(table, Indexable):
            raise TspRuntimeError(f"attempt to index {_described(index.table)} (a {type_name(table)} value)")
        return table

    def _value(self, expression: Expression) -> Value:
        self._step()
        match expression:
            case Literal():
                return expression.value
            case Name():
                for scope in reversed(self._scopes):
                    if expression.name in scope:
                        return scope[expression.name]
                return self.globals.get(expression.name)
            case Index():
                return self._table(expression).get_item(self._value(expression.key))
            case Call():
                found = self._call(expression)
                return found[0] if found else None
            case Constructor():
                return self._constructed(expression)
            case Operation():
                return self._operation(expression)

    def _constructed(self, constructor: Constructor) -> Table:
        table, position = Table(), 0
        for key, item in constructor.items:
            if key is None:
                position += 1
            table.set_item(float(position) if key is None else self._value(key), self._value(item))
        return table

    def _operation(self, operation: Operation) -> Value:
        operator, first = operation.operator, self._value(operation.operands[0])
        if len(operation.operands) == 1:
            return unary(operator, first)
        if operator == "and":
            return self._value(operation.operands[1]) if truth(first) else first
        if operator == "or":
            return first if truth(first) else self._value(operation.operands[1])
        return binary(operator, first, self._value(operation.operands[1]))


def _described(expression: Expression) -> str:
    if isinstance(expression, Name):
        return f"global `{expression.name}'"
    if isinstance(expression, Index) and isinstance(expression.key, Literal) and isinstance(expression.key.value, str):
        return f"field `{expression.key.value}'"
    return "a value"
