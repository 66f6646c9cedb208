"""Small faults put into a module's source: one place, one change each."""

from __future__ import annotations

import ast
import random
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMPARISONS = {
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
}
_ARITHMETIC = {ast.Add: "-", ast.Sub: "+", ast.Mult: "//", ast.FloorDiv: "*", ast.Div: "*", ast.Mod: "//"}
_SWAPPED_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}


class Mutant(NamedTuple):
    """A change of one span of a module's text; offsets are bytes of its UTF-8."""

    kind: str
    line: int
    start: int
    end: int
    old: str
    new: str


class Source:
    """A module's text and every mutant of it."""

    def __init__(self, text: str) -> None:
        self._data = text.encode()
        self._starts = [0]
        for line in self._data.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self.mutants = [each for each in self._of(ast.parse(text)) if self._compiles(each)]

    def mutated(self, mutant: Mutant) -> str:
        return (self._data[: mutant.start] + mutant.new.encode() + self._data[mutant.end :]).decode()

    def sample(self, count: int, seed: int) -> list[Mutant]:
        """So many mutants, drawn in turn from each kind so that the commonest does not crowd out the rest."""
        chance = random.Random(seed)
        kinds: dict[str, list[Mutant]] = defaultdict(list)
        for each in self.mutants:
            kinds[each.kind].append(each)
        for each in kinds.values():
            chance.shuffle(each)
        order = sorted(kinds)
        chance.shuffle(order)
        drawn: list[Mutant] = []
        while len(drawn) < count and any(kinds.values()):
            drawn += [kinds[kind].pop() for kind in order if kinds[kind]][: count - len(drawn)]
        return drawn

    def _compiles(self, mutant: Mutant) -> bool:
        try:
            compile(self.mutated(mutant), "mutant", "exec")
        except SyntaxError:
            return False
        return True

    def _of(self, node: ast.AST) -> Iterator[Mutant]:
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            return  # places inside f-strings differ between Pythons; imports for types never run
        for kind, place, new in _changes(node, self._text):
            start, end = self._span(place)
            yield Mutant(kind, place.lineno, start, end, self._text(place), new)
        for field, value in ast.iter_fields(node):
            if field not in {"annotation", "returns", "decorator_list"}:
                for child in value if isinstance(value, list) else [value]:
                    if isinstance(child, ast.AST):
                        yield from self._of(child)

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        end_line, end_column = node.end_lineno or 0, node.end_col_offset or 0
        return self._starts[node.lineno - 1] + node.col_offset, self._starts[end_line - 1] + end_column

    def _text(self, node: ast.expr | ast.stmt) -> str:
        start, end = self._span(node)
        return self._data[start:end].decode()


def _changes(node, text) -> Iterator[tuple[str, ast.expr | ast.stmt, str]]:  # noqa: C901, PLR0912  one flat table
    """Each kind of change that a node can suffer, the node that is replaced, and by what."""
    match node:
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
            yield "condition", test, f"(not ({text(test)}))"
        case ast.Compare(left=left, ops=[operator], comparators=[right]):
            for new in _COMPARISONS[type(operator)]:
                yield "comparison", node, f"({text(left)} {new} {text(right)})"
        case ast.BoolOp(op=operator, values=values):
            word = " or " if isinstance(operator, ast.And) else " and "
            yield "boolean", node, f"({word.join(f'({text(each)})' for each in values)})"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "boolean", node, f"bool({text(operand)})"
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _ARITHMETIC and _numeric(left, right):
            yield "arithmetic", node, f"({text(left)} {_ARITHMETIC[type(operator)]} {text(right)})"
        case ast.Constant(value=bool(value)):
            yield "flag", node, str(not value)
        case ast.Constant(value=int() | float()):
            yield "constant", node, f"({text(node)} + 1)"
            yield "constant", node, f"({text(node)} - 1)"
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant) or value.value is not None:
            yield "return", node, "return None"
        case ast.Raise() | ast.Break() | ast.Continue() | ast.AugAssign() | ast.Delete():
            yield "statement", node, "pass"
        case ast.Expr(value=ast.Call()):
            yield "call", node, "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
            yield "statement", node, "pass"
        case ast.Call(func=ast.Name(id=name) as function) if name in _SWAPPED_CALLS:
            yield "call", function, _SWAPPED_CALLS[name]
        case ast.Call(args=[first, second, *_]) if text(first) != text(second):
            yield "arguments", first, text(second)


def _numeric(*sides: ast.expr) -> bool:
    strings = (ast.JoinedStr, ast.List, ast.Tuple)
    return not any(
        isinstance(each, strings) or (isinstance(each, ast.Constant) and isinstance(each.value, (str, bytes)))
        for each in sides
    )
