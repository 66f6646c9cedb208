"""Who uses which metric: the alarms and SLOs that watch it, and the panels that draw it."""

from __future__ import annotations

from collections import defaultdict

from telemetry.catalog import OPERATION_DIMENSION, ROWS
from telemetry.watch.alarms import ALARMS
from telemetry.watch.slos import SLOS
from telemetry.watch.types import OURS


def used_by() -> dict[tuple[str, str], list[str]]:
    """Return the users of each metric, by row and field, such as `alarm storage-critical`."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    fields = {(row.name, metric.name): metric.field for row in ROWS for metric in row.all_metrics}
    watched = [(f"alarm {alarm.name}", alarm.signals) for alarm in ALARMS]
    watched += [(f"SLO {slo.name}", (*slo.bad, *slo.total)) for slo in SLOS]
    for user, signals in watched:
        for signal in signals:
            row = dict(signal.dimensions).get(OPERATION_DIMENSION, "")
            if signal.namespace == OURS and (row, signal.metric) in fields:
                found[row, fields[row, signal.metric]].append(user)
    for each in ROWS:
        for panel in each.panels:
            for field in panel.fields:
                found[each.name, field].append(f"panel {panel.dashboard}: {panel.title}")
    return {key: sorted(set(users)) for key, users in found.items()}
