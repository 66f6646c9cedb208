"""SEARCH of metric maths: which metrics an expression finds.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/search-expression-syntax.html
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from dashboards.cloudwatch.errors import DefinitionError
from dashboards.cloudwatch.grammar import Conditions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dashboards.cloudwatch.alarm import Metric

_TOKEN = re.compile(r"""\s*(?:(?P<mark>[()=])|"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<word>[^\s()="']+))""")
_SCHEMA = re.compile(r"""\s*\{(?P<schema>[^}]*)\}(?P<terms>.*)""", re.DOTALL)
_NAME = re.compile(r"""\s*(?:"([^"]*)"|([^,"]+))\s*(?:,|$)""")


Fits = Callable[["Metric"], bool]


class _Terms(Conditions["Metric"]):
    """Terms beside each other must all fit; a term is a word, `Name=word`, `Name="exact value"` or `Name=(a OR b)`."""

    named = ""

    def both(self) -> Fits:
        tests = [self.single()]
        while self.at < len(self.words) and self.peek().lower() not in {"or", ")"}:
            self.took("and")
            tests.append(self.single())
        return tests[0] if len(tests) == 1 else lambda metric: all(test(metric) for test in tests)

    def element(self) -> Fits:
        if self.named:
            return self.value(self.named)
        kind, word = self.take()
        if self.took("="):
            return self.property(word)
        if kind == "mark":
            raise self.error(f"unexpected {word!r}")
        return lambda metric: any(word.lower() in text.lower() for text in _texts(metric))

    def property(self, name: str) -> Fits:
        """Return whether a property has a value, or one of those that brackets hold."""
        key = name.removeprefix(":aws.").removeprefix("Dimension.")
        if not self.took("("):
            return self.value(key)
        self.named = key
        test = self.group()
        self.named = ""
        return test

    def value(self, key: str) -> Fits:
        """Return whether a property has a value; in quotes it is the whole of it."""
        kind, wanted = self.take()
        if kind == "mark":
            raise self.error(f"unexpected {wanted!r}")
        if kind in {"double", "single"}:
            return lambda metric: _properties(metric).get(key) == wanted
        return lambda metric: wanted.lower() in _properties(metric).get(key, "").lower()


def _properties(metric: Metric) -> dict[str, str]:
    return {**dict(metric.dimensions), "MetricName": metric.name, "Namespace": metric.namespace}


def _texts(metric: Metric) -> list[str]:
    return [metric.namespace, metric.name, *(part for pair in metric.dimensions for part in pair)]


@lru_cache(maxsize=256)
def parse_search(text: str) -> Fits:
    """Return which metrics `{Namespace,Dimension,...} terms` finds; the schema may be missing, and so may the terms.

    Raises:
        DefinitionError: It cannot be read.
    """
    match = _SCHEMA.fullmatch(text)
    terms = (match["terms"] if match else text).strip()
    fits: Fits = _Terms(terms, _TOKEN, "search").whole() if terms else lambda _: True
    if match is None:
        if not terms:
            raise DefinitionError("a search without a schema and without a term finds everything")
        return fits
    names = [first or second.strip() for first, second in _NAME.findall(match["schema"])]
    if not names:
        raise DefinitionError("the schema of a search names no namespace")
    namespace, dimensions = names[0], sorted(names[1:])

    def found(metric: Metric) -> bool:
        same = metric.namespace == namespace and sorted(name for name, _ in metric.dimensions) == dimensions
        return same and fits(metric)

    return found


def search(text: str, metrics: Iterable[Metric]) -> list[Metric]:
    """Return the metrics that a search finds, in order."""
    return sorted(filter(parse_search(text), metrics))
