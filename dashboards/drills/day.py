"""A simulated day: what drills recorded, laid over 24 hours, with a fault that still goes on at its end."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dashboards.cloudwatch.recording import Recording
from dashboards.cloudwatch.series import Sample
from dashboards.drills import faults
from dashboards.drills.world import DAY_S, MINUTE_S, OWN, Changes, World
from dashboards.product.layout import dashboard_bodies
from dashboards.product.specs import Catalog, metric_of
from telemetry.watch.signals import of_lambda

if TYPE_CHECKING:
    from collections.abc import Callable

    from dashboards.drills.faults import Injected

    Inject = Callable[[Path], Injected]

_EVERY_S = 6 * MINUTE_S
_FAULT_S = 50 * MINUTE_S
"""How long before the end of the day the fault begins."""

_USE_CASES = ("assembly-line", "warehouse", "paint-shop")
_HURT = "warehouse"
_ANSWERED_500: Changes = {"Api5xx": 1.0}
_RUNNING = metric_of(of_lambda("ConcurrentExecutions"), Catalog().names)


@dataclass(frozen=True)
class Day:
    """What was recorded between two moments (epoch seconds), and what the fault was that began at `fault_s`."""

    recording: Recording
    start_s: int
    fault_s: int
    end_s: int
    fault: str
    hurt: str = f"the use case {_HURT}"

    def body(self, source: Catalog | None = None) -> dict[str, Any]:
        """Return the first page of the dashboards, marked as simulated; what the fault was stands at its end."""
        page = dashboard_bodies(source or Catalog())["overview"]
        began = f"{datetime.fromtimestamp(self.fault_s, UTC):%H:%M} UTC"
        said = (
            "**Simulated.** Recordings of two drills (the function itself, without and with a fault), laid over a day:"
            f" a request every {_EVERY_S // MINUTE_S} minutes, of {len(_USE_CASES)} use cases in turn. Find out from"
            " the page what is broken, since when, and for whom. The answer stands at its end."
        )
        answer = f"**The answer.** From {began} on, for {self.hurt}: {self.fault}."
        shown = [{**each, "y": each["y"] + 2} for each in page["widgets"]]
        end = max(each["y"] + each["height"] for each in shown)
        return {**page, "widgets": [_text(said, 0), *shown, _text(answer, end)]}


def simulated(end_s: int, good: Inject = faults.none, bad: Inject = faults.failing_s3) -> Day:
    """Run both drills and return the day that ends at `end_s`, in epoch seconds."""
    with ThreadPoolExecutor(2) as pool:
        healthy, broken = pool.map(_recorded, (good, bad))
    end_s = end_s // MINUTE_S * MINUTE_S
    mute = not broken.recording.lines  # of all that the function writes, whoever asks
    day = Day(Recording(), end_s - DAY_S, end_s - _FAULT_S, end_s, broken.how, *(["everybody"] if mute else []))
    source = Catalog()
    world = World(source.names, source.limits, DAY_S)
    own: Changes = dict.fromkeys(OWN)
    for time_s in range(day.start_s, end_s, source.limits.probe_s):
        world.add_probe(day.recording.store, time_s, own if mute and time_s >= day.fault_s else {})
    for number, time_s in enumerate(range(day.start_s + MINUTE_S, end_s, _EVERY_S)):
        use_case = _USE_CASES[number % len(_USE_CASES)]
        hit = time_s >= day.fault_s and (mute or use_case == _HURT)
        shown = broken if hit else healthy
        if shown.recording.lines:
            _lay(day.recording, shown.recording, time_s, number, use_case)
        world.add_request(day.recording.store, time_s, own, _ANSWERED_500 if hit and _failed(broken) else {})
        day.recording.store.add(_RUNNING, Sample(time_s, 1.0))
    return day


def _failed(injected: Injected) -> bool:
    """Tell whether a caller was told of a failure of the service's."""
    return any(line.get("Status5xx") for line in injected.recording.lines)


def _text(markdown: str, y: int) -> dict[str, Any]:
    return {"type": "text", "x": 0, "y": y, "width": 24, "height": 2, "properties": {"markdown": markdown}}


def _recorded(inject: Inject) -> Injected:
    with tempfile.TemporaryDirectory(prefix="day-", ignore_cleanup_errors=True) as folder:
        return inject(Path(folder))


def _lay(day: Recording, recorded: Recording, time_s: int, number: int, use_case: str) -> None:
    """Add a recording so that it begins at a moment, as a request of its own of a use case."""
    shift_s = time_s - (recorded.store.span_s() or (0.0, 0.0))[0]
    day.store.extend(recorded.store, shift_s)
    ids = {"usecase_id": use_case, "training_id": f"training-{number}", "request_id": f"request-{number}"}
    day.lines += [{**line, **ids, "@timestamp": line["@timestamp"] + shift_s} for line in recorded.lines]
