"""The packaging function run for a drill: a real process, whose lines are what Lambda would hand to CloudWatch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dashboards.cloudwatch.errors import DashboardError
from dashboards.cloudwatch.recording import Recording, add_lines
from dashboards.product.stages import of_the_stage

if TYPE_CHECKING:
    from collections.abc import Sequence

_WITHIN_S = 120
_RUN = """
import json, sys, time
from packager.handler import handler

class Context:
    aws_request_id, function_version, log_stream_name = "drill", "$LATEST", "drill"

    def __init__(self, left_s, speed):
        self.ends, self.speed = time.monotonic() + left_s / speed, speed

    def get_remaining_time_in_millis(self):
        return int(max(0.0, self.ends - time.monotonic()) * self.speed * 1000)

asked = json.load(sys.stdin)
for left, event in zip(reversed(range(len(asked["events"]))), asked["events"]):
    handler(event, Context(asked["left_s"], 1 if left else asked["speed"]))
"""
"""The handler with a clock, in the words of Lambda's context; a text, since nothing here imports the packager."""


class DrillError(DashboardError):
    """A drill could not be run at all."""


@dataclass(frozen=True)
class FunctionRun:
    """One environment of the function: its events, one after another, and what surrounds it.

    Attributes:
        left_s: What each invocation has left at its beginning, on the function's own clock.
        speed: How many seconds of that clock pass in one during the last event; before, it is a real clock.
        inside: The command that puts the process where it belongs (a disk of its own); empty: as it is.
    """

    events: Sequence[dict[str, Any]]
    environment: dict[str, str] = field(default_factory=dict)
    left_s: float = 900
    speed: float = 1
    inside: Sequence[str] = ()

    def recorded(self) -> Recording:
        """Run it and return what it wrote; DrillError when it wrote nothing or did not end by itself."""
        asked = json.dumps({"events": self.events, "left_s": self.left_s, "speed": self.speed})
        try:
            done = subprocess.run(  # noqa: S603  our own words, no shell of the user's
                [*self.inside, sys.executable, "-c", _RUN],
                input=asked,
                capture_output=True,
                text=True,
                check=False,
                timeout=_WITHIN_S,
                env={**_own_environment(), **self.environment},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DrillError(f"the function could not be run: {error}") from error
        if done.returncode:
            raise DrillError(f"the function ended with {done.returncode}: {done.stderr.strip()[-500:]}")
        recording = Recording(namespace=of_the_stage)
        add_lines(recording, done.stdout.splitlines())
        if not recording.store.metrics:
            raise DrillError("the function recorded nothing; is the package installed beside `dashboards`?")
        return recording


def _own_environment() -> dict[str, str]:
    """Return this process's environment without what would change the drill: accounts, endpoints, limits."""
    ours = ("AWS_", "OTEL_", "TELEMETRY_", "STORAGE_", "_X_AMZN")
    single = {"SCRATCH_DIR", "TIME_RESERVE_S", "MAX_ATTEMPTS", "ENABLE_STREAMING_PROCESSING", "PACKAGER_MEMORY_LIMIT"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours) and name not in single}
    return {**kept, "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}


def every(period_s: int, recordings: Sequence[Recording]) -> Recording:
    """Return recordings as one, each beginning `period_s` after the one before."""
    whole = Recording()
    origin_s = _begin_s(recordings[0])
    for number, recording in enumerate(recordings):
        shift_s = origin_s + number * period_s - _begin_s(recording)
        whole.store.extend(recording.store, shift_s)
        whole.lines += [{**line, "@timestamp": line["@timestamp"] + shift_s} for line in recording.lines]
    return whole


def _begin_s(recording: Recording) -> float:
    return (recording.store.span_s() or (0.0, 0.0))[0]
