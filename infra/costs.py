"""What 1,000 packages cost, and what watching costs a month: from the settings, the catalog and list prices."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dashboards.product.specs import alarm_parameters
from infra.monitoring_stack import catalog_of
from infra.settings import Deployment
from infra.state_machine import package_model
from infra.values import MIB
from telemetry.watch.checks import cost
from telemetry.watch.prices import prices

PAGE = Path(__file__).parents[1] / "docs" / "costs.md"
GIB = 1024 * MIB
_FREE_SCRATCH_BYTES = 512 * MIB
_PART_BYTES = 8 * MIB
_PROBE_S, _PROBE_WRITES, _PROBE_READS, _PROBE_LOG_BYTES = 2, 12, 12, 30_000
"""What a probe takes, rounded up: time, calls of S3 that write or list, calls that read, and lines."""


@dataclass(frozen=True)
class Work:
    """What is assumed of one package; change it to yours. `log_bytes` is what both invocations write, measured."""

    trained_bytes: int = GIB
    compiled_bytes: int = GIB
    bytes_per_s: int = 100 * MIB
    start_s: float = 1.0
    log_bytes: int = 25_000


Lines = list[tuple[str, float, str]]
"""What, for how many dollars, and how that comes about."""


def per_thousand(deployment: Deployment, work: Work) -> Lines:
    """Return the cost of 1,000 targets, each an execution of its own: one invocation prepares, one packages."""
    seconds = 2 * work.start_s + (work.trained_bytes + work.compiled_bytes) / work.bytes_per_s
    memory_gb = deployment.memory_bytes / GIB
    scratch_gb = max(0, deployment.scratch_bytes - _FREE_SCRATCH_BYTES) / GIB
    ranges = math.ceil(work.trained_bytes / _PART_BYTES) + math.ceil(work.compiled_bytes / _PART_BYTES) + 4
    parts = math.ceil(work.compiled_bytes / _PART_BYTES) + 4
    transitions = _transitions(deployment)
    each = [
        (
            "Lambda, memory",
            seconds * memory_gb * prices()["lambda_gb_s"][deployment.architecture],
            f"{seconds:.1f} s x {memory_gb:.2f} GB on {deployment.architecture}",
        ),
        (
            "Lambda, scratch",
            seconds * scratch_gb * prices()["lambda_scratch_gb_s"],
            f"{seconds:.1f} s x {scratch_gb:.2f} GB beyond the first 512 MB",
        ),
        ("Lambda, requests", 2 * prices()["lambda_request"], "2 requests"),
        ("S3, read", ranges * prices()["s3_get"], f"{ranges} ranges of {_PART_BYTES // MIB} MiB"),
        (
            "S3, written",
            parts * prices()["s3_put"],
            f"{parts} parts of {_PART_BYTES // MIB} MiB, their frame, the manifest",
        ),
        ("Step Functions", transitions * prices()["step_functions_transition"], f"{transitions} transitions"),
        ("Logs", work.log_bytes / 1e9 * prices()["logs_ingested_gb"], f"{work.log_bytes:,} bytes of lines"),
        ("Traces", prices()["trace"], "1 trace"),
    ]
    return [(name, 1000 * dollars, why) for name, dollars, why in each]


def _transitions(deployment: Deployment) -> int:
    """Return the transitions of a model with one target: every state of its straight way, begin and end."""
    outer = package_model(deployment)["States"]
    inner = outer["EachTarget"]["ItemProcessor"]["States"]
    return _way(outer, "Defaults", {"Compiled?": "Prepare"}) + _way(inner, "Begin?", {})


def _way(states: dict[str, Any], start: str, choices: dict[str, str]) -> int:
    count, name = 1, start
    while not states[name].get("End"):
        count, name = count + 1, choices.get(name) or states[name].get("Next") or states[name]["Default"]
    return count + 1


def per_month(deployment: Deployment) -> Lines:
    """Return what watching costs a month, whatever is packaged. Metrics are counted as if every value occurred."""
    source = catalog_of(deployment)
    alarms = alarm_parameters(source)
    watched = sum(
        sum("MetricStat" in each for each in alarm.get("Metrics", ())) or 1 for alarm in alarms["MetricAlarms"]
    )
    metrics = cost(source.rows)
    composites = len(alarms["CompositeAlarms"])
    boards = len(source.dashboards) + 1  # that of the runbooks
    return [
        (
            "Metrics",
            metrics.usd,
            f"at most {metrics.metrics:,} metrics: those that had a value in a month",
        ),
        (
            "Alarms",
            watched * prices()["alarm_metric_month"],
            f"{watched} metrics watched by {len(alarms['MetricAlarms'])} alarms",
        ),
        ("Composite alarms", composites * prices()["composite_alarm_month"], f"{composites} alarms over alarms"),
        ("Dashboards", boards * prices()["dashboard_month"], f"{boards} dashboards"),
        *_probes(deployment),
        ("Key", prices()["key_month"], "1 key for the messages of alarms"),
    ]


def _probes(deployment: Deployment) -> Lines:
    """Return what the probes of 30 days cost; nothing when they are off. Most of it is their lines of log."""
    if not deployment.probe_minutes:
        return []
    probes = 30 * 24 * 60 // deployment.probe_minutes
    memory_gb = deployment.memory_bytes / GIB
    each = (
        prices()["lambda_request"]
        + _PROBE_S * memory_gb * prices()["lambda_gb_s"][deployment.architecture]
        + _PROBE_WRITES * prices()["s3_put"]
        + _PROBE_READS * prices()["s3_get"]
        + _PROBE_LOG_BYTES / 1e9 * prices()["logs_ingested_gb"]
    )
    return [("Probes", probes * each, f"{probes:,} of {_PROBE_S:g} s with {_PROBE_LOG_BYTES:,} bytes of lines")]


_PAGE = """# Costs

List prices of {region} as of {as_of} (`telemetry/watch/prices.json`), in US dollars, without free tiers and taxes.
They are the first tier of each price: AWS asks less of those who use much. Look up today's before you rely on them:
{pages}.
This page is made by `python -m infra.costs` from the defaults of the settings and the catalog.

## 1,000 packages

Each: a trained artifact of {trained_mib:,} MiB and a compiled one of {compiled_mib:,} MiB at {rate_mib} MiB/s,
one target an execution of the state machine. Further targets of a model read only their compiled artifact.
What the buckets keep and what leaves the region is not counted.

{packages}

## Watching, a month

{watching}

Most of it is metrics. A dimension set in `telemetry/catalog/` costs one metric for each of its values: take out those
that nobody looks at.
"""


def page(deployment: Deployment, work: Work) -> str:
    """Return the page of costs as Markdown."""
    return _PAGE.format(
        region=prices()["region"],
        as_of=prices()["as_of"],
        pages=", ".join(f"[{service}]({page})" for service, page in prices()["pages"].items()),
        trained_mib=work.trained_bytes // MIB,
        compiled_mib=work.compiled_bytes // MIB,
        rate_mib=work.bytes_per_s // MIB,
        packages=_table(per_thousand(deployment, work)),
        watching=_table(per_month(deployment)),
    )


def _table(lines: Lines) -> str:
    rows = [f"| {name} | {dollars:,.3f} | {why} |" for name, dollars, why in lines]
    total = f"| **all** | **{sum(dollars for _, dollars, _ in lines):,.2f}** | |"
    return "\n".join(["| what | $ | how it comes about |", "|---|---|---|", *rows, total])


def built() -> str:
    """Return the page for the default settings."""
    return page(Deployment(), Work())


if __name__ == "__main__":
    PAGE.write_text(built(), "utf-8")
    sys.stdout.write(f"{PAGE}\n")
