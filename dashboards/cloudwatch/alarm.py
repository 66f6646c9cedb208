"""Alarms as plain values, checked against CloudWatch's limits: metric, log and composite alarms, and mute rules.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dashboards.cloudwatch.errors import DefinitionError

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
MAX_METRICS = 10  # MetricStat entries of one alarm; the same number of expressions
MAX_CONTRIBUTORS = 500  # groups of a log alarm that are evaluated
HIGH_RESOLUTION_S = (10, 20, 30)
WALL_CLOCK_S = (MINUTE_S, 300, HOUR_S, DAY_S, 7 * DAY_S)


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
    """How a value breaches the threshold, or a band of values that are normal."""

    GREATER = "GreaterThanThreshold"
    GREATER_OR_EQUAL = "GreaterThanOrEqualToThreshold"
    LESS = "LessThanThreshold"
    LESS_OR_EQUAL = "LessThanOrEqualToThreshold"
    OUTSIDE = "LessThanLowerOrGreaterThanUpperThreshold"
    BELOW = "LessThanLowerThreshold"
    ABOVE = "GreaterThanUpperThreshold"

    @property
    def sign(self) -> str:
        return _SIGNS[self]

    @property
    def of_band(self) -> bool:
        """Whether the value is compared with a band, not with a number."""
        return self in {Comparison.OUTSIDE, Comparison.BELOW, Comparison.ABOVE}


_SIGNS = {
    Comparison.GREATER: ">",
    Comparison.GREATER_OR_EQUAL: ">=",
    Comparison.LESS: "<",
    Comparison.LESS_OR_EQUAL: "<=",
    Comparison.OUTSIDE: "outside of",
    Comparison.BELOW: "below",
    Comparison.ABOVE: "above",
}


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
    """One entry of an alarm's Metrics: a metric with its statistic, or an expression over the other entries.

    `unit` None takes data of every unit.
    """

    id: str
    metric: Metric | None = None
    statistic: str = ""
    expression: str = ""
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Keep a new alarm silent for `duration_s`, or until its window is full unless `whole` says to wait."""

    duration_s: int
    whole: bool = False


Actions = Mapping[State, tuple[str, ...]]
"""What is called on a change into a state: ARNs. An alarm that says nothing of actions has none of these."""


@dataclass(frozen=True, slots=True)
class MetricAlarm:
    """A metric alarm. `result` names the query that is compared; M (`datapoints`) out of N (`periods`).

    Attributes:
        acts: False when its actions are switched off.
        actions: By state; None when the definition names none: files often leave them to the deployment.
        band: The id of the anomaly band that the result is compared with; empty: `threshold` is.
        wall_clock: The time zone whose clock the periods keep to; None: the window slides.
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
    actions: Actions | None = None
    band: str = ""
    wall_clock: str | None = None

    def __post_init__(self) -> None:
        _check_window(self)
        _check_queries(self)

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
        return HOUR_S if self.period_s * self.periods > DAY_S else MINUTE_S

    @property
    def evaluation_range(self) -> int:
        """Periods looked at. CloudWatch publishes 5 for N = 3 and no formula; two more than N fits its tables."""
        return self.periods + 2

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics that it looks at."""
        return tuple(query.metric for query in self.queries if query.metric)

    @property
    def watched(self) -> Query:
        """The query whose values are compared."""
        return next(query for query in self.queries if query.id == self.result)

    @property
    def percentile(self) -> float | None:
        """The percentile as a fraction when the watched metric is one, else None."""
        match = re.fullmatch(r"[pP](\d+(?:\.\d+)?)", self.watched.statistic)
        return float(match[1]) / 100 if match else None

    @property
    def condition(self) -> str:
        """The comparison in words: `> 90`."""
        return f"{self.comparison.sign} {self.band or f'{self.threshold:g}'}"


@dataclass(frozen=True, slots=True)
class LogAlarm:
    """An alarm over the results of a query of logs that runs on a schedule: M (`datapoints`) out of N (`periods`).

    Attributes:
        query: What is asked for, in the language of Logs Insights.
        aggregation: `count(*)` or `avg(latency) by host`; each group is a contributor of its own.
        every_s: Seconds between two runs.
        start_offset_s: The lines of a run are those from so many seconds before it...
        end_offset_s: ...to so many seconds before it.
    """

    name: str
    query: str
    aggregation: str
    every_s: int
    start_offset_s: int
    end_offset_s: int
    periods: int
    datapoints: int
    threshold: float
    comparison: Comparison
    missing: Missing = Missing.MISSING
    warm_up: WarmUp | None = None
    acts: bool = True
    actions: Actions | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.datapoints <= self.periods <= 100:  # noqa: PLR2004  results that a log alarm looks at
            raise DefinitionError(f"{self.datapoints} out of {self.periods} results; CloudWatch takes 1 to 100")
        if not 0 <= self.end_offset_s < self.start_offset_s:
            raise DefinitionError(
                f"a query from {self.start_offset_s} s to {self.end_offset_s} s before its run has no time in it"
            )
        if self.comparison.of_band:
            raise DefinitionError(f"{self.comparison} compares with a band; a log alarm compares with a threshold")

    @property
    def condition(self) -> str:
        """The comparison in words: `> 90`."""
        return f"{self.comparison.sign} {self.threshold:g}"


@dataclass(frozen=True, slots=True)
class CompositeAlarm:
    """An alarm over other alarms' states, with the alarm (if any) that silences its actions."""

    name: str
    rule: str
    suppressor: str | None = None
    wait_s: int = 0
    extension_s: int = 0
    acts: bool = True
    actions: Actions | None = None


Alarm = MetricAlarm | LogAlarm | CompositeAlarm


@dataclass(frozen=True, slots=True)
class MuteRule:
    """The actions of `alarms` are muted for `duration_s` whenever `schedule` comes round, in the time of `timezone`.

    `schedule` is `cron(minutes hours day month weekday)` or `at(yyyy-mm-ddThh:mm)`; the rule is in force from
    `start_s` to `expire_s` (epoch seconds, None for no end).
    """

    name: str
    alarms: tuple[str, ...]
    schedule: str
    duration_s: int
    timezone: str = "UTC"
    start_s: float | None = None
    expire_s: float | None = None


def _check_window(alarm: MetricAlarm) -> None:
    period_s, periods = alarm.period_s, alarm.periods
    if alarm.wall_clock is not None and period_s not in WALL_CLOCK_S:
        raise DefinitionError(
            f"period {period_s} s in a wall clock window; CloudWatch takes {', '.join(map(str, WALL_CLOCK_S))}"
        )
    if period_s not in HIGH_RESOLUTION_S and (period_s < MINUTE_S or period_s % MINUTE_S):
        raise DefinitionError(f"period {period_s} s; CloudWatch takes 10, 20, 30 or a multiple of 60")
    if not 1 <= alarm.datapoints <= periods:
        raise DefinitionError(f"{alarm.datapoints} out of {periods} datapoints cannot be reached")
    limit_s = DAY_S if period_s < HOUR_S else 7 * DAY_S
    if period_s * periods > limit_s:
        raise DefinitionError(f"{periods} periods of {period_s} s are {period_s * periods} s; the limit is {limit_s} s")


def _check_queries(alarm: MetricAlarm) -> None:
    metrics, ids = alarm.metrics, [query.id for query in alarm.queries]
    if len(metrics) > MAX_METRICS or len(alarm.queries) - len(metrics) > MAX_METRICS:
        raise DefinitionError(
            f"{len(metrics)} metrics and {len(alarm.queries) - len(metrics)} expressions; "
            f"an alarm takes at most {MAX_METRICS} of each"
        )
    for name in ids:
        if not re.fullmatch(r"[a-z][a-zA-Z0-9_]*", name):
            raise DefinitionError(f"query id {name!r} does not start with a lower-case letter")
        if ids.count(name) > 1:
            raise DefinitionError(f"query id {name!r} stands more than once")
    if alarm.result not in ids:
        raise DefinitionError(f"no query has the id {alarm.result!r} that the alarm watches")
    if alarm.band and alarm.band not in ids:
        raise DefinitionError(f"ThresholdMetricId {alarm.band!r} is the id of no query")
    if bool(alarm.band) != alarm.comparison.of_band:
        raise DefinitionError(f"{alarm.comparison} does not go with {'a band' if alarm.band else 'a threshold'}")
