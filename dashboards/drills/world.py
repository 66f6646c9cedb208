"""What CloudWatch is told of the service from minute to minute, healthy or with a fault.

Each request, probe and execution adds to the series that the alarms watch; a fault changes what they add.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dashboards.cloudwatch.series import Sample, Store
from dashboards.product.specs import metric_of
from telemetry.watch.signals import of_api, of_dead_letters, of_lambda, of_logs, of_machines, of_topics, ours

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dashboards.cloudwatch.alarm import Metric
    from telemetry.watch import Limits, Names, Signal

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
FOREVER = 10**9

SIGNALS: dict[str, Signal] = {
    **{metric: ours("InvokeFunction", metric) for metric in (
        "Requests", "ServiceFailed", "Targets", "TargetsFailedByService", "Models", "ModelsBad", "TimeLeft",
        "PeakMemoryBytes",
    )},
    "ProbeSuccess": ours("Probe", "Success"),
    "LinesWritten": ours("TelemetryHealth", "LinesWritten"),
    "Faults": ours("TelemetryHealth", "Faults"),
    "LinesLost": ours("TelemetryHealth", "LinesLost"),
    "EndpointDead": ours("TelemetryHealth", "EndpointDead"),
    "CleanUpFailure": ours("CleanUp", "Failure"),
    "CleanUpLeft": ours("CleanUp", "Left"),
    "LeftBehind": ours("WriteComponent", "LeftBehind"),
    "UsedBytes": ours("MonitorStorage", "UsedBytes"),
    "SecondsToFull": ours("MonitorStorage", "SecondsToFull"),
    "Warnings": ours("PackageTarget", "Warnings"),
    "AuditFailure": ours("UpdateRecord", "Failure", Table="audit_log"),
    "PublishFailure": ours("TriggerPublish", "Failure"),
    "Invocations": of_lambda("Invocations"),
    "Errors": of_lambda("Errors"),
    "Throttles": of_lambda("Throttles"),
    "ApiCount": of_api("Count"),
    "Api5xx": of_api("5XXError"),
    "ApiLatency": of_api("Latency"),
    "ExecutionsSucceeded": of_machines("ExecutionsSucceeded")[0],
    "ExecutionsFailed": of_machines("ExecutionsFailed")[0],
    "ExecutionsTimedOut": of_machines("ExecutionsTimedOut")[0],
    "ExecutionsAborted": of_machines("ExecutionsAborted")[0],
    "ManyFailed": of_machines("ExecutionsFailed")[1],
    "ExecutionThrottled": of_machines("ExecutionThrottled")[0],
    "DeadLetters": of_dead_letters("ApproximateNumberOfMessagesVisible"),
    "DeadLettersAge": of_dead_letters("ApproximateAgeOfOldestMessage"),
    "EmfErrors": of_logs("EMFParsingErrors", "m1"),
    "NotificationsFailed": of_topics("NumberOfNotificationsFailed")[0],
}  # fmt: skip
"""The series of a world by the names that faults use."""

OWN = frozenset(name for name, signal in SIGNALS.items() if not signal.namespace.startswith("AWS/"))
"""Those that come from the lines of the function, and are gone when the lines are."""


Changes = Mapping[str, float | None]
"""What is added in place of what all is well would add, by name of the series; None: nothing arrives."""


@dataclass(frozen=True)
class Fault:
    """What is different between two moments, for all requests or every `one_in`-th of them.

    Attributes:
        request: What a request that is hit adds in place of what a good one adds, by name of the series.
        probe: The same for a probe.
        also: What is added beside them, by name, at every `every_s` while the fault lasts: values one after another,
            the last one again and again.
        mute: Series of which nothing arrives.
        hits: How many requests are hit; those after them are good again.
    """

    request: Changes = field(default_factory=dict)
    probe: Changes = field(default_factory=dict)
    also: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    every_s: int = 5 * MINUTE_S
    mute: frozenset[str] = frozenset()
    one_in: int = 1
    hits: int = FOREVER
    lasts_s: int = FOREVER
    from_s: int = 0

    def holds(self, time_s: int) -> bool:
        return self.from_s <= time_s < self.from_s + self.lasts_s

    def hit(self, number: int) -> bool:
        """Tell whether the request of this number, counted from 1 since the fault began, is hit."""
        return (number - 1) % self.one_in == 0 and number <= self.hits * self.one_in


@dataclass(frozen=True)
class World:
    """A deployment with its limits, over a span of time."""

    names: Names
    limits: Limits
    end_s: int

    def store(self, requests: Iterable[int], faults: Iterable[Fault]) -> Store:
        """Return what CloudWatch has been told: requests at these moments, probes, and what faults make of them."""
        store, faults = Store(), tuple(faults)
        for time_s in range(7 * MINUTE_S, self.end_s, self.limits.probe_s):
            holding = [fault for fault in faults if fault.holds(time_s)]
            self.add_probe(store, time_s, *(fault.probe for fault in holding), *map(_silence, holding))
        met = dict.fromkeys(range(len(faults)), 0)
        for time_s in requests:
            holding = [fault for fault in faults if fault.holds(time_s)]
            changes = []
            for number, fault in enumerate(faults):
                if fault in holding:
                    met[number] += 1
                    changes += [fault.request] if fault.hit(met[number]) else []
            self.add_request(store, time_s, *changes, *map(_silence, holding))
        for fault in faults:
            self._beside(store, fault)
        return store

    def add_request(self, store: Store, time_s: int, *changes: Changes) -> None:
        """Add what a good request adds, or what changes put in its place."""
        self._add(store, time_s, self._request(), changes)

    def add_probe(self, store: Store, time_s: int, *changes: Changes) -> None:
        """Add what a good probe adds, or what changes put in its place."""
        self._add(store, time_s, self._probe(), changes)

    def _add(self, store: Store, time_s: int, adds: Mapping[str, float], changes: Iterable[Changes]) -> None:
        values: dict[str, float | None] = dict(adds)
        for change in changes:
            values |= change
        for name, value in values.items():
            if value is not None:
                store.add(self.metric(name), Sample(time_s, value))

    def _beside(self, store: Store, fault: Fault) -> None:
        for name, values in fault.also.items():
            moments = range(fault.from_s, min(fault.from_s + fault.lasts_s, self.end_s), fault.every_s)
            for number, time_s in enumerate(moments):
                store.add(self.metric(name), Sample(time_s, values[min(number, len(values) - 1)]))

    def metric(self, name: str) -> Metric:
        return metric_of(SIGNALS[name], self.names)

    def _request(self) -> dict[str, float]:
        return {
            **dict.fromkeys(_ONCE, 1.0),
            **dict.fromkeys((*_NEVER, *_NEVER_A_REQUEST), 0.0),
            "TimeLeft": self.limits.time_ms * 0.9,
            "PeakMemoryBytes": self.limits.memory_bytes * 0.2,
            "UsedBytes": 0.0,
            "ApiLatency": self.limits.integration_ms * 0.3,
            "LinesWritten": 20.0,
        }

    def _probe(self) -> dict[str, float]:
        return {
            **dict.fromkeys(_NEVER, 0.0),
            "ProbeSuccess": 1.0,
            "Invocations": 1.0,
            "TimeLeft": self.limits.time_ms * 0.99,
            "PeakMemoryBytes": self.limits.memory_bytes * 0.1,
            "UsedBytes": 0.0,
            "LinesWritten": 30.0,
        }


def _silence(fault: Fault) -> Changes:
    return dict.fromkeys(fault.mute)


_ONCE = ("Requests", "Targets", "Models", "Invocations", "ApiCount")
_NEVER = (
    "Faults", "LinesLost", "EndpointDead", "CleanUpFailure", "CleanUpLeft", "LeftBehind", "Warnings", "AuditFailure",
    "Errors", "Throttles",
)  # fmt: skip
_NEVER_A_REQUEST = ("ServiceFailed", "TargetsFailedByService", "ModelsBad", "PublishFailure", "Api5xx")


def steadily(a_day: int, days: int, *, from_hour: int = 8, hours: int = 10) -> list[int]:
    """Return moments of so many requests a day, spread over working hours as people spread them, never twice alike."""
    chance = random.Random(a_day)  # noqa: S311  moments, no secrets
    step_s = hours * HOUR_S / a_day
    return [
        int(day * DAY_S + from_hour * HOUR_S + (number + chance.random() * 0.8) * step_s)
        for day in range(days)
        for number in range(a_day)
    ]


def each_minute(days: int) -> list[int]:
    return [*range(30, days * DAY_S, MINUTE_S)]


def in_bursts(days: int, requests: int = 60, within_s: int = 5 * MINUTE_S) -> list[int]:
    """Return moments of a burst each day at ten, and nothing else."""
    return [
        day * DAY_S + 10 * HOUR_S + number * within_s // requests for day in range(days) for number in range(requests)
    ]
