"""When somebody is called: thresholds by meaning, M of N, what missing data means and why."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from telemetry.catalog.parts import OPERATION_DIMENSION
from telemetry.watch import runbooks
from telemetry.watch.types import Alarm, Composite, Severity, Signal, Slo, Threshold

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE, TICKET = Severity.PAGE, Severity.TICKET
_NO_RUN = "no run, no value: nothing happened, so nothing is wrong"
_NO_COUNT = "a count that nobody reported is zero"


def _ours(operation: str, metric: str, statistic: str, name: str = "m1") -> Signal:
    return Signal(name, metric, ((OPERATION_DIMENSION, operation),), statistic)


def _lambda(metric: str) -> Signal:
    return Signal("m1", metric, (("FunctionName", "{function_name}"),), "Sum", "AWS/Lambda")


def _dead_letters(metric: str) -> Signal:
    return Signal("m1", metric, (("QueueName", "{function_name}-dead-letters"),), "Maximum", "AWS/SQS")


def _logs(metric: str, name: str) -> Signal:
    return Signal(name, metric, (("LogGroupName", "/aws/lambda/{function_name}"),), "Sum", "AWS/Logs")


TARGET_FAILURES = Alarm(
    name="target-failures",
    row="PackageTarget",
    meaning="A target ended without a component",
    severity=TICKET,
    signals=(
        _ours("PackageTarget", "Failure", "Sum", "failed"),
        # A target that no strategy fits is refused before it begins, and has no line of its own.
        _ours("PackageRequest", "TargetsFailed", "Sum", "refused"),
    ),
    expression="SUM(FILL(METRICS(), 0))",
    comparison=">=",
    threshold=Threshold(1),
    period_s=300,
    datapoints=1,
    periods=1,
    missing="notBreaching",
    missing_why=_NO_RUN,
    runbook=runbooks.TARGET_FAILURES,
    notifies=False,
)
TARGET_FAILURE_RATE = Alarm(
    name="target-failure-rate",
    row="PackageTarget",
    meaning="More than a fifth of at least five targets failed, in two of three periods",
    severity=PAGE,
    signals=(_ours("PackageTarget", "Failure", "Sum", "bad"), _ours("PackageTarget", "Success", "Sum", "good")),
    expression="IF(bad + good >= 5, 100 * bad / (bad + good), 0)",
    comparison=">",
    threshold=Threshold(20),
    period_s=300,
    datapoints=2,
    periods=3,
    missing="notBreaching",
    missing_why=_NO_RUN,
    runbook=runbooks.TARGET_FAILURE_RATE,
    notifies=False,
)
NO_WORK_DONE = Alarm(
    name="no-work-done",
    row="PackageRequest",
    meaning="Of all targets that requests asked for, not one was packaged in a quarter of an hour",
    severity=PAGE,
    signals=(
        _ours("PackageRequest", "Targets", "Sum", "asked"),
        # Of the same line as what was asked: the lines of targets come minutes earlier, in another period.
        _ours("PackageRequest", "TargetsFailed", "Sum", "failed"),
    ),
    expression="IF(asked > 0 AND FILL(failed, 0) >= asked, 1, 0)",
    comparison=">=",
    threshold=Threshold(1),
    period_s=900,
    datapoints=1,
    periods=1,
    missing="notBreaching",
    missing_why="nothing was asked for, so nothing had to be done",
    runbook=runbooks.NO_WORK_DONE,
    notifies=False,
)
FUNCTION_ERRORS = Alarm(
    name="function-errors",
    row="InvokeFunction",
    meaning="Lambda ended an invocation: killed by memory or time, or it could not start",
    severity=PAGE,
    signals=(_lambda("Errors"),),
    comparison=">=",
    threshold=Threshold(1),
    period_s=300,
    datapoints=1,
    periods=1,
    missing="notBreaching",
    missing_why="without invocations Lambda reports nothing",
    runbook=runbooks.FUNCTION_ERRORS,
    notifies=False,
)
STORAGE_WARNING = Alarm(
    name="storage-warning",
    row="MonitorStorage",
    meaning="Scratch use passed the warning line",
    severity=TICKET,
    signals=(_ours("MonitorStorage", "UsedBytes", "Maximum"),),
    comparison=">=",
    threshold=Threshold(1, "warning_bytes"),
    period_s=60,
    datapoints=1,
    periods=1,
    missing="notBreaching",
    missing_why=_NO_RUN,
    runbook=runbooks.STORAGE_WARNING,
    notifies=False,
)
STORAGE_CRITICAL = Alarm(
    name="storage-critical",
    row="MonitorStorage",
    meaning="Scratch use passed the critical line",
    severity=PAGE,
    signals=(_ours("MonitorStorage", "UsedBytes", "Maximum"),),
    comparison=">=",
    threshold=Threshold(1, "critical_bytes"),
    period_s=60,
    datapoints=1,
    periods=1,
    missing="notBreaching",
    missing_why=_NO_RUN,
    runbook=runbooks.STORAGE_CRITICAL,
    notifies=False,
)
STORAGE_FILLING = Alarm(
    name="storage-filling",
    row="MonitorStorage",
    meaning="At its growth the scratch disk is full within a fifth of the time a run has",
    severity=TICKET,
    signals=(_ours("MonitorStorage", "SecondsToFull", "Minimum"),),
    comparison="<=",
    threshold=Threshold(0.2, "time_s"),
    period_s=60,
    datapoints=2,
    periods=3,
    missing="notBreaching",
    missing_why="no growth is reported as no value",
    runbook=runbooks.STORAGE_FILLING,
    notifies=False,
)
TIME_NEARLY_UP = Alarm(
    name="time-nearly-up",
    row="InvokeFunction",
    meaning="An invocation ended with less than a tenth of its time left",
    severity=TICKET,
    signals=(_ours("InvokeFunction", "TimeLeft", "Minimum"),),
    comparison="<",
    threshold=Threshold(0.1, "time_ms"),
    period_s=300,
    datapoints=1,
    periods=1,
    missing="notBreaching",
    missing_why=_NO_RUN,
    runbook=runbooks.TIME_NEARLY_UP,
    notifies=False,
)
MEMORY_NEARLY_UP = Alarm(
    name="memory-nearly-up",
    row="InvokeFunction",
    meaning="The process held more than nine tenths of its memory",
    severity=TICKET,
    signals=(_ours("InvokeFunction", "PeakMemoryBytes", "Maximum"),),
    comparison=">",
    threshold=Threshold(0.9, "memory_bytes"),
    period_s=300,
    datapoints=1,
    periods=1,
    missing="notBreaching",
    missing_why=_NO_RUN,
    runbook=runbooks.MEMORY_NEARLY_UP,
    notifies=False,
)
RETRIES_EXHAUSTED = Alarm(
    name="retries-exhausted",
    row="RetryTarget",
    meaning="A target was given up after its last retry",
    severity=PAGE,
    signals=(_ours("RetryTarget", "Exhausted", "Sum"),),
    comparison=">=",
    threshold=Threshold(1),
    period_s=300,
    datapoints=1,
    periods=1,
    missing="notBreaching",
    missing_why=_NO_COUNT,
    runbook=runbooks.RETRIES_EXHAUSTED,
    notifies=False,
)
CLEANUP_FAILED = Alarm(
    name="cleanup-failed",
    row="CleanUp",
    meaning="A clean-up failed or left something behind, on the disk or of an upload",
    severity=TICKET,
    signals=(
        _ours("CleanUp", "Failure", "Sum", "failed"),
        _ours("CleanUp", "Left", "Sum", "left"),
        _ours("WriteComponent", "LeftBehind", "Sum", "parts_left"),
    ),
    expression="SUM(FILL(METRICS(), 0))",
    comparison=">=",
    threshold=Threshold(1),
    period_s=300,
    datapoints=1,
    periods=1,
    missing="notBreaching",
    missing_why=_NO_RUN,
    runbook=runbooks.CLEANUP_FAILED,
    notifies=False,
)
UPLOADS_ABORTED = Alarm(
    name="uploads-aborted",
    row="WriteComponent",
    meaning="Uploads were begun and given up",
    severity=TICKET,
    signals=(_ours("WriteComponent", "Aborted", "Sum"),),
    comparison=">=",
    threshold=Threshold(1),
    period_s=300,
    datapoints=1,
    periods=1,
    missing="notBreaching",
    missing_why=_NO_COUNT,
    runbook=runbooks.UPLOADS_ABORTED,
    notifies=False,
)
THROTTLES = Alarm(
    name="throttles",
    row="InvokeFunction",
    meaning="Lambda refused invocations in two of three periods",
    severity=TICKET,
    signals=(_lambda("Throttles"),),
    comparison=">=",
    threshold=Threshold(1),
    period_s=300,
    datapoints=2,
    periods=3,
    missing="notBreaching",
    missing_why="without invocations Lambda reports nothing",
    runbook=runbooks.THROTTLES,
)
DEAD_LETTERS = Alarm(
    name="dead-letters",
    row="InvokeFunction",
    meaning="Events that nobody could serve wait in the queue of dead letters",
    severity=TICKET,
    signals=(_dead_letters("ApproximateNumberOfMessagesVisible"),),
    comparison=">=",
    threshold=Threshold(1),
    period_s=300,
    datapoints=1,
    periods=1,
    missing="ignore",
    missing_why="SQS falls silent about a queue that nobody touches for six hours, and its messages still wait",
    runbook=runbooks.DEAD_LETTERS,
)
BROKEN_METRICS = Alarm(
    name="broken-metrics",
    row="TelemetryHealth",
    meaning="CloudWatch could not read metric lines of the function",
    severity=TICKET,
    signals=(_logs("EMFParsingErrors", "unreadable"), _logs("EMFValidationErrors", "invalid")),
    expression="SUM(FILL(METRICS(), 0))",
    comparison=">=",
    threshold=Threshold(1),
    period_s=300,
    datapoints=1,
    periods=1,
    missing="notBreaching",
    missing_why="CloudWatch reports these only when there are errors",
    runbook=runbooks.BROKEN_METRICS,
    notifies=False,
)
ENDPOINT_DEAD = Alarm(
    name="telemetry-endpoint-dead",
    row="TelemetryHealth",
    meaning="The trace endpoint was given up in three of five periods",
    severity=TICKET,
    signals=(_ours("TelemetryHealth", "EndpointDead", "Maximum"),),
    comparison=">=",
    threshold=Threshold(1),
    period_s=300,
    datapoints=3,
    periods=5,
    missing="ignore",
    missing_why="without invocations nobody tried the endpoint: what was known of it still holds",
    runbook=runbooks.ENDPOINT_DEAD,
    notifies=False,
)
TELEMETRY_FAULTS = Alarm(
    name="telemetry-faults",
    row="TelemetryHealth",
    meaning="Telemetry met bad values or unknown fields, or lost lines",
    severity=TICKET,
    signals=(_ours("TelemetryHealth", "Faults", "Sum", "faults"), _ours("TelemetryHealth", "LinesLost", "Sum", "lost")),
    expression="faults + lost",
    comparison=">=",
    threshold=Threshold(1),
    period_s=300,
    datapoints=1,
    periods=1,
    missing="notBreaching",
    missing_why=_NO_RUN,
    runbook=runbooks.TELEMETRY_FAULTS,
    notifies=False,
)

TARGETS_PACKAGED = Slo(
    name="targets-packaged",
    row="PackageTarget",
    meaning="Of all targets that are asked for, 99 % become components",
    objective=0.99,
    window_days=28,
    bad=(_ours("PackageTarget", "Failure", "Sum", "bad"),),
    total=(_ours("PackageTarget", "Failure", "Sum", "bad"), _ours("PackageTarget", "Success", "Sum", "good")),
    minimum_events=10,
    runbook=runbooks.TARGETS_PACKAGED,
)
REQUESTS_ANSWERED = Slo(
    name="requests-answered",
    row="InvokeFunction",
    meaning="Of all invocations, 99.5 % end without an error of ours",
    objective=0.995,
    window_days=28,
    bad=(
        _ours("InvokeFunction", "Failure", "Sum", "bad"),
        _ours("InvokeFunction", "Status5xx", "Sum", "refused"),
    ),
    total=(_ours("InvokeFunction", "Failure", "Sum", "bad"), _ours("InvokeFunction", "Success", "Sum", "good")),
    minimum_events=20,
    runbook=runbooks.REQUESTS_ANSWERED,
)


@dataclass(frozen=True)
class BurnRate:
    """A pair of windows: the long one says that it matters, the short one that it still goes on."""

    name: str
    factor: float
    long_s: int
    short_s: int
    severity: Severity


BURN_RATES = (
    BurnRate("fast-burn", 14.4, 3600, 300, PAGE),
    BurnRate("slow-burn", 6.0, 21_600, 1800, PAGE),
    BurnRate("lasting-burn", 1.0, 259_200, 21_600, TICKET),
)
"""The pairs of the SRE workbook, https://sre.google/workbook/alerting-on-slos/."""


def burn_rate_alarms(slo: Slo) -> tuple[Alarm, ...]:
    """Return two alarms for each pair of windows; only their composite notifies."""
    return tuple(
        _burn_alarm(slo, rate, side, window_s)
        for rate in BURN_RATES
        for side, window_s in (("long", rate.long_s), ("short", rate.short_s))
    )


def _burn_alarm(slo: Slo, rate: BurnRate, side: str, window_s: int) -> Alarm:
    signals = {signal.id: signal for signal in (*slo.bad, *slo.total)}
    bad = " + ".join(f"FILL({signal.id}, 0)" for signal in slo.bad)
    total = " + ".join(signal.id for signal in slo.total)
    # One bad event alone never pages, however few there are; that it still goes on is for the short window to say.
    enough = f"{total} >= {slo.minimum_events} AND {bad} >= 2" if side == "long" else f"{total} >= 1"
    return Alarm(
        name=f"{slo.name}-{rate.name}-{side}",
        row=slo.row,
        meaning=f"{slo.meaning}; over {window_s:,} s the budget burns at {rate.factor:g} times its rate",
        severity=rate.severity,
        signals=tuple(signals.values()),
        expression=f"IF({enough}, ({bad}) / ({total}), 0)",
        comparison=">",
        threshold=Threshold(round(rate.factor * slo.budget, 6)),
        period_s=window_s,
        datapoints=1,
        periods=1,
        missing="notBreaching",
        missing_why="a window without events burns nothing",
        runbook=slo.runbook,
        notifies=False,
    )


def _burn_composites(severity: Severity) -> Iterator[Composite]:
    """Yield one alarm for each SLO and pair of windows; a page speaks through packaging-broken.

    What woke somebody has burnt the budget too, and shows in its short window for that long: no ticket beside it.
    """
    held = severity is TICKET
    for slo, rate in product(SLOS, BURN_RATES):
        if rate.severity is severity:
            yield Composite(
                name=f"{slo.name}-{rate.name}",
                meaning=f"{slo.meaning}; the budget burns at {rate.factor:g} times its rate, and still does",
                severity=severity,
                rule=f"ALARM({slo.name}-{rate.name}-long) AND ALARM({slo.name}-{rate.name}-short)",
                runbook=slo.runbook,
                notifies=held,
                suppressor=BROKEN if held else "",
                suppressor_wait_s=60 if held else 0,
                suppressor_extension_s=rate.short_s if held else 0,
            )


SLOS = (TARGETS_PACKAGED, REQUESTS_ANSWERED)
ALARMS: tuple[Alarm, ...] = (
    NO_WORK_DONE,
    TARGET_FAILURES,
    TARGET_FAILURE_RATE,
    *burn_rate_alarms(TARGETS_PACKAGED),
    UPLOADS_ABORTED,
    STORAGE_WARNING,
    STORAGE_CRITICAL,
    STORAGE_FILLING,
    CLEANUP_FAILED,
    RETRIES_EXHAUSTED,
    TIME_NEARLY_UP,
    MEMORY_NEARLY_UP,
    FUNCTION_ERRORS,
    THROTTLES,
    DEAD_LETTERS,
    *burn_rate_alarms(REQUESTS_ANSWERED),
    BROKEN_METRICS,
    ENDPOINT_DEAD,
    TELEMETRY_FAULTS,
)
"""Every metric alarm there is; COMPOSITES are those over them."""

BROKEN = "packaging-broken"
_FORGOTTEN_S = 900
"""How long an alarm of five minutes remembers one bad point when no other comes: two periods more than its own."""

COMPOSITES: tuple[Composite, ...] = (
    *_burn_composites(PAGE),
    Composite(
        name=BROKEN,
        meaning="Packaging does not work for many or for all",
        severity=PAGE,
        rule=" OR ".join(
            f"ALARM({name})"
            for name in (
                *(alarm.name for alarm in (TARGET_FAILURE_RATE, NO_WORK_DONE, FUNCTION_ERRORS)),
                *(alarm.name for alarm in (STORAGE_CRITICAL, RETRIES_EXHAUSTED)),
                *(f"{slo.name}-{rate.name}" for slo in SLOS for rate in BURN_RATES if rate.severity is PAGE),
            )
        ),
        runbook=runbooks.PACKAGING_BROKEN,
    ),
    *_burn_composites(TICKET),
    Composite(
        name="packaging-impaired",
        meaning="Packaging works, but a target failed or something was left behind",
        severity=TICKET,
        # While it is broken this one is in alarm too, so that it can speak for both to the alarm below.
        rule=" OR ".join(
            f"ALARM({name})"
            for name in (*(alarm.name for alarm in (TARGET_FAILURES, UPLOADS_ABORTED, CLEANUP_FAILED)), BROKEN)
        ),
        runbook=runbooks.PACKAGING_IMPAIRED,
        suppressor=BROKEN,
        suppressor_wait_s=60,
        suppressor_extension_s=_FORGOTTEN_S,
    ),
    Composite(
        name="limits-near",
        meaning="Disk, memory or time come near their limits",
        severity=TICKET,
        rule=" OR ".join(
            f"ALARM({alarm.name})" for alarm in (STORAGE_WARNING, STORAGE_FILLING, TIME_NEARLY_UP, MEMORY_NEARLY_UP)
        ),
        runbook=runbooks.LIMITS_NEAR,
        suppressor="packaging-impaired",
        suppressor_wait_s=60,
        suppressor_extension_s=_FORGOTTEN_S,
    ),
    Composite(
        name="telemetry-broken",
        meaning="Metrics, traces or lines are missing",
        severity=TICKET,
        rule=" OR ".join(f"ALARM({alarm.name})" for alarm in (BROKEN_METRICS, ENDPOINT_DEAD, TELEMETRY_FAULTS)),
        runbook=runbooks.TELEMETRY_BROKEN,
    ),
)
"""Alarms over alarms: one cause wakes one person once. Who was woken by a page needs no ticket beside it."""
