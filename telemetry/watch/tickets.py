"""Alarms that wait for working hours: single failures, many bad artifacts, what comes after packaging, limits."""

from __future__ import annotations

from telemetry.watch import runbooks
from telemetry.watch.pages import DAY_S, HOUR_S, MINUTE_S, span
from telemetry.watch.signals import (
    NO_COUNT,
    NOTHING_RAN,
    of_api,
    of_dead_letters,
    of_lambda,
    of_logs,
    of_machines,
    of_topics,
    ours,
)
from telemetry.watch.types import Alarm, Severity, Threshold

TICKET = Severity.TICKET
HELD = 288
"""Periods of five minutes for which a ticket stays open: what happens again and again is one ticket a day, not many."""

SERVICE_FAILURE = Alarm(
    name="service-failure",
    row="InvokeFunction",
    meaning="The service failed a request, and nothing tried it again",
    severity=TICKET,
    signals=(ours("InvokeFunction", "ServiceFailed"),),
    periods=HELD,
    missing_why=NOTHING_RAN,
    runbook=runbooks.REQUESTS_FAILING,
)
CLEANUP_FAILED = Alarm(
    name="cleanup-failed",
    row="CleanUp",
    meaning="A clean-up failed or left something behind, on the disk or of an upload",
    severity=TICKET,
    signals=(
        ours("CleanUp", "Failure", name="failed"),
        ours("CleanUp", "Left", name="left"),
        ours("WriteComponent", "LeftBehind", name="parts_left"),
    ),
    expression="SUM(FILL(METRICS(), 0))",
    periods=HELD,
    missing_why=NOTHING_RAN,
    runbook=runbooks.CLEANUP_FAILED,
)


API_FAILURE = Alarm(
    name="api-failure",
    row="InvokeFunction",
    meaning="The API answered a request with 5xx, be it because the function was killed, refused or too slow",
    severity=TICKET,
    signals=(of_api("5XXError"),),
    periods=HELD,
    missing_why="without requests API Gateway reports nothing",
    runbook=runbooks.API_FAILING,
    part="api",
)


def _artifacts_failing(window_s: int, least: int) -> Alarm:
    return Alarm(
        name=f"artifacts-failing-{span(window_s)}",
        row="InvokeFunction",
        meaning=f"Within {span(window_s)} at least half of all models, and {least} or more, had bad artifacts",
        severity=TICKET,
        signals=(ours("InvokeFunction", "ModelsBad", name="bad"), ours("InvokeFunction", "Models", name="all")),
        expression=f"IF(bad >= {least} AND 2 * bad >= all, 1, 0)",
        period_s=window_s,
        missing_why=NOTHING_RAN,
        runbook=runbooks.ARTIFACTS_FAILING,
    )


# The short window hears of many in a busy hour, which are half of a day's only after half a day.
ARTIFACTS_FAILING = tuple(_artifacts_failing(*each) for each in ((2 * HOUR_S, 10), (DAY_S, 5), (7 * DAY_S, 5)))
AUDIT_FAILING = Alarm(
    name="audit-failing",
    row="UpdateRecord",
    meaning="An entry of the audit log could not be written",
    severity=TICKET,
    signals=(ours("UpdateRecord", "Failure", Table="audit_log"),),
    periods=HELD,
    missing_why=NO_COUNT,
    runbook=runbooks.AUDIT_FAILING,
    part="portal",
)
PUBLISHING_FAILING = Alarm(
    name="publishing-failing",
    row="TriggerPublish",
    meaning="The publishing function could not be asked to go on",
    severity=TICKET,
    signals=(ours("TriggerPublish", "Failure"),),
    periods=HELD,
    missing_why=NO_COUNT,
    runbook=runbooks.PUBLISHING_FAILING,
    part="publish",
)
DEVICE_RULES_BROKEN = Alarm(
    name="device-rules-broken",
    row="PackageTarget",
    meaning="Components were published that break a rule of the device",
    severity=TICKET,
    signals=(ours("PackageTarget", "Warnings"),),
    period_s=DAY_S,
    periods=2,
    missing_why=NO_COUNT,
    runbook=runbooks.DEVICE_RULES_BROKEN,
    notifies=True,
)


def _dead_letters(name: str, least: int) -> Alarm:
    return Alarm(
        name=name,
        row="InvokeFunction",
        meaning=f"In the queue of dead letters {least} or more events wait that nobody could serve",
        severity=TICKET,
        signals=(of_dead_letters("ApproximateNumberOfMessagesVisible"),),
        threshold=Threshold(least),
        missing="ignore",
        missing_why="SQS falls silent about a queue that nobody touches for six hours, and its messages still wait",
        runbook=runbooks.DEAD_LETTERS,
        notifies=True,
    )


DEAD_LETTERS = (
    _dead_letters("dead-letters", 1),
    _dead_letters("dead-letters-10", 10),
    _dead_letters("dead-letters-100", 100),
)
"""An alarm calls once, and stays in ALARM as the queue grows; so there is one for each power of ten."""

DEAD_LETTERS_OLD = Alarm(
    name="dead-letters-old",
    row="InvokeFunction",
    meaning="An event has waited in the queue of dead letters for three days; after 14 it is lost",
    severity=TICKET,
    signals=(of_dead_letters("ApproximateAgeOfOldestMessage"),),
    threshold=Threshold(3 * DAY_S),
    missing="ignore",
    missing_why="SQS falls silent about a queue that nobody touches for six hours, and its messages still wait",
    runbook=runbooks.DEAD_LETTERS,
    notifies=True,
)
NOTIFICATIONS_FAILING = Alarm(
    name="notifications-failing",
    row="TelemetryHealth",
    meaning="A message of an alarm was not delivered to somebody, after all that SNS tries",
    severity=TICKET,
    signals=of_topics("NumberOfNotificationsFailed"),
    expression="SUM(FILL(METRICS(), 0))",
    # SNS counts each try at an endpoint, and tries four times: fewer are a message that came late.
    threshold=Threshold(4),
    period_s=15 * MINUTE_S,
    periods=96,
    missing_why="SNS reports these only when there are some",
    runbook=runbooks.NOTIFICATIONS_FAILING,
    notifies=True,
)
STORAGE_WARNING = Alarm(
    name="storage-warning",
    row="MonitorStorage",
    meaning="Scratch use passed the warning line",
    severity=TICKET,
    signals=(ours("MonitorStorage", "UsedBytes", "Maximum"),),
    threshold=Threshold(1, "warning_bytes"),
    periods=HELD,
    missing_why=NOTHING_RAN,
    runbook=runbooks.STORAGE_WARNING,
)
STORAGE_CRITICAL = Alarm(
    name="storage-critical",
    row="MonitorStorage",
    meaning="Scratch use passed the critical line",
    severity=TICKET,
    signals=(ours("MonitorStorage", "UsedBytes", "Maximum"),),
    threshold=Threshold(1, "critical_bytes"),
    periods=HELD,
    missing_why=NOTHING_RAN,
    runbook=runbooks.STORAGE_CRITICAL,
)
STORAGE_FILLING = Alarm(
    name="storage-filling",
    row="MonitorStorage",
    meaning="At its growth the scratch disk is full within a fifth of the time a run has",
    severity=TICKET,
    signals=(ours("MonitorStorage", "SecondsToFull", "Minimum"),),
    comparison="<=",
    threshold=Threshold(0.2, "time_s"),
    period_s=MINUTE_S,
    datapoints=2,
    periods=3,
    missing_why="no growth is reported as no value",
    runbook=runbooks.STORAGE_FILLING,
)
TIME_NEARLY_UP = Alarm(
    name="time-nearly-up",
    row="InvokeFunction",
    meaning="An invocation ended with less than a tenth of its time left",
    severity=TICKET,
    signals=(ours("InvokeFunction", "TimeLeft", "Minimum"),),
    comparison="<",
    threshold=Threshold(0.1, "time_ms"),
    periods=HELD,
    missing_why=NOTHING_RAN,
    runbook=runbooks.TIME_NEARLY_UP,
)
MEMORY_NEARLY_UP = Alarm(
    name="memory-nearly-up",
    row="InvokeFunction",
    meaning="The process held more than nine tenths of its memory",
    severity=TICKET,
    signals=(ours("InvokeFunction", "PeakMemoryBytes", "Maximum"),),
    comparison=">",
    threshold=Threshold(0.9, "memory_bytes"),
    periods=HELD,
    missing_why=NOTHING_RAN,
    runbook=runbooks.MEMORY_NEARLY_UP,
)
THROTTLES = Alarm(
    name="throttles",
    row="InvokeFunction",
    meaning="Lambda refused invocations in two of three periods",
    severity=TICKET,
    signals=(of_lambda("Throttles"),),
    datapoints=2,
    periods=3,
    missing_why="without invocations Lambda reports nothing",
    runbook=runbooks.THROTTLES,
)
EXECUTIONS_THROTTLED = Alarm(
    name="executions-throttled",
    row="InvokeFunction",
    meaning="Step Functions slowed the state machines down in two of three periods",
    severity=TICKET,
    signals=of_machines("ExecutionThrottled"),
    expression="SUM(FILL(METRICS(), 0))",
    datapoints=2,
    periods=3,
    missing_why=NO_COUNT,
    runbook=runbooks.THROTTLES,
)
API_SLOW = Alarm(
    name="api-slow",
    row="InvokeFunction",
    meaning="An answer took more than four fifths of the time that the API waits",
    severity=TICKET,
    signals=(of_api("Latency", "Maximum"),),
    comparison=">",
    threshold=Threshold(0.8, "integration_ms"),
    periods=HELD,
    missing_why="without requests API Gateway reports nothing",
    runbook=runbooks.API_SLOW,
    part="api",
)
BROKEN_METRICS = Alarm(
    name="broken-metrics",
    row="TelemetryHealth",
    meaning="CloudWatch could not read metric lines of the function",
    severity=TICKET,
    signals=(of_logs("EMFParsingErrors", "unreadable"), of_logs("EMFValidationErrors", "invalid")),
    expression="SUM(FILL(METRICS(), 0))",
    periods=HELD,
    missing_why="CloudWatch reports these only when there are errors",
    runbook=runbooks.BROKEN_METRICS,
)


def _metrics_missing(name: str, window_s: int, least: int, datapoints: int, periods: int) -> Alarm:
    return Alarm(
        name=name,
        row="TelemetryHealth",
        meaning=f"Lambda ran the function {least} times or more within {span(window_s)}, and no metric of ours says so",
        severity=TICKET,
        signals=(of_lambda("Invocations", "begun"), ours("TelemetryHealth", "LinesWritten", name="heard")),
        expression=f"IF(begun >= {least} AND FILL(heard, 0) == 0, 1, 0)",
        period_s=window_s,
        datapoints=datapoints,
        periods=periods,
        missing_why="what did not run has nothing to say",
        runbook=runbooks.METRICS_MISSING,
    )


# A run reports at its end, which may lie in the period after its beginning: one period alone says nothing.
METRICS_MISSING = (
    _metrics_missing("metrics-missing", 15 * MINUTE_S, 1, 2, 3),
    _metrics_missing("metrics-missing-3d", 3 * DAY_S, 2, 1, 1),
)
ENDPOINT_DEAD = Alarm(
    name="telemetry-endpoint-dead",
    row="TelemetryHealth",
    meaning="The trace endpoint was given up in three of five periods",
    severity=TICKET,
    signals=(ours("TelemetryHealth", "EndpointDead", "Maximum"),),
    datapoints=3,
    periods=5,
    missing="ignore",
    missing_why="without invocations nobody tried the endpoint: what was known of it still holds",
    runbook=runbooks.ENDPOINT_DEAD,
)
TELEMETRY_FAULTS = Alarm(
    name="telemetry-faults",
    row="TelemetryHealth",
    meaning="Telemetry met bad values or unknown fields, or lost lines",
    severity=TICKET,
    signals=(ours("TelemetryHealth", "Faults", name="faults"), ours("TelemetryHealth", "LinesLost", name="lost")),
    expression="faults + lost",
    periods=HELD,
    missing_why=NOTHING_RAN,
    runbook=runbooks.TELEMETRY_FAULTS,
)
