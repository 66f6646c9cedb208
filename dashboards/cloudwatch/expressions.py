"""The syntax of metric math: from the text of an expression to its tree.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

from __future__ import annotations

import re

from dashboards.cloudwatch.errors import UnsupportedError
from dashboards.cloudwatch.grammar import Tokens

Node = tuple[str, tuple["Node", ...], str | float]


_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|'(?P<single>(?:[^'\\]|\\.)*)'|\"(?P<double>(?:[^\"\\]|\\.)*)\"|(?P<mark>&&|\|\||[=!<>]=|[-+*/^<>()\[\],]))"
)
_BINDING = {
    "OR": 1, "||": 1, "AND": 2, "&&": 2, "==": 3, "!=": 3, "<": 3, ">": 3, "<=": 3, ">=": 3,
    "+": 4, "-": 4, "*": 5, "/": 5, "^": 7,
}  # fmt: skip
_UNARY = 6  # -m1^2 is -(m1^2), -m1*2 is (-m1)*2


def parse_expression(text: str) -> Node:
    """Return the tree of an expression; raise DefinitionError with the place that cannot be read."""
    if re.match(r"\s*SELECT\b", text, re.IGNORECASE):
        raise UnsupportedError(f"Metrics Insights query {text!r}: only metric math and SEARCH are evaluated offline")
    return _Expression(text, _TOKEN, "expression").whole()


def names(node: Node) -> set[str]:
    """Return the query ids an expression refers to."""
    kind, children, value = node
    own = {str(value)} if kind == "name" else set()
    return own.union(*(names(child) for child in children))


def calls(node: Node) -> set[str]:
    """Return the functions an expression calls."""
    kind, children, value = node
    own = {str(value)} if kind == "call" else set()
    return own.union(*(calls(child) for child in children))


class _Expression(Tokens):
    def whole(self) -> Node:
        node = self.expression(0)
        self.end()
        return node

    def expression(self, binding: int) -> Node:
        left = self.operand()
        while (power := _BINDING.get(self.peek(), 0)) > binding:
            operator = self.take()[1]
            left = ("binary", (left, self.expression(power)), {"&&": "AND", "||": "OR"}.get(operator, operator))
        return left

    def operand(self) -> Node:
        kind, word = self.take()
        match kind, word:
            case "mark", "-":
                node: Node = ("negative", (self.expression(_UNARY),), "-")
            case "mark", "(":
                node = self.expression(0)
                self.expect(")")
            case "mark", "[":
                node = ("array", self.items("]"), "[")
            case "number", _:
                node = ("number", (), float(word))
            case "single" | "double", _:
                node = ("text", (), re.sub(r"\\(.)", r"\1", word))
            case "name", _ if self.peek() == "(":
                self.take()
                node = ("call", self.items(")"), word)
            case "name", _:
                node = ("name", (), word)
            case _:
                raise self.error(f"unexpected {word!r}")
        return node

    def items(self, end: str) -> tuple[Node, ...]:
        found: list[Node] = []
        while self.peek() != end:
            found.append(self.expression(0))
            if self.peek() != end:
                self.expect(",")
        self.take()
        return tuple(found)
