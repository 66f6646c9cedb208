"""Alarms as plain values: what PutMetricAlarm and PutCompositeAlarm take, checked against their limits.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from dashboards.cloudwatch.errors import DefinitionError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

DAY_S = 86_400
MAX_METRICS = 10  # MetricStat entries of one alarm; the same number of expressions
HIGH_RESOLUTION_S = (10, 20, 30)


class State(StrEnum):
    """What an alarm can be."""

    OK = "OK"
    ALARM = "ALARM"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


class Missing(StrEnum):
    """What a period without data counts as."""

    MISSING = "missing"
    IGNORE = "ignore"
    BREACHING = "breaching"
    NOT_BREACHING = "notBreaching"


class Comparison(StrEnum):
    """How a value breaches the threshold; the comparisons with anomaly bands are not evaluated here."""

    GREATER = "GreaterThanThreshold"
    GREATER_OR_EQUAL = "GreaterThanOrEqualToThreshold"
    LESS = "LessThanThreshold"
    LESS_OR_EQUAL = "LessThanOrEqualToThreshold"

    @property
    def sign(self) -> str:
        return {"GreaterThan": ">", "LessThan": "<"}[re.split("OrEqual|Threshold", self)[0]] + "=" * ("OrEqual" in self)

    @property
    def holds(self) -> Callable[[float, float], bool]:
        """Return the comparison of a value with the threshold."""
        return {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}[self.sign]


@dataclass(frozen=True, slots=True, order=True)
class Metric:
    """One CloudWatch metric; dimensions sorted by name, since their order means nothing."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        dimensions = ",".join(f"{name}={value}" for name, value in self.dimensions)
        return f"{self.namespace}/{self.name}" + (f"{{{dimensions}}}" if dimensions else "")


@dataclass(frozen=True, slots=True)
class Query:
    """One entry of an alarm's Metrics: a metric with its statistic, or an expression over the other entries."""

    id: str
    metric: Metric | None = None
    statistic: str = ""
    expression: str = ""


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Keep a new alarm silent for `duration_s`, or until its window is full unless `whole` says to wait."""

    duration_s: int
    whole: bool = False


@dataclass(frozen=True, slots=True)
class MetricAlarm:
    """A metric alarm. `result` names the query that is compared; M (`datapoints`) out of N (`periods`).

    `acts` is false when its actions are switched off.
    """

    name: str
    queries: tuple[Query, ...]
    result: str
    period_s: int
    periods: int
    datapoints: int
    threshold: float
    comparison: Comparison
    missing: Missing = Missing.MISSING
    ignore_low_samples: bool = False
    warm_up: WarmUp | None = None
    acts: bool = True

    def __post_init__(self) -> None:
        _check_window(self)
        metrics = [query for query in self.queries if query.metric]
        if len(metrics) > MAX_METRICS or len(self.queries) - len(metrics) > MAX_METRICS:
            raise DefinitionError(
                f"{self.name}: {len(metrics)} metrics and {len(self.queries) - len(metrics)} expressions; "
                f"an alarm takes at most {MAX_METRICS} of each"
            )
        if self.result not in {query.id for query in self.queries}:
            raise DefinitionError(f"{self.name}: no query has the id {self.result!r} that the alarm watches")

    @property
    def treatment(self) -> Missing:
        """The treatment that applies: alarms on AWS/DynamoDB keep their state whatever they ask for."""
        dynamodb = any(query.metric and query.metric.namespace == "AWS/DynamoDB" for query in self.queries)
        return Missing.IGNORE if dynamodb else self.missing

    @property
    def interval_s(self) -> int:
        """Seconds between two evaluations: 10 at high resolution, an hour when the window exceeds a day, else 60."""
        if self.period_s in HIGH_RESOLUTION_S:
            return 10
        return 3600 if self.period_s * self.periods > DAY_S else 60

    @property
    def evaluation_range(self) -> int:
        """Periods looked at. CloudWatch publishes 5 for N = 3 and no formula; two more than N fits its tables."""
        return self.periods + 2

    @property
    def percentile(self) -> float | None:
        """The percentile as a fraction when the watched metric is one, else None."""
        statistic = next(query.statistic for query in self.queries if query.id == self.result)
        return float(statistic[1:]) / 100 if statistic.startswith("p") else None


@dataclass(frozen=True, slots=True)
class CompositeAlarm:
    """An alarm over other alarms' states, with the alarm (if any) that silences its actions."""

    name: str
    rule: str
    suppressor: str | None = None
    wait_s: int = 0
    extension_s: int = 0
    acts: bool = True


Alarm = MetricAlarm | CompositeAlarm


def _check_window(alarm: MetricAlarm) -> None:
    period_s, periods = alarm.period_s, alarm.periods
    if period_s not in HIGH_RESOLUTION_S and (period_s < 60 or period_s % 60):  # noqa: PLR2004  seconds of a minute
        raise DefinitionError(f"{alarm.name}: period {period_s} s; CloudWatch takes 10, 20, 30 or a multiple of 60")
    if not 1 <= alarm.datapoints <= periods:
        raise DefinitionError(f"{alarm.name}: {alarm.datapoints} out of {periods} datapoints cannot be reached")
    limit_s = DAY_S if period_s < 3600 else 7 * DAY_S  # noqa: PLR2004  seconds of an hour
    if period_s * periods > limit_s:
        raise DefinitionError(
            f"{alarm.name}: {periods} periods of {period_s} s are {period_s * periods} s; the limit is {limit_s} s"
        )
    if not re.fullmatch(r"[a-z][a-zA-Z0-9_]*", alarm.result):
        raise UnsupportedError(f"{alarm.name}: query id {alarm.result!r} does not start with a lower-case letter")
