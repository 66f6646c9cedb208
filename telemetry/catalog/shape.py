"""The types of the catalog: plain frozen data, standard library only, so that whoever reads it imports nothing else."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

OTHER = "other"
"""What a dimension's value becomes when it is not in the closed set."""


class Unit(StrEnum):
    """The units of CloudWatch that the catalog uses, spelled as CloudWatch spells them."""

    MILLISECONDS = "Milliseconds"
    SECONDS = "Seconds"
    BYTES = "Bytes"
    BYTES_PER_SECOND = "Bytes/Second"
    COUNT = "Count"
    PERCENT = "Percent"
    NONE = "None"


class Fold(StrEnum):
    """What several `add` calls on one field come to, and whether steps inside contribute.

    The steps' own values go to every enclosing step that declares the same field with `TOTAL` or `PEAK`.
    """

    LAST = "last"
    SUM = "sum"
    MAX = "max"
    TOTAL = "total"  # sum of own adds and of all steps inside
    PEAK = "peak"  # maximum of own adds and of all steps inside


@dataclass(frozen=True)
class Metric:
    """A number that an operation reports.

    `field` is the keyword of `add`, `name` the CloudWatch name. `statistic` is the one that matters to a reader: `Sum`,
    `Maximum`, `Minimum`, `Average` or a percentile such as `p99`. `resolution_s` is 60, or 1 for high resolution.
    With the folds `TOTAL` and `PEAK`, `inner` names the field of the steps inside when it is not the same one.
    """

    field: str
    name: str
    unit: Unit
    meaning: str
    statistic: str
    fold: Fold = Fold.LAST
    resolution_s: int = 60
    inner: str = ""


@dataclass(frozen=True)
class Dimension:
    """A way to split metrics: a closed set of values, to which `OTHER` always belongs. Never a bucket, key or id.

    `log_key` is its key in log lines and spans where the field's own name is taken there.
    """

    field: str
    name: str
    values: tuple[str, ...]
    meaning: str
    log_key: str = ""

    @property
    def key(self) -> str:
        return self.log_key or self.field

    def value(self, given: object) -> str:
        """Return `given` when it is in the set, else `OTHER`. Booleans read as true and false."""
        text = str(given).lower() if isinstance(given, bool) else given
        return str(text) if isinstance(text, str) and text in self._members else OTHER

    @cached_property
    def _members(self) -> frozenset[str]:
        return frozenset(self.values)


@dataclass(frozen=True)
class Property:
    """A fact of one run: a key of the EMF line, of the log line and an attribute of the span. Costs no metric."""

    field: str
    meaning: str


@dataclass(frozen=True)
class Panel:
    """One widget: where it stands, and the fields of its operation that it draws, in at most two units.

    `by` names the dimension field that splits it into one line per value; empty: the operation as a whole.
    """

    dashboard: str
    title: str
    fields: tuple[str, ...]
    by: str = ""


@dataclass(frozen=True)
class Limits:
    """What the function has. Every threshold is a share of one of these, so one setting moves all of them.

    `warning_share` and `critical_share` are of `scratch_bytes`: 6 GiB and 7 GiB of the default 8 GiB.
    """

    scratch_bytes: int = 8192 * 1024**2
    memory_bytes: int = 3008 * 1024**2
    time_s: int = 900
    warning_share: float = 0.75
    critical_share: float = 0.875
    function_name: str = "edge-model-packager"

    @property
    def warning_bytes(self) -> float:
        return self.scratch_bytes * self.warning_share

    @property
    def critical_bytes(self) -> float:
        return self.scratch_bytes * self.critical_share

    @property
    def time_ms(self) -> float:
        return self.time_s * 1000.0


@dataclass(frozen=True)
class Threshold:
    """A bound by meaning: `share` of the attribute of `Limits` that `of` names; `share` itself when `of` is empty."""

    share: float
    of: str = ""

    def value(self, limits: Limits) -> float:
        """Return the bound in the unit of the metric."""
        return self.share * (float(getattr(limits, self.of)) if self.of else 1.0)

    def __str__(self) -> str:
        return f"{self.share:g} x {self.of}" if self.of else f"{self.share:g}"


class Missing(StrEnum):
    """How an alarm treats a period without data, spelled as PutMetricAlarm spells it."""

    BREACHING = "breaching"
    NOT_BREACHING = "notBreaching"
    IGNORE = "ignore"
    MISSING = "missing"


class Severity(StrEnum):
    """Who hears of it: `PAGE` wakes a person now, `TICKET` waits for working hours."""

    PAGE = "page"
    TICKET = "ticket"


class Comparison(StrEnum):
    """Spelled as PutMetricAlarm spells it."""

    ABOVE = "GreaterThanThreshold"
    AT_LEAST = "GreaterThanOrEqualToThreshold"
    BELOW = "LessThanThreshold"
    AT_MOST = "LessThanOrEqualToThreshold"


@dataclass(frozen=True)
class Signal:
    """One metric as an alarm asks for it. `id` is its name in the alarm's expression.

    Values of `dimensions` may hold `{function_name}` or another attribute of `Limits` in braces.
    """

    id: str
    metric: str
    dimensions: tuple[tuple[str, str], ...]
    statistic: str
    namespace: str = "EdgeModelPackager"

    def dimension_values(self, limits: Limits) -> dict[str, str]:
        """Return the dimensions with the names of `limits` filled in."""
        return {name: value.format(**dataclasses.asdict(limits)) for name, value in self.dimensions}


@dataclass(frozen=True)
class Action:
    """A safe step that a machine may run. `kind` is `query`, `command` or `setting`; `text` is what is run or set."""

    name: str
    kind: str
    text: str


@dataclass(frozen=True)
class Runbook:
    """What a person who was woken up needs, in reading order. `query` is for Logs Insights, on the function's logs.

    Commands hold `{function_name}` where the name belongs, and capitals where the reader fills in (BUCKET, KEY).
    """

    meaning: str
    hurt: str
    look_first: str
    query: str
    causes: tuple[str, ...]
    actions: tuple[str, ...]
    escalate: str
    over: str
    automation: tuple[Action, ...] = ()


@dataclass(frozen=True)
class Alarm:
    """Fires when `datapoints` of the newest `periods` periods of `period_s` seconds breach the threshold.

    With one signal `expression` may be empty; else it is CloudWatch metric maths over the signals' ids.
    `notifies` is false when a composite speaks for it: one cause then wakes one person once.
    """

    name: str
    meaning: str
    severity: Severity
    signals: tuple[Signal, ...]
    comparison: Comparison
    threshold: Threshold
    period_s: int
    datapoints: int
    periods: int
    missing: Missing
    missing_why: str
    runbook: Runbook
    expression: str = ""
    notifies: bool = True


@dataclass(frozen=True)
class Composite:
    """An alarm over alarms. `rule` is in the language of PutCompositeAlarm, with bare names; `full_rule` is for AWS.

    `suppressor` names an alarm or composite during which this one does not act. `notifies` as for alarms.
    """

    name: str
    meaning: str
    severity: Severity
    rule: str
    runbook: Runbook
    suppressor: str = ""
    suppressor_wait_s: int = 0
    suppressor_extension_s: int = 0
    notifies: bool = True

    @property
    def children(self) -> tuple[str, ...]:
        """Return the names that the rule asks for, without prefix."""
        return tuple(re.findall(r"(?:ALARM|OK|INSUFFICIENT_DATA)\(([\w-]+)\)", self.rule))

    def full_rule(self, prefix: str) -> str:
        """Return the rule with every name prefixed and quoted, as PutCompositeAlarm wants it."""
        return re.sub(r"(ALARM|OK|INSUFFICIENT_DATA)\(([\w-]+)\)", rf'\1("{prefix}\2")', self.rule)


@dataclass(frozen=True)
class Slo:
    """A promise: `objective` of all events are good over `window_days`.

    Events are counted by Sum: `bad` of `total`, each the sum of its signals. Windows with fewer than `minimum_events`
    say nothing: one failure out of two is no trend.
    """

    name: str
    meaning: str
    objective: float
    window_days: int
    bad: tuple[Signal, ...]
    total: tuple[Signal, ...]
    minimum_events: int
    runbook: Runbook

    @property
    def budget(self) -> float:
        """Return the share of events that may be bad."""
        return 1.0 - self.objective


@dataclass(frozen=True)
class Operation:
    """A row: one step of the work, observed as one span, one EMF line and one log line.

    `dimension_sets` lists, beyond the operation itself, which combinations of dimension fields CloudWatch keeps
    metrics for; each value of each costs a custom metric per metric of the row. `links_to` names the operation
    to whose nearest enclosing step the span is linked. Duration, success and failure come by themselves.
    """

    name: str
    span: str
    meaning: str
    metrics: tuple[Metric, ...] = ()
    dimensions: tuple[Dimension, ...] = ()
    dimension_sets: tuple[tuple[str, ...], ...] = ()
    properties: tuple[Property, ...] = ()
    panels: tuple[Panel, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    slos: tuple[Slo, ...] = ()
    links_to: str = ""

    @cached_property
    def all_metrics(self) -> tuple[Metric, ...]:
        """Return what every row has (duration, success, failure), then the row's own metrics."""
        return (*EVERY_ROW, *self.metrics)

    @cached_property
    def fields(self) -> frozenset[str]:
        """Return the keywords that `add` takes for this row."""
        return frozenset(
            [metric.field for metric in self.metrics]
            + [dimension.field for dimension in self.dimensions]
            + [prop.field for prop in self.properties]
        )

    @cached_property
    def kept_dimensions(self) -> frozenset[str]:
        """Return the fields of the dimensions that CloudWatch keeps metrics for."""
        return frozenset(field for fields in self.dimension_sets for field in fields)

    @cached_property
    def sums(self) -> frozenset[str]:
        """Return the fields whose adds are summed."""
        return frozenset(metric.field for metric in self.metrics if metric.fold in {Fold.SUM, Fold.TOTAL})

    @cached_property
    def maxima(self) -> frozenset[str]:
        """Return the fields of whose adds the largest stays."""
        return frozenset(metric.field for metric in self.metrics if metric.fold in {Fold.MAX, Fold.PEAK})

    @cached_property
    def folding(self) -> frozenset[str]:
        """Return the fields whose adds accumulate in either way."""
        return self.sums | self.maxima

    @cached_property
    def gathers(self) -> dict[str, str]:
        """Return which fields of the steps inside go into which field of this row."""
        return {
            metric.inner or metric.field: metric.field
            for metric in self.metrics
            if metric.fold in {Fold.TOTAL, Fold.PEAK}
        }

    def metric(self, field: str) -> Metric:
        """Return the metric of that field. Raises KeyError when the row has none."""
        for metric in self.all_metrics:
            if metric.field == field:
                return metric
        raise KeyError(f"{self.name} has no metric {field!r}; it has {[metric.field for metric in self.all_metrics]}")


DURATION = Metric("duration_ms", "Duration", Unit.MILLISECONDS, "Time from start to end of the step", "p99")
SUCCESS = Metric("success", "Success", Unit.COUNT, "1 when the step ended without an exception, else 0", "Sum")
FAILURE = Metric("failure", "Failure", Unit.COUNT, "1 when an exception ended the step or time cut it off", "Sum")
EVERY_ROW = (DURATION, SUCCESS, FAILURE)
