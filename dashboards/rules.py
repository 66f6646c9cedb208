"""The rule language of composite alarms: parsed once, evaluated over the states of the children.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutCompositeAlarm.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dashboards.errors import DefinitionError, UnsupportedError
from dashboards.model import State

MAX_CHILDREN = 100
MAX_ELEMENTS = 500
MAX_DEPTH = 100  # ours, far above anything legible: deeper nesting would exhaust Python's stack
_TOKEN = re.compile(r"""\s*(?:(?P<mark>[()])|"(?P<quoted>[^"]*)"|'(?P<single>[^']*)'|(?P<word>[^\s()"']+))""")

States = Mapping[str, State]


@dataclass(frozen=True, slots=True)
class Rule:
    """A parsed rule: `holds(states)` tells whether the composite is in ALARM; `children` names what it looks at."""

    holds: Callable[[States], bool]
    children: frozenset[str]


def alarm_name(reference: str) -> str:
    """Return the name of an alarm given by name or by ARN (`arn:...:alarm:NAME`)."""
    return reference.split(":alarm:", 1)[1] if reference.startswith("arn:") and ":alarm:" in reference else reference


def parse_rule(text: str) -> Rule:
    """Parse an AlarmRule; raise DefinitionError for what CloudWatch refuses, with the place."""
    parser = _Parser(text)
    holds = parser.either()
    if parser.peek():
        raise parser.error(f"unexpected {parser.peek()!r}")
    if len(parser.children) > MAX_CHILDREN or parser.elements > MAX_ELEMENTS:
        raise DefinitionError(
            f"rule with {len(parser.children)} alarms and {parser.elements} elements; CloudWatch takes at most "
            f"{MAX_CHILDREN} and {MAX_ELEMENTS}: split it into composites of composites"
        )
    return Rule(holds, frozenset(parser.children))


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.children: set[str] = set()
        self.elements = 0
        self._depth = 0
        self._at = 0
        self._tokens: list[tuple[str, bool]] = []
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if not match:
                raise DefinitionError(f"rule cannot be read from {text[position:]!r} on: check the quotes")
            quoted = match["quoted"] if match["quoted"] is not None else match["single"]
            self._tokens.append((quoted, True) if quoted is not None else (match["mark"] or match["word"], False))
            position = match.end()

    def error(self, what: str) -> DefinitionError:
        return DefinitionError(f"{what} in the rule {self.text!r}")

    def peek(self) -> str:
        token, quoted = self._tokens[self._at] if self._at < len(self._tokens) else ("", False)
        return "" if quoted else token

    def take(self) -> str:
        if self._at == len(self._tokens):
            raise self.error("something is missing at the end")
        self._at += 1
        return self._tokens[self._at - 1][0]

    def expect(self, mark: str) -> None:
        if self.peek() != mark:
            raise self.error(f"{mark!r} is missing")
        self.take()

    def either(self) -> Callable[[States], bool]:
        terms = [self.both()]
        while self.peek().upper() == "OR":
            self.take()
            terms.append(self.both())
        return terms[0] if len(terms) == 1 else lambda states: any(term(states) for term in terms)

    def both(self) -> Callable[[States], bool]:
        terms = [self.negated()]
        while self.peek().upper() == "AND":
            self.take()
            terms.append(self.negated())
        return terms[0] if len(terms) == 1 else lambda states: all(term(states) for term in terms)

    def negated(self) -> Callable[[States], bool]:
        negative = False
        while self.peek().upper() == "NOT":
            self.take()
            negative = not negative
        inner = self.element()
        return (lambda states: not inner(states)) if negative else inner

    def element(self) -> Callable[[States], bool]:
        self.elements += 1
        if self.peek() == "(":
            return self.group()
        word = self.take()
        if word.upper() in {"TRUE", "FALSE"}:
            truth = word.upper() == "TRUE"
            return lambda _: truth
        if word.upper() == "AT_LEAST":
            raise UnsupportedError(f"AT_LEAST in the rule {self.text!r}: write it with AND and OR to evaluate it here")
        if word.upper() not in State.__members__:
            raise self.error(f"{word!r} is neither ALARM, OK, INSUFFICIENT_DATA, TRUE, FALSE nor NOT")
        return self.child(State[word.upper()])

    def group(self) -> Callable[[States], bool]:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise UnsupportedError(f"a rule nested more than {MAX_DEPTH} deep; split it into composites of composites")
        self.take()
        inner = self.either()
        self.expect(")")
        self._depth -= 1
        return inner

    def child(self, wanted: State) -> Callable[[States], bool]:
        self.expect("(")
        name = alarm_name(self.take())
        self.expect(")")
        self.children.add(name)
        return lambda states: states[name] is wanted


def in_order(rules: Mapping[str, Rule]) -> list[str]:
    """Return the composites so that children come first; raise DefinitionError for a cycle."""
    ordered: list[str] = []
    open_: list[str] = []

    def visit(name: str) -> None:
        if name in open_:
            raise DefinitionError(f"composites watch each other in a circle: {' -> '.join([*open_, name])}")
        if name in ordered or name not in rules:
            return
        open_.append(name)
        for child in sorted(rules[name].children):
            visit(child)
        open_.pop()
        ordered.append(name)

    for name in sorted(rules):
        visit(name)
    return ordered
