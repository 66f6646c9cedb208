"""What reading alarms finds before an incident does: rules with an id, each of which a template can silence.

A resource silences rules in its Metadata: `DashboardsLint: [CW012]`. docs/cloudwatch.md has a section for each rule.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import combinations, product
from typing import cast

from dashboards.cloudwatch.alarm import (
    HIGH_RESOLUTION_S,
    HOUR_S,
    Alarm,
    Comparison,
    CompositeAlarm,
    Metric,
    MetricAlarm,
    Missing,
    State,
)
from dashboards.cloudwatch.alarm_files import Definitions, Origin
from dashboards.cloudwatch.body import Json, lines, widgets
from dashboards.cloudwatch.errors import DashboardError
from dashboards.cloudwatch.rules import Rule, parse_rule
from dashboards.cloudwatch.series import Grid, Store
from dashboards.cloudwatch.statistics import Statistic, parse_statistic
from dashboards.cloudwatch.templates import unknown
from dashboards.cloudwatch.watched import Watched, watch

_OF_DASHBOARDS = "CW015"
_UNREADABLE = (DashboardError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_MOST_CHILDREN = 8  # of a rule that is tried in every combination of states
_KEPT_FOR_S = 3 * HOUR_S
"""CloudWatch keeps data of less than a minute so long."""

_SPARSE = {
    "AWS/ApplicationELB": ("HTTPCode_",),
    "AWS/NetworkELB": ("TCP_",),
    "AWS/ApiGateway": ("4XXError", "5XXError"),
    "AWS/Lambda": ("Errors", "Throttles", "DeadLetterErrors", "Duration"),
    "AWS/Logs": ("EMF",),
    "AWS/States": ("Executions",),
    "AWS/SNS": ("NumberOfNotificationsFailed",),
}
"""Metrics that have data only when something happens, by the beginning of their names."""

_PERCENTAGES = {
    "AWS/CloudFront": {"4xxErrorRate", "5xxErrorRate", "TotalErrorRate"},
    "AWS/EBS": {"BurstBalance"},
    "AWS/EC2": {"CPUUtilization"},
    "AWS/EFS": {"PercentIOLimit"},
    "AWS/ES": {"CPUUtilization", "JVMMemoryPressure", "MasterCPUUtilization", "MasterJVMMemoryPressure"},
    "AWS/ElastiCache": {"CPUUtilization", "DatabaseMemoryUsagePercentage", "EngineCPUUtilization"},
    "AWS/RDS": {"BurstBalance", "CPUUtilization"},
    "AWS/Redshift": {"CPUUtilization", "PercentageDiskSpaceUsed"},
    "CWAgent": {"disk_used_percent", "mem_used_percent", "swap_used_percent"},
}
"""Metrics between 0 and 100; those of AWS/ECS are not: a service may take more than it has reserved."""


@dataclass(frozen=True, slots=True)
class LintFinding:
    """What a rule has to say about an alarm or a dashboard."""

    rule: str
    name: str
    text: str
    origin: Origin

    def __str__(self) -> str:
        where = self.origin.file + (f": {self.origin.logical_id}" if self.origin.logical_id else "")
        called = "" if self.name in {"", self.origin.logical_id} else f" ({self.name})"
        return f"{where}{called}: {self.rule} {self.text}"


@dataclass
class _Read:
    """What is linted: definitions, and the history if there is one; times in epoch seconds."""

    definitions: Definitions
    store: Store | None
    span_s: tuple[int, int]
    rules: dict[str, Rule] = field(default_factory=dict)

    @property
    def metric_alarms(self) -> Iterator[tuple[str, MetricAlarm]]:
        yield from ((n, alarm) for n, alarm in self.definitions.alarms.items() if isinstance(alarm, MetricAlarm))

    @property
    def composites(self) -> Iterator[tuple[str, CompositeAlarm]]:
        yield from ((n, alarm) for n, alarm in self.definitions.alarms.items() if isinstance(alarm, CompositeAlarm))

    def seen(self, alarm: MetricAlarm) -> Watched | None:
        """Return what an alarm compared over the history, None without one or without data for it."""
        if self.store is None or not any(any(self.store.columns_of(metric)) for metric in alarm.metrics):
            return None
        try:
            found = watch(alarm, self.store, *self.span_s)
        except DashboardError:
            return None
        return found if isinstance(found, Watched) else None


Said = Iterator[tuple[str, str]]


def lint(definitions: Definitions, store: Store | None = None, span_s: tuple[int, int] = (0, 0)) -> list[LintFinding]:
    """Return what the rules find, alarm by alarm; what a template silences is left out."""
    read = _Read(definitions, store, span_s)
    read.rules = {name: parse_rule(alarm.rule) for name, alarm in read.composites}
    said = [
        LintFinding(rule, name, text, _sources(definitions, rule).get(name, Origin("")))
        for rule, (_, check) in RULES.items()
        for name, text in check(read)
    ]
    found = [each for each in said if each.rule not in each.origin.silenced]
    refused = [
        LintFinding(_refusal(each.reason), each.name, each.reason, each.source) for each in definitions.unevaluated
    ]
    kept = [each for each in refused if each.rule not in each.origin.silenced]
    return sorted([*found, *kept], key=lambda each: (each.origin.file, each.origin.logical_id, each.name, each.rule))


def _sources(definitions: Definitions, rule: str) -> Mapping[str, Origin]:
    return definitions.dashboard_sources if rule == _OF_DASHBOARDS else definitions.sources


def _refusal(reason: str) -> str:
    """Return the rule that speaks of an alarm that is not evaluated."""
    return "CW004" if "cannot be reached" in reason else "CW005" if "the limit is" in reason else "CW000"


def _never(read: _Read) -> Said:
    """Yield alarms whose condition no value meets, and composites whose rule no states meet, or all do."""
    for name, alarm in read.metric_alarms:
        low, high = _reach(alarm)
        if _impossible(alarm, low, high):
            yield (
                name,
                f"can never fire: its values lie between {low:g} and {high:g}, and it waits for {alarm.condition}",
            )
    for name, rule in read.rules.items():
        if 0 < len(rule.children) <= _MOST_CHILDREN:
            children = sorted(rule.children)
            held = {
                rule.holds(dict(zip(children, states, strict=True))) for states in product(State, repeat=len(children))
            }
            if held == {False}:
                yield name, "can never fire: no states of its children meet its rule"
            elif held == {True}:
                yield name, "always fires: every combination of its children's states meets its rule"


def _reach(alarm: MetricAlarm) -> tuple[float, float]:
    """Return between which values the watched statistic of any data lies, as far as that is known."""
    query = alarm.watched
    if not query.metric:
        return float("-inf"), float("inf")
    statistic = parse_statistic(query.statistic)
    if isinstance(statistic, Statistic):
        bounds = {"pr": (0.0, 100.0), "tc": (0.0, float("inf"))}
        return bounds.get(statistic.kind, (float("-inf"), float("inf")))
    if statistic == "SampleCount":
        return 1.0, float("inf")  # without a sample there is no value at all
    percent = query.unit == "Percent" or query.metric.name in _PERCENTAGES.get(query.metric.namespace, ())
    return (0.0, 100.0) if percent and statistic != "Sum" else (float("-inf"), float("inf"))


def _impossible(alarm: MetricAlarm, low: float, high: float) -> bool:
    limit = alarm.threshold
    return {
        Comparison.GREATER: limit >= high,
        Comparison.GREATER_OR_EQUAL: limit > high,
        Comparison.LESS: limit <= low,
        Comparison.LESS_OR_EQUAL: limit < low,
    }.get(alarm.comparison, False) and not (
        alarm.watched.statistic == "SampleCount" and alarm.missing is Missing.BREACHING
    )


def _stuck(read: _Read) -> Said:
    for name, alarm in read.metric_alarms:
        aws = [metric for metric in alarm.metrics if metric.namespace.startswith("AWS/")]
        if alarm.period_s in HIGH_RESOLUTION_S and aws:
            yield name, f"stays in INSUFFICIENT_DATA most of the time: {aws[0]} has no data of {alarm.period_s} s"


def _sparse(read: _Read) -> Said:
    for name, alarm in read.metric_alarms:
        sparse = alarm.watched.metric
        if sparse is None or not _is_sparse(sparse):
            continue
        if alarm.treatment is Missing.BREACHING and not alarm.comparison.sign.startswith("<"):
            yield name, f"fires when nothing happens: {sparse} has data only when something does; notBreaching suits it"
        elif alarm.treatment is Missing.MISSING:
            yield name, f"flaps into INSUFFICIENT_DATA: {sparse} has data only when something happens; say notBreaching"


def _is_sparse(metric: Metric) -> bool:
    return metric.name.startswith(_SPARSE.get(metric.namespace, ())) if metric.namespace in _SPARSE else False


def _few_samples(read: _Read) -> Said:
    for name, alarm in read.metric_alarms:
        fraction, metric = alarm.percentile, alarm.watched.metric
        if fraction is None or metric is None or read.store is None or read.seen(alarm) is None or fraction in {0, 1}:
            continue
        needed = 10 / min(fraction, 1 - fraction)
        length = max(1, (read.span_s[1] - read.span_s[0]) // alarm.period_s)
        counts = read.store.statistic(metric, "SampleCount", Grid(read.span_s[0], alarm.period_s, length))
        known = sorted(count for count in counts if count is not None)
        if known and known[len(known) // 2] * alarm.periods < needed:
            median = known[len(known) // 2]
            how = "so that it is never judged" if alarm.ignore_low_samples else "so that single samples decide"
            yield name, f"{alarm.watched.statistic} needs {needed:g} samples, and has {median:g} a period, {how}"


def _unit(read: _Read) -> Said:
    for name, alarm in read.metric_alarms:
        for query in alarm.queries:
            if query.metric and query.unit and read.store and query.metric in read.store.metrics:
                units = sorted(unit for unit in read.store.metrics[query.metric] if unit)
                if units and query.unit not in units:
                    yield (
                        name,
                        f"never has data: it asks for {query.unit}, and {query.metric} comes in {', '.join(units)}",
                    )


def _reached(read: _Read) -> Said:
    for name, alarm in read.metric_alarms:
        seen = read.seen(alarm)
        values = [value for value in seen.values if value is not None] if seen else []
        if values and not alarm.comparison.of_band and not any(mark == "X" for mark in (seen.marks if seen else "")):
            yield name, f"waits for {alarm.condition}; in the history it was {min(values):g} to {max(values):g}"


def _heard(alarm: Alarm) -> tuple[str, ...]:
    return alarm.actions[State.ALARM] if alarm.acts and alarm.actions else ()


def _below(name: str, rules: Mapping[str, Rule]) -> set[str]:
    found: set[str] = set()
    waiting = [*rules[name].children] if name in rules else []
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting += rules[each].children if each in rules else ()
    return found


def _twice(read: _Read) -> Said:
    for name, alarm in read.composites:
        for child in sorted(_below(name, read.rules)):
            other = read.definitions.alarms.get(child)
            shared = sorted({*_heard(alarm)} & {*_heard(other)}) if other else []
            if shared:
                yield name, f"wakes twice for one cause: {child} below it calls {shared[0]} as well"


def _contained(read: _Read) -> Said:
    for (first, a), (second, b) in combinations(sorted(read.rules.items()), 2):
        if a.children == b.children and len(a.children) <= _MOST_CHILDREN:
            children = sorted(a.children)
            tried = [dict(zip(children, states, strict=True)) for states in product(State, repeat=len(children))]
            if all(a.holds(states) == b.holds(states) for states in tried):
                yield first, f"is always in the state of {second}: one of the two is enough"


def _unheard(read: _Read) -> Said:
    above = {child for rule in read.rules.values() for child in rule.children}
    silencers = {alarm.suppressor for _, alarm in read.composites}
    for name, alarm in read.definitions.alarms.items():
        if not _heard(alarm) and name not in above | silencers:
            why = "its actions are switched off" if not alarm.acts else "it has no actions"
            yield name, f"nobody hears it: {why}, and no composite watches it"


def _no_ok(read: _Read) -> Said:
    for name, alarm in read.definitions.alarms.items():
        if _heard(alarm) and alarm.actions and not alarm.actions[State.OK]:
            yield name, "calls when it goes into ALARM and not when it is over; list OKActions as well"


def _emitted(read: _Read) -> Said:
    for name, alarm in read.metric_alarms:
        for metric in sorted(alarm.metrics):
            if read.store and not metric.namespace.startswith("AWS/") and not unknown(metric):
                told = _unknown(metric, read.store)
                if told:
                    yield name, f"nothing in the history emits {metric}{told}"


def _unknown(metric: Metric, store: Store) -> str:
    if metric in store.metrics:
        return ""
    near = get_close_matches(str(metric), map(str, store.metrics), 2, 0.5)
    return f"; alike: {', '.join(near)}" if near else "; nothing is alike"


def _kept(read: _Read) -> Said:
    for name, alarm in read.metric_alarms:
        window_s = alarm.period_s * alarm.periods
        if alarm.period_s in HIGH_RESOLUTION_S and window_s > _KEPT_FOR_S:
            yield name, f"looks back {window_s} s; CloudWatch keeps data of {alarm.period_s} s for {_KEPT_FOR_S} s"


def _shown(read: _Read) -> Said:
    """Find metrics of dashboards that nobody watches and nothing emits: the widget is empty, and nobody notices."""
    watched = {metric for _, alarm in read.metric_alarms for metric in alarm.metrics}
    for name, body in read.definitions.dashboards.items() if read.store else ():
        for metric in sorted(_metrics_of(body) - watched):
            told = _unknown(metric, read.store) if read.store and not metric.namespace.startswith("AWS/") else ""
            if told and not unknown(metric):
                yield name, f"no alarm watches {metric} and nothing in the history emits it{told}"


def _metrics_of(body: object) -> set[Metric]:
    """Return the metrics that the widgets of a dashboard's body name; of what cannot be read none."""
    found: set[Metric] = set()
    with suppress(*_UNREADABLE):
        for widget in widgets(json.loads(body) if isinstance(body, str) else cast("Json", body)):
            with suppress(*_UNREADABLE):
                found |= {line.metric for line in lines(widget.properties) if line.metric}
    return found


RULES: Mapping[str, tuple[str, Callable[[_Read], Said]]] = {
    "CW000": ("an alarm that is not evaluated", lambda _: iter(())),
    "CW001": ("a condition that never or always holds", _never),
    "CW002": ("an alarm that stays in INSUFFICIENT_DATA", _stuck),
    "CW003": ("a treatment of missing data that makes sparse metrics flap", _sparse),
    "CW004": ("more datapoints to alarm than periods", lambda _: iter(())),
    "CW005": ("a window over the limits", lambda _: iter(())),
    "CW006": ("a percentile over few samples", _few_samples),
    "CW007": ("a unit that never matches", _unit),
    "CW008": ("a threshold outside of what the history reaches", _reached),
    "CW009": ("a composite that wakes twice for one cause", _twice),
    "CW010": ("composites that are always in one state", _contained),
    "CW011": ("an alarm that nobody hears", _unheard),
    "CW012": ("no actions on OK", _no_ok),
    "CW013": ("a metric that nothing emits", _emitted),
    "CW014": ("a window longer than its data are kept", _kept),
    _OF_DASHBOARDS: ("a dashboard on a metric that no alarm and no emitter knows", _shown),
}
"""By id: what a rule is about, and what finds it. Of CW000, CW004 and CW005 reading tells already."""
