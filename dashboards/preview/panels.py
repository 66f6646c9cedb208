"""What each widget of a dashboard shows over a recording: series, states, rows or text, or why it cannot be shown."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from statistics import fmean
from typing import TYPE_CHECKING

from dashboards.cloudwatch import insights
from dashboards.cloudwatch.alarm import Alarm, Metric, MetricAlarm, State
from dashboards.cloudwatch.body import Json, Line, Widget, lines, widgets, with_defaults
from dashboards.cloudwatch.errors import DashboardError, UnsupportedError
from dashboards.cloudwatch.insights_functions import number_of
from dashboards.cloudwatch.metric_functions import Scope, Series
from dashboards.cloudwatch.metric_math import resolve
from dashboards.cloudwatch.rules import alarm_name
from dashboards.cloudwatch.schedules import iso_s
from dashboards.cloudwatch.search import search
from dashboards.cloudwatch.series import Grid, Store
from dashboards.cloudwatch.timeline import Timeline, run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dashboards.cloudwatch.recording import Recording

MAX_POINTS = 360  # per line: more than a widget has pixels for; the period grows as it does in CloudWatch
_PERIODS = (1, 5, 10, 30, 60, 300, 900, 3600, 21_600, 86_400)
_ONLINE = {
    "explorer": "an explorer finds its resources by their tags, which only the account knows",
    "custom": "a custom widget is what a Lambda function answers",
    "chart": "widgets of the type chart are not published well enough to be drawn alike",
}
"""Why widgets of a type cannot be drawn offline."""

UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What somebody's definition raises when a member of it is not of the kind that CloudWatch documents."""


@dataclass(frozen=True, slots=True)
class Plot:
    """One series as drawn: a label of its own, the line it comes from, the unit when the recording knows it.

    `grid` is that of its own period; None: that of its panel.
    """

    label: str
    line: Line
    values: tuple[float | None, ...]
    unit: str = ""
    grid: Grid | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """A widget with what it shows. Of `plots`, `rows`, `states` and `unsupported` those that apply are filled.

    `alarms` names the alarms whose metrics the widget draws; their runbooks belong to it.
    """

    widget: Widget
    grid: Grid
    plots: tuple[Plot, ...] = ()
    rows: tuple[Json, ...] = ()
    states: tuple[tuple[str, State], ...] = ()
    unsupported: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    thresholds: tuple[tuple[str, float], ...] = ()

    @property
    def nothing(self) -> str:
        """Return what is said where nothing is shown."""
        states = self.widget.properties.get("states", ())
        if self.widget.type == "alarm" and states:
            return f"None of these alarms is in {' or '.join(map(str, states))}"
        if "SEARCH(" in str(self.widget.properties.get("metrics", "")).upper():
            return "The search finds nothing among the metrics that were recorded"
        return "Nothing is named that could be drawn"


@dataclass(frozen=True, slots=True)
class _Timespan:
    """From when a widget shows data (epoch seconds), and whether all of it is one value."""

    start_s: int
    whole: bool


@dataclass
class View:
    """A dashboard over a recording between two moments (epoch seconds).

    Attributes:
        timelines: Of the alarms that can be evaluated over this recording.
        sample: The values are made up.
    """

    recording: Recording
    alarms: Mapping[str, Alarm]
    start_s: int
    end_s: int
    timelines: Mapping[str, Timeline] = field(default_factory=dict)
    sample: bool = False

    def __post_init__(self) -> None:
        lines, store = self.recording.lines, self.recording.store
        self.timelines = run(self.alarms, store, self.start_s, self.end_s, lines, failed={})

    def panels(self, body: Json) -> list[Panel]:
        """Return every widget of a body with what it shows; what cannot be shown says why."""
        return [self.panel(widget) for widget in widgets(with_defaults(body))]

    def panel(self, widget: Widget) -> Panel:
        grid = Grid(self.start_s, max(1, self.end_s - self.start_s), 1)
        try:
            match widget.type:
                case "text":
                    return Panel(widget, grid)
                case "metric":
                    return self._metric(widget)
                case "alarm":
                    states, unknown = self._states(widget.properties.get("alarms", ()))
                    wanted = widget.properties.get("states") or State
                    return Panel(
                        widget, grid, states=tuple(each for each in states if each[1] in wanted), unsupported=unknown
                    )
                case "log":
                    return self._log(widget, grid)
            raise UnsupportedError(_ONLINE.get(widget.type, f"there is no widget of type {widget.type!r}"))
        except DashboardError as error:
            return Panel(widget, grid, unsupported=(str(error),))
        except UNREADABLE as error:
            return Panel(widget, grid, unsupported=(f"its definition cannot be read: {error!r}",))

    def _log(self, widget: Widget, grid: Grid) -> Panel:
        rows = insights.query(str(widget.properties.get("query", "")), self.recording.lines)
        view = widget.properties.get("view", "table")
        if view in {"bar", "pie"} and rows:
            return Panel(widget, grid, _compared(rows), tuple(rows))
        bins: Mapping[str, float] = rows[0].get(insights.BINS, {}) if rows else {}
        if view == "timeSeries" and bins:
            key, width_s = next(iter(bins.items()))
            return self._binned(widget, rows, key, max(1, int(width_s)))
        return Panel(widget, grid, rows=tuple(rows))

    def _binned(self, widget: Widget, rows: Sequence[Json], key: str, width_s: int) -> Panel:
        """Return the numbers of a query by `bin(...)` as series, one for each value of what else it groups by."""
        grid = self._grid(width_s)
        series: dict[tuple[str, str], list[float | None]] = {}
        for row in rows:
            step = int((float(row[key] or 0) - grid.start_s) // grid.step_s)
            group = " ".join(str(row[name]) for name in _words(row) if name != key)
            for name in _numbers(row) if 0 <= step < grid.length else ():
                series.setdefault((name, group), [None] * grid.length)[step] = row[name]
        return Panel(
            widget,
            grid,
            tuple(
                Plot(f"{name} {group}".strip(), _line(name, None, name, "", grid.step_s), tuple(values))
                for (name, group), values in series.items()
            ),
        )

    def _states(self, references: Sequence[str]) -> tuple[tuple[tuple[str, State], ...], tuple[str, ...]]:
        """Return the states of alarms by name, and what is to be said of those that are not known."""
        names = [alarm_name(str(reference)) for reference in references]
        unknown = [name for name in names if name not in self.timelines]
        said = f"no alarm {', '.join(unknown)} among those given; name their file with --alarms"
        known = tuple((name, self.timelines[name].at(self.end_s)) for name in names if name in self.timelines)
        return known, (said,) if unknown else ()

    def _metric(self, widget: Widget) -> Panel:
        named = (widget.properties.get("annotations") or {}).get("alarms") or ()
        if named and not widget.properties.get("metrics"):
            return self._of_alarm(widget, alarm_name(str(named[0])))
        written = lines(widget.properties)
        range_ = _Timespan(self._start_s(widget), bool(widget.properties.get("setPeriodToTimeRange")))
        grid = self._grid(max((line.period_s for line in written), default=300), range_)
        plots, unsupported = self._plots(written, range_)
        metrics = {line.metric for line in written if line.metric}
        watching = (
            name for name, alarm in self.alarms.items() if isinstance(alarm, MetricAlarm) and _watches(alarm, metrics)
        )
        return Panel(widget, grid, tuple(plots), unsupported=tuple(unsupported), alarms=tuple(watching))

    def _of_alarm(self, widget: Widget, name: str) -> Panel:
        states, unknown = self._states([name])
        if unknown:
            return Panel(widget, self._grid(60), unsupported=unknown)
        alarm = self.alarms[name]
        if not isinstance(alarm, MetricAlarm):
            return Panel(widget, self._grid(60), states=states, alarms=(name,))
        queries = [(q, _line(q.id, q.metric, q.expression, q.statistic, alarm.period_s)) for q in alarm.queries]
        grid = self._grid(alarm.period_s)
        plots, unsupported = self._plots([line for _, line in queries])
        watched = tuple(plot for plot in plots if plot.line.id == alarm.result)
        threshold = ((f"{alarm.comparison.sign} {alarm.threshold:g}", alarm.threshold),)
        return Panel(widget, grid, watched, (), states, tuple(unsupported), (name,), threshold)

    def _start_s(self, widget: Widget) -> int:
        """Return where a widget begins: with the view, or as long before its end as the widget itself says."""
        own = str(widget.properties.get("start", ""))
        return self.end_s - iso_s(own[1:]) if own.startswith("-P") else self.start_s

    def _grid(self, period_s: int, range_: _Timespan | None = None) -> Grid:
        first_s = range_.start_s if range_ else self.start_s
        length_s = max(1, self.end_s - first_s)
        if range_ and range_.whole:
            return Grid(first_s, length_s, 1)
        while length_s / period_s > MAX_POINTS:
            period_s = next((p for p in _PERIODS if p > period_s and p % period_s == 0), 2 * period_s)
        start_s = first_s // period_s * period_s
        return Grid(start_s, period_s, -(-(self.end_s - start_s) // period_s))

    def _plots(self, written: list[Line], range_: _Timespan | None = None) -> tuple[list[Plot], list[str]]:
        """Return the series of lines, each at its own period; an expression has the longest of what it refers to."""
        plots: list[Plot] = []
        unsupported: list[str] = []
        for line in written:
            if not line.visible:
                continue
            try:
                grid = self._grid(_period_s(line, written), range_)
                found = self._series(line, written, grid)
            except DashboardError as error:
                unsupported.append(f"{line.id if line.label == line.expression else line.label}: {error}")
                continue
            unit = self.recording.store.unit_of(line.metric)
            for series in found:
                label = filled_label(label_of(line, series, len(found)), line, series)
                plots.append(Plot(label, line, tuple(series.values), unit, grid))
        return distinct(plots), unsupported

    def _series(self, line: Line, written: list[Line], grid: Grid) -> list[Series]:
        """Return what a line shows; of an expression all that it refers to is made at the same period."""
        store = self.recording.store
        if line.metric:
            return [Series(store.statistic(line.metric, line.statistic, grid), line.label)]
        metrics = {
            other.id: Series(store.statistic(other.metric, other.statistic, grid), other.label)
            for other in written
            if other.metric and _can_refer(line, other, written)
        }
        starts_s = range(grid.start_s, grid.end_s, grid.step_s)
        scope = Scope(starts_s, grid.step_s, metrics, dict(metrics), lambda *asked: found_series(store, grid, *asked))
        return resolve({other.id: other.expression for other in _needed(line, written)}, scope)[line.id]


def _period_s(line: Line, written: list[Line]) -> int:
    if line.metric:
        return line.period_s
    behind = [other.period_s for other in written if other.metric and _can_refer(line, other, written)]
    return max(behind, default=line.period_s)


def _can_refer(line: Line, other: Line, written: list[Line]) -> bool:
    """Whether an expression, or one that it builds on, names a metric of the widget, or all of them."""
    texts = " ".join(each.expression for each in _needed(line, written))
    return "METRICS(" in texts or bool(re.search(rf"\b{re.escape(other.id)}\b", texts))


def _compared(rows: Sequence[Json]) -> tuple[Plot, ...]:
    """Return the first number of each row of a query, named by the row's other members."""
    number = next((name for row in rows for name in _numbers(row)), "")
    return tuple(
        Plot(
            " ".join(
                moment(float(row[name])) if name in row.get(insights.BINS, ()) else row[name] for name in _words(row)
            )
            or number,
            _line(number, None, number, "", 1),
            (float(row[number]),),
        )
        for row in rows
        if isinstance(row.get(number), int | float)
    )


def _numbers(row: Json) -> list[str]:
    """Return the members of a row of a query that are numbers: what `stats` came to."""
    return [name for name, value in row.items() if not name.startswith("@") and isinstance(value, int | float)]


def _words(row: Json) -> list[str]:
    """Return the members of a row of a query that are text: what it was grouped by."""
    return [name for name, value in row.items() if not name.startswith("@") and isinstance(value, str)]


def latest(plot: Plot) -> float | None:
    """Return the newest value of a plot."""
    return next((value for value in reversed(plot.values) if value is not None), None)


def statistics_of(plot: Plot, shown: Callable[[float | None], str]) -> tuple[str, ...]:
    """Return a row of a table: the label of a plot, least and largest value, sum and average."""
    known = [value for value in plot.values if value is not None]
    if not known:
        return (plot.label, *[shown(None)] * 4)
    return (plot.label, *map(shown, (min(known), max(known), math.fsum(known), fmean(known))))


def moment(time_s: float) -> str:
    """Return epoch seconds as a reader sees them, in UTC."""
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M:%S}"


def shown_range(view: View) -> str:
    """Return from when to when a view goes."""
    return f"{moment(view.start_s)} to {moment(view.end_s)} UTC" + ", sample data: no telemetry was given" * view.sample


def table_of(rows: Sequence[Json]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return head and cells of the rows of a query as text: what `fields` asked for, else every member of the first."""
    if not rows:
        return (), []
    members = [name for name in rows[0] if not name.startswith(("@", "_"))] or ["@message"]
    names = tuple(rows[0].get("@shown") or members)
    times = {"@timestamp", *rows[0].get(insights.BINS, {}), *rows[0].get(insights.TIMES, ())}
    return names, [tuple(_cell(row.get(name), time=name in times) for name in names) for row in rows]


def _cell(value: object, *, time: bool) -> str:
    if time and number_of(value) is not None:
        return moment(float(str(value)))
    return "" if value is None else f"{value:,.12g}" if isinstance(value, float) else str(value)[:200]


def found_series(store: Store, grid: Grid, text: str, statistic: str, _: int) -> list[Series]:
    """Return the series that a SEARCH finds among what was recorded."""
    found = search(text, store.metrics)
    labels = (" ".join([metric.name, *(value for _, value in metric.dimensions)]) for metric in found)
    return [Series(store.statistic(m, statistic, grid), label) for m, label in zip(found, labels, strict=True)]


def _watches(alarm: MetricAlarm, metrics: set[Metric]) -> bool:
    return any(query.metric in metrics for query in alarm.queries if query.metric)


def _needed(line: Line, written: list[Line]) -> list[Line]:
    """Return an expression and all that it builds on, through others too."""
    found, waiting = [line], [line]
    while waiting:
        text = waiting.pop().expression
        for other in written:
            if other.expression and other not in found and re.search(rf"\b{re.escape(other.id)}\b", text):
                found.append(other)
                waiting.append(other)
    return found


def _line(name: str, metric: Metric | None, expression: str, statistic: str, period_s: int) -> Line:
    label = f"{metric.name} {statistic}" if metric else expression
    return Line(name, label, metric, expression, statistic, period_s, "left", None, visible=True)


_OF_LABELS: dict[str, Callable[[Sequence[float]], float]] = {
    "MIN": min, "MAX": max, "SUM": math.fsum, "AVG": fmean, "FIRST": lambda v: v[0], "LAST": lambda v: v[-1],
}  # fmt: skip


def filled_label(label: str, line: Line, series: Series) -> str:
    """Return a label with its `${LAST}`, `${AVG}`, `${PROP('Dim.Name')}` and the like filled in.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/graph-dynamic-labels.html
    """
    known = [value for value in series.values if value is not None]
    texts = {"LABEL": series.label}
    if line.metric:
        texts |= {"PROP('MetricName')": line.metric.name, "PROP('Namespace')": line.metric.namespace}
        texts |= {"PROP('Stat')": line.statistic, "PROP('Period')": str(line.period_s)}
        texts |= {f"PROP('Dim.{name}')": value for name, value in line.metric.dimensions}

    def known_of(match: re.Match[str]) -> str:
        work = _OF_LABELS.get(match[1])
        if work is None:
            return texts.get(match[1], match[0])
        return f"{work(known):,.2f}".removesuffix(".00") if known else "no data"

    return re.sub(r"\$\{([^{}]+)\}", known_of, label)


def label_of(line: Line, series: Series, count: int) -> str:
    if line.label == line.expression and series.label:
        return series.label
    return f"{line.label} {series.label}".strip() if count > 1 else line.label


def distinct(plots: list[Plot]) -> list[Plot]:
    """Tell plots of one label apart by their dimensions, and where that does not help by their number."""
    by_dimension = _renamed(
        plots, lambda plot, _: " ".join(v for _, v in plot.line.metric.dimensions) if plot.line.metric else ""
    )
    return _renamed(by_dimension, lambda _, number: f"({number})")


def _renamed(plots: list[Plot], suffix: Callable[[Plot, int], str]) -> list[Plot]:
    counts = Counter(plot.label for plot in plots)
    return [
        replace(plot, label=f"{plot.label} {suffix(plot, number)}".strip()) if counts[plot.label] > 1 else plot
        for number, plot in enumerate(plots, 1)
    ]
