"""The syntax of metric math: from the text of an expression to its tree.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

from __future__ import annotations

import re

from dashboards.errors import DefinitionError, UnsupportedError

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
    return _Parser(text).parse()


def names(node: Node) -> set[str]:
    """Return the query ids an expression refers to."""
    kind, children, value = node
    own = {str(value)} if kind == "name" else set()
    return own.union(*(names(child) for child in children))


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.tokens: list[tuple[str, str]] = []
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if not match or match.lastgroup is None:
                raise DefinitionError(f"expression {text!r} cannot be read from {text[position:]!r} on")
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()

    def parse(self) -> Node:
        node = self.expression(0)
        if self.peek():
            raise DefinitionError(f"unexpected {self.peek()!r} in the expression {self.text!r}")
        return node

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def take(self) -> tuple[str, str]:
        if self.at == len(self.tokens):
            raise DefinitionError(f"the expression {self.text!r} ends too early")
        self.at += 1
        return self.tokens[self.at - 1]

    def expect(self, mark: str) -> None:
        if self.take()[1] != mark:
            raise DefinitionError(f"{mark!r} is missing in the expression {self.text!r}")

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
                raise DefinitionError(f"unexpected {word!r} in the expression {self.text!r}")
        return node

    def items(self, end: str) -> tuple[Node, ...]:
        found: list[Node] = []
        while self.peek() != end:
            found.append(self.expression(0))
            if self.peek() != end:
                self.expect(",")
        self.take()
        return tuple(found)
