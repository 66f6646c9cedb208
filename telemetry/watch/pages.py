"""Alarms that wake somebody, through the composite `packaging-broken`: the service itself fails."""

from __future__ import annotations

from telemetry.watch import runbooks
from telemetry.watch.signals import NOTHING_RAN, of_api, of_lambda, of_machines, ours
from telemetry.watch.types import Alarm, Limits, Severity

PAGE = Severity.PAGE
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
WINDOWS_S = (5 * MINUTE_S, 15 * MINUTE_S, 45 * MINUTE_S, 2 * HOUR_S, 6 * HOUR_S, 18 * HOUR_S, 2 * DAY_S)
"""Each about three times the one before: two requests in a row are a third of all in one of them, however rare."""

_STILL = 48
"""Periods of five minutes for which a failure is held: every second request that fails is one page, not many."""

_REQUESTS = (ours("InvokeFunction", "ServiceFailed", name="bad"), ours("InvokeFunction", "Requests", name="all"))
_ANSWERS = (of_api("5XXError", name="bad"), of_api("Count", name="all"))


def span(seconds: int) -> str:
    """Return a window as names of alarms spell it: 15m, 6h, 3d."""
    for unit, name in ((DAY_S, "d"), (HOUR_S, "h")):
        if seconds % unit == 0:
            return f"{seconds // unit}{name}"
    return f"{seconds // MINUTE_S}m"


def probe_failing(limits: Limits) -> Alarm:
    """Return the alarm on two probes in a row that failed, or of which nothing was heard."""
    return Alarm(
        name="probe-failing",
        row="Probe",
        meaning="Two probes in a row did not package, or nothing was heard of them",
        severity=PAGE,
        signals=(ours("Probe", "Success", name="good"),),
        # Filled, since CloudWatch would otherwise look for values two periods further back before it believes a gap.
        expression="FILL(good, 0)",
        comparison="<",
        period_s=limits.probe_s,
        datapoints=2,
        periods=2,
        missing="breaching",
        missing_why="the probe is silent when the function cannot run, or its metrics are lost",
        runbook=runbooks.PROBE_FAILING,
        part="probe",
        warm_up_s=2 * limits.probe_s,
    )


def _requests_failed(window_s: int) -> Alarm:
    return Alarm(
        name=f"requests-failed-{span(window_s)}",
        row="InvokeFunction",
        meaning=f"Within {span(window_s)} the service failed two requests or more, and a third of all",
        severity=PAGE,
        signals=_REQUESTS,
        expression="IF(bad >= 2 AND 3 * bad >= all, 1, 0)",
        period_s=window_s,
        missing_why=NOTHING_RAN,
        runbook=runbooks.REQUESTS_FAILING,
    )


def _api_failed(window_s: int) -> Alarm:
    return Alarm(
        name=f"api-failed-{span(window_s)}",
        row="InvokeFunction",
        meaning=f"Within {span(window_s)} the API answered two requests or more with 5xx, and a third of all",
        severity=PAGE,
        signals=_ANSWERS,
        expression="IF(bad >= 2 AND 3 * bad >= all, 1, 0)",
        period_s=window_s,
        missing_why="without requests API Gateway reports nothing",
        runbook=runbooks.API_FAILING,
        part="api",
    )


REQUESTS_FAILED = tuple(map(_requests_failed, WINDOWS_S))
API_FAILED = tuple(map(_api_failed, WINDOWS_S))
LAST_REQUEST_FAILED = Alarm(
    name="requests-failed-last",
    row="InvokeFunction",
    meaning="The service failed the last request, or one within four hours",
    severity=PAGE,
    signals=_REQUESTS,
    expression="IF(bad >= 1 AND 3 * bad >= all, 1, 0)",
    periods=_STILL,
    missing="ignore",
    missing_why="without requests it stays as it was with the last one, be it days ago",
    runbook=runbooks.REQUESTS_FAILING,
)
LAST_ANSWER_FAILED = Alarm(
    name="api-failed-last",
    row="InvokeFunction",
    meaning="The API's last answer was 5xx, or one within four hours",
    severity=PAGE,
    signals=_ANSWERS,
    expression="IF(bad >= 1 AND 3 * bad >= all, 1, 0)",
    periods=_STILL,
    missing="ignore",
    missing_why="without requests it stays as it was with the last one, be it days ago",
    runbook=runbooks.API_FAILING,
    part="api",
)
_ENDED = of_machines("ExecutionsSucceeded", "ExecutionsFailed", "ExecutionsTimedOut", "ExecutionsAborted")
# All that ended less those that went well: no value where none ended.
_ENDED_BADLY = "(SUM(METRICS()) - SUM([m1, m1many]))"


def _executions_failed(window_s: int) -> Alarm:
    return Alarm(
        name=f"executions-failed-{span(window_s)}",
        row="InvokeFunction",
        meaning=f"Within {span(window_s)} two executions or more, and a third of all, failed or were aborted",
        severity=PAGE,
        signals=_ENDED,
        expression=f"IF({_ENDED_BADLY} >= 2 AND 3 * {_ENDED_BADLY} >= SUM(METRICS()), 1, 0)",
        period_s=window_s,
        missing_why="without executions Step Functions reports nothing",
        runbook=runbooks.EXECUTIONS_FAILING,
    )


# Eight metrics each, and each of them paid for: fewer windows, in which a few more may have to fail in a row.
EXECUTIONS_FAILED = tuple(map(_executions_failed, (5 * MINUTE_S, 2 * HOUR_S, 2 * DAY_S)))
LAST_EXECUTION_FAILED = Alarm(
    name="executions-failed-last",
    row="InvokeFunction",
    meaning="The last execution of a state machine failed, timed out or was aborted, or one within four hours",
    severity=PAGE,
    signals=_ENDED,
    expression=_ENDED_BADLY[1:-1],
    periods=_STILL,
    missing="ignore",
    missing_why="without executions it stays as it was with the last one",
    runbook=runbooks.EXECUTIONS_FAILING,
)
FUNCTION_DYING = Alarm(
    name="function-dying",
    row="InvokeFunction",
    meaning="Within an hour Lambda ended three invocations or more, and no fewer than went through",
    severity=PAGE,
    signals=(of_lambda("Errors", "bad"), of_lambda("Invocations", "all")),
    # One that was killed and went well the second time is nothing to call for.
    expression="IF(bad >= 3 AND 2 * bad >= all, 1, 0)",
    period_s=HOUR_S,
    missing_why="without invocations Lambda reports nothing",
    runbook=runbooks.FUNCTION_DYING,
)
ALL_THROTTLED = Alarm(
    name="all-throttled",
    row="InvokeFunction",
    meaning="For a quarter of an hour Lambda refused every invocation",
    severity=PAGE,
    signals=(of_lambda("Throttles", "refused"), of_lambda("Invocations", "begun")),
    expression="IF(refused > 0 AND FILL(begun, 0) == 0, 1, 0)",
    period_s=15 * MINUTE_S,
    missing_why="without calls Lambda reports nothing",
    runbook=runbooks.ALL_THROTTLED,
)
