"""The first page at a glance: numbers, what is in alarm, then a row for each question of an engineer on call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.product.widgets import PERIOD_S, budget, chart, metric_widget, numbers, signal_line, table
from telemetry.watch import first_steps, runbooks
from telemetry.watch.signals import of_api, of_dead_letters, of_lambda, ours

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dashboards.product.grid import DashboardGrid
    from dashboards.product.specs import Catalog
    from dashboards.product.widgets import Body, Line
    from telemetry.catalog import Operation, Panel
    from telemetry.watch import Signal

_ARN = "arn:${AWS::Partition}:cloudwatch:${AWS::Region}:${AWS::AccountId}:alarm:"
QUESTIONS = {
    "Is it working?": ("Requests: failed by the service", "Targets: failed by the service", "Probes"),
    "What is being done?": ("Time of a request", "Bytes in and out, speed", "Models: bad artifacts"),
    "How close are the limits?": ("Scratch in use",),
}
"""The panels of the first page that answer each question, by title; the others stand at its end."""

_SYMPTOMS = (runbooks.REQUESTS_FAILING, runbooks.API_FAILING)
_LIMITS = "How close are the limits?"


def alarm_arn(source: Catalog, name: str) -> str:
    """Return the ARN of an alarm, with what only a deployment knows left to it."""
    return f"{_ARN}{source.prefix}{name}"


def glance(page: DashboardGrid, source: Catalog, panels: Sequence[tuple[Operation, Panel]]) -> None:
    """Place the first page: a row of numbers, what is in alarm, a row for each question, and what is left."""
    if any(row.name == "InvokeFunction" for row in source.rows):
        _numbers(page, source)
    _in_alarm(page, source)
    answered = {title for titles in QUESTIONS.values() for title in titles}
    for question, titles in QUESTIONS.items():
        found = [metric_widget(*pair, source) for title in titles for pair in panels if pair[1].title == title]
        found += [_percent_over_time(source)] if found and question == _LIMITS else []
        _row(page, question, found)
        if question == "Is it working?" and found:
            _who_is_hurt(page, source)
    _row(page, "Are the objectives kept?", [budget(slo, source.names) for slo in source.slos])
    for pair in panels:
        if pair[1].title not in answered:
            page.put("metric", metric_widget(*pair, source))


def _numbers(page: DashboardGrid, source: Catalog) -> None:
    names = source.names
    page.put("metric", numbers("Working, last hour (%)", [*_working(source)], "-PT1H"), 4, 5)
    page.put("metric", numbers("Working, last day (%)", [*_working(source)], "-P1D"), 4, 5)
    page.put("log", table("Failed by the service: since when, and who is hurt", first_steps.SINCE_WHEN, names), 7, 5)
    page.put("metric", numbers("Now (15 minutes)", [*_now(source)], "-PT15M"), 4, 5)
    page.put("metric", numbers("Limits, most of 3 hours (%)", [*_percent(source)], "-PT3H"), 5, 5)
    page.end_row(widen=False)


def _in_alarm(page: DashboardGrid, source: Catalog) -> None:
    """Place two lists of what is in alarm, the most telling first: what names the cause, and who was called for it."""
    windows = tuple(slo.name for slo in source.slos)
    named = [alarm for alarm in source.alarms if not (windows and alarm.name.startswith(windows))]
    # That requests fail is what comes of it: why they do stands above.
    causes = [alarm.name for alarm in sorted(named, key=lambda alarm: alarm.runbook in _SYMPTOMS)]
    calls = [alarm.name for alarm in sorted(source.composites, key=lambda alarm: not alarm.notifies)]
    calls += [alarm.name for alarm in source.alarms if alarm.name not in causes]
    for title, alarms in (("In alarm: what names the cause", causes), ("In alarm: what calls for it", calls)):
        if alarms:
            arns = [alarm_arn(source, name) for name in alarms]
            shown = {"states": ["ALARM"], "sortBy": "default"}  # in the order in which they stand
            page.put("alarm", {"title": title, "alarms": arns, **shown}, 12, 4)
    page.end_row()


def _row(page: DashboardGrid, question: str, widgets: Sequence[Body]) -> None:
    if not widgets:
        return
    page.end_row()
    page.put("text", {"markdown": f"## {question}"}, 24, 1)
    page.end_row()
    for widget in widgets:
        page.put("metric", widget, 24 // min(3, len(widgets)))
    page.end_row()


def _who_is_hurt(page: DashboardGrid, source: Catalog) -> None:
    """Place what failed most, whoever is at fault, by queries: a dimension would cost a metric for each use case."""
    page.put("text", {"markdown": "## Who is hurt, and by what?"}, 24, 1)
    page.end_row()
    for title, query, width in (
        ("Errors seen most", first_steps.TOP_ERRORS, 12),
        ("Use cases that failed most", first_steps.TOP_USE_CASES, 6),
        ("Targets that failed most", first_steps.TOP_TARGETS, 6),
    ):
        page.put("log", table(title, query, source.names), width)
    page.end_row(widen=False)


def _has(source: Catalog, row: str) -> bool:
    return any(each.name == row for each in source.rows)


def _calculated(source: Catalog, name: str, label: str, expression: str, *signals: Signal) -> Iterator[Line]:
    """Yield the lines of an expression over signals `a`, `b`, each hidden."""
    ids = {signal.id: f"{name}{signal.id}" for signal in signals}
    for signal in signals:
        yield signal_line(signal, source.names, id=ids[signal.id], visible=False)
    for plain, full in ids.items():
        expression = expression.replace(f"<{plain}>", full)
    yield [{"expression": expression, "id": name, "label": label}]


def _working(source: Catalog) -> Iterator[Line]:
    """Yield the shares of what the service did not fail; nothing where nothing was asked for."""
    share = "100 * (1 - FILL(<bad>, 0) / <all>)"
    for name, label, bad, every in (
        ("requests", "Requests served", "ServiceFailed", "Requests"),
        ("targets", "Targets packaged", "TargetsFailedByService", "Targets"),
    ):
        counted = (ours("InvokeFunction", bad, name="bad"), ours("InvokeFunction", every, name="all"))
        yield from _calculated(source, name, label, share, *counted)
    if _has(source, "Probe"):
        probes = (ours("Probe", "Success", name="good"), ours("Probe", "Failure", name="bad"))
        share = "100 * FILL(<good>, 0) / (FILL(<good>, 0) + FILL(<bad>, 0))"
        yield from _calculated(source, "probes", "Probes", share, *probes)


def _now(source: Catalog) -> Iterator[Line]:
    names = source.names
    running = of_lambda("ConcurrentExecutions", statistic="Maximum")
    yield signal_line(running, names, label="Running at once")
    yield signal_line(ours("InvokeFunction", "Requests"), names, label="Requests")
    yield signal_line(ours("InvokeFunction", "Models"), names, label="Models")
    waiting = of_dead_letters("ApproximateNumberOfMessagesVisible")
    yield signal_line(waiting, names, label="Dead letters waiting")


def _percent(source: Catalog) -> Iterator[Line]:
    """Yield how much of each limit was taken, in percent."""
    limits = source.limits
    used = ours("MonitorStorage", "UsedBytes", "Maximum", "m")
    memory = ours("InvokeFunction", "PeakMemoryBytes", "Maximum", "m")
    left, running = (
        ours("InvokeFunction", "TimeLeft", "Minimum", "m"),
        of_lambda("ConcurrentExecutions", "m", "Maximum"),
    )
    for label, expression, signal in (
        ("Scratch", f"100 * <m> / {limits.scratch_bytes}", used),
        ("Memory", f"100 * <m> / {limits.memory_bytes}", memory),
        ("Time", f"100 - 100 * <m> / {limits.time_ms:.0f}", left),
        ("Concurrency", f"100 * <m> / {limits.concurrency}", running),
    ):
        yield from _calculated(source, label.lower(), label, f"CEIL({expression})", signal)
    if any(alarm.part == "api" for alarm in source.alarms):
        latency = of_api("Latency", "Maximum", "m")
        yield from _calculated(source, "api", "API's time", f"CEIL(100 * <m> / {limits.integration_ms:.0f})", latency)


def _percent_over_time(source: Catalog) -> Body:
    axis = {"left": {"label": "Percent", "showUnits": False, "min": 0, "max": 100}}
    return chart("Limits: how much of each is taken", [*_percent(source)], PERIOD_S, yAxis=axis)
