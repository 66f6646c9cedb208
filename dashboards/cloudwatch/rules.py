"""The rule language of composite alarms: parsed once, evaluated over the states of the children.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutCompositeAlarm.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dashboards.cloudwatch.alarm import State
from dashboards.cloudwatch.errors import DefinitionError
from dashboards.cloudwatch.grammar import Conditions

MAX_CHILDREN = 100
MAX_ELEMENTS = 500
_TOKEN = re.compile(r"""\s*(?:(?P<mark>[(),])|"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<word>[^\s(),"']+))""")

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
    parser = _Rule(text, _TOKEN, "rule")
    holds = parser.whole()
    if len(parser.children) > MAX_CHILDREN or parser.elements > MAX_ELEMENTS:
        raise DefinitionError(
            f"rule with {len(parser.children)} alarms and {parser.elements} elements; CloudWatch takes at most "
            f"{MAX_CHILDREN} and {MAX_ELEMENTS}: split it into composites of composites"
        )
    return Rule(holds, frozenset(parser.children))


class _Rule(Conditions[States]):
    def __init__(self, text: str, pattern: re.Pattern[str], what: str) -> None:
        super().__init__(text, pattern, what)
        self.children: set[str] = set()

    def element(self) -> Callable[[States], bool]:
        word = self.take()[1]
        if word.upper() in {"TRUE", "FALSE"}:
            truth = word.upper() == "TRUE"
            return lambda _: truth
        if word.upper() == "AT_LEAST":
            return self.at_least()
        wanted = self.state(word)
        self.expect("(")
        name = self.child()
        self.expect(")")
        return lambda states: states[name] is wanted

    def state(self, word: str) -> State:
        if word.upper() not in State.__members__:
            raise self.error(f"{word!r} is neither ALARM, OK, INSUFFICIENT_DATA, AT_LEAST, TRUE, FALSE nor NOT")
        return State[word.upper()]

    def child(self) -> str:
        name = self.take()[1]
        while self.peek() == ",":
            name += self.take()[1] + self.take()[1]
        name = alarm_name(name)
        self.children.add(name)
        return name

    def at_least(self) -> Callable[[States], bool]:
        """Return the test of `AT_LEAST(2, ALARM, (a, b, c))`; also `AT_LEAST(60%, NOT OK, (a, b, c))`."""
        self.expect("(")
        text = self.take()[1]
        match = re.fullmatch(r"(\d+)(%?)", text)
        if not match:
            raise self.error(f"AT_LEAST takes a count or a percentage, not {text!r},")
        self.expect(",")
        negative = self.took("not")
        wanted = self.state(self.take()[1])
        self.expect(",")
        names = self.listed()
        self.expect(")")
        needed = int(match[1]) / 100 * len(names) if match[2] else int(match[1])
        if not 0 < needed <= len(names):
            raise self.error(f"AT_LEAST {text} of {len(names)} alarms cannot be")
        return lambda states: sum((states[name] is wanted) != negative for name in names) >= needed

    def listed(self) -> list[str]:
        """Return the names of a list in brackets."""
        self.expect("(")
        names = [alarm_name(self.take()[1])]
        while self.took(","):
            names.append(alarm_name(self.take()[1]))
        self.expect(")")
        self.children.update(names)
        self.elements += len(names)
        return names


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
