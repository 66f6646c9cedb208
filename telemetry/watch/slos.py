"""The service level objectives, and the alarms on how fast their error budgets burn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from telemetry.watch import runbooks
from telemetry.watch.signals import ours
from telemetry.watch.types import Alarm, Composite, Severity, Slo, Threshold

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUESTS_SERVED = Slo(
    name="requests-served",
    row="InvokeFunction",
    meaning="Of all requests, 99.5 % end without a failure of the service",
    objective=0.995,
    window_days=28,
    bad=(ours("InvokeFunction", "ServiceFailed", name="bad"),),
    total=(ours("InvokeFunction", "Requests", name="all"),),
    minimum_events=20,
    runbook=runbooks.REQUESTS_FAILING,
)
TARGETS_PACKAGED = Slo(
    name="targets-packaged",
    row="InvokeFunction",
    meaning="Of all targets asked for, 99 % do not fail through the service",
    objective=0.99,
    window_days=28,
    bad=(ours("InvokeFunction", "TargetsFailedByService", name="bad"),),
    total=(ours("InvokeFunction", "Targets", name="all"),),
    minimum_events=20,
    runbook=runbooks.REQUESTS_FAILING,
)
SLOS = (REQUESTS_SERVED, TARGETS_PACKAGED)


@dataclass(frozen=True)
class BurnRate:
    """A pair of windows: the long one says that it matters, the short one that it still goes on.

    The short one is held for so many periods, or one bad event in ten minutes would call every ten minutes.
    """

    name: str
    factor: float
    long_s: int
    short_s: int
    severity: Severity
    held: int = 1


BURN_RATES = (
    BurnRate("fast-burn", 14.4, 3600, 300, Severity.PAGE, held=10),
    BurnRate("slow-burn", 6.0, 21_600, 1800, Severity.PAGE, held=8),
    BurnRate("lasting-burn", 1.0, 259_200, 21_600, Severity.TICKET),
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
    # Filled, so that a window without events is a value: CloudWatch would look for an older one, three windows back.
    total = " + ".join(f"FILL({signal.id}, 0)" for signal in slo.total)
    # One bad event alone never calls, however few there are; that it still goes on is for the short window to say.
    # Of fewer events than the budget is a share of, nothing can be said for three days.
    least = slo.minimum_events if rate.factor > 1 else max(slo.minimum_events, round(1 / slo.budget))
    enough = f"{total} >= {least} AND {bad} >= 2" if side == "long" else f"{total} >= 1"
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
        periods=rate.held if side == "short" else 1,
        missing_why="a window without events burns nothing",
        runbook=slo.runbook,
    )


def burn_composites(severity: Severity, *, suppressor: str) -> Iterator[Composite]:
    """Yield one alarm for each SLO and pair of windows; a page speaks through `suppressor`, which holds tickets back.

    What woke somebody has burnt the budget too, and shows in its short window for that long: no ticket beside it.
    """
    held = severity is Severity.TICKET
    for slo in SLOS:
        for rate in BURN_RATES:
            if rate.severity is severity:
                yield Composite(
                    name=f"{slo.name}-{rate.name}",
                    meaning=f"{slo.meaning}; the budget burns {rate.factor:g} times too fast",
                    severity=severity,
                    children=(f"{slo.name}-{rate.name}-long", f"{slo.name}-{rate.name}-short"),
                    word="AND",
                    runbook=slo.runbook,
                    notifies=held,
                    suppressor=suppressor if held else "",
                    suppressor_wait_s=60 if held else 0,
                    suppressor_extension_s=rate.short_s if held else 0,
                )
