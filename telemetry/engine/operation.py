"""The types of rows: plain frozen data, standard library only, so that whoever reads it imports nothing else."""

from __future__ import annotations

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


UCUM = {
    Unit.MILLISECONDS: "ms",
    Unit.SECONDS: "s",
    Unit.BYTES: "By",
    Unit.BYTES_PER_SECOND: "By/s",
    Unit.COUNT: "1",
    Unit.PERCENT: "%",
    Unit.NONE: "1",
}
"""https://ucum.org/ucum"""


class Kind(StrEnum):
    """The kinds of spans, as OpenTelemetry names them."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


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
    `signed` says that values may be below zero. `attribute` is the span attribute of OpenTelemetry's semantic
    conventions, where they have one for it.
    """

    field: str
    name: str
    unit: Unit
    meaning: str
    statistic: str
    fold: Fold = Fold.LAST
    resolution_s: int = 60
    inner: str = ""
    attribute: str = ""
    signed: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether its values are whole numbers."""
        return self.unit in {Unit.COUNT, Unit.BYTES}

    @property
    def instrument(self) -> str:
        """The instrument of OpenTelemetry that keeps of it what its statistic needs."""
        if self.signed:
            return "gauge"
        return "counter" if self.statistic == "Sum" else "histogram"


@dataclass(frozen=True)
class Dimension:
    """A way to split metrics: a closed set of values, to which `OTHER` always belongs. Never a bucket, key or id.

    `log_key` is its key in log lines and spans where the field's own name is taken there. `attribute` is as for
    metrics; `attribute_values` says what the semantic conventions call which value.
    """

    field: str
    name: str
    values: tuple[str, ...]
    meaning: str
    log_key: str = ""
    attribute: str = ""
    attribute_values: tuple[tuple[str, str], ...] = ()

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
    """A fact of one run: a key of the EMF line, of the log line and an attribute of the span. Costs no metric.

    `attribute` is as for metrics.
    """

    field: str
    meaning: str
    attribute: str = ""


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
class Operation:
    """A row: one step of the work, observed as one span, one EMF line and one log line.

    `dimension_sets` lists, beyond the operation itself, which combinations of dimension fields CloudWatch keeps
    metrics for; each value of each costs a custom metric per metric of the row. `links_to` names the operation
    to whose nearest enclosing step the span is linked. `label` is the field that tells its runs apart in a waterfall.
    `kind` is that of its spans. Duration, success and failure come by themselves.
    """

    name: str
    span: str
    meaning: str
    metrics: tuple[Metric, ...] = ()
    dimensions: tuple[Dimension, ...] = ()
    dimension_sets: tuple[tuple[str, ...], ...] = ()
    properties: tuple[Property, ...] = ()
    panels: tuple[Panel, ...] = ()
    links_to: str = ""
    label: str = ""
    kind: Kind = Kind.INTERNAL

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
    def moved_bytes(self) -> tuple[str, ...]:
        """Return the fields that say how many bytes a run moved."""
        return tuple(each.field for each in self.metrics if each.unit is Unit.BYTES and each.statistic == "Sum")

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
