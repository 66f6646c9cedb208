"""What evaluating, reading and drawing of CloudWatch's takes: `python -m tests.bench.alarms --help`.

Seconds are those of the processor, since others may use the machine; reading and drawing are whole processes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dashboards.cloudwatch.alarm import Metric
from dashboards.cloudwatch.parameters import metric_alarm
from dashboards.cloudwatch.series import Sample, Store
from dashboards.cloudwatch.timeline import run
from tests.bench.marks import MIB, Row
from tests.bench.runs import measure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dashboards.cloudwatch.alarm import MetricAlarm

DAY_S, START_MS = 86_400, 1_767_225_600_000
STATISTICS = ("Sum", "Maximum", "Average", "p99")
PERIODS_S = (60, 300, 3600, 60, 60)
WIDGETS, MINUTES = 100, 180
MB = 1_000_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.alarms", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="64 MB of lines instead of 1 GB; no month of 200 alarms")
    options = parser.parse_args()
    missed = 0
    with tempfile.TemporaryDirectory(prefix="bench-", dir=_place()) as folder:
        for row in _rows(Path(folder), quick=options.quick):
            missed += row.passed is False
            told = {None: "", True: "reached", False: "MISSED"}[row.passed]
            mark = "" if row.mark is None else f"{'>=' if row.at_least else '<='} {row.mark:g}"
            sys.stdout.write(f"{row.input:24} {row.what:12} {row.found:8.2f} {row.unit:5} {mark:8} {told}\n")
            sys.stdout.flush()
    return int(missed > 0)


def _rows(work: Path, *, quick: bool) -> Iterator[Row]:
    yield from _drawn(work)
    yield from _evaluated(quick=quick)
    yield from _read(work, quick=quick)


def _place() -> str | None:
    memory = "/dev/shm"  # noqa: S108  a folder with a random name is made in it
    return memory if os.path.isdir(memory) else None  # noqa: PTH112  a path, and no more


def alarm(number: int) -> MetricAlarm:
    """One of many alarms on metrics of their own, of four statistics and three periods."""
    statistic = STATISTICS[number % 4]
    return metric_alarm(
        {
            "AlarmName": f"a{number}", "Namespace": "N", "MetricName": f"m{number}",
            "ExtendedStatistic" if statistic == "p99" else "Statistic": statistic,
            "Period": PERIODS_S[number % 5], "EvaluationPeriods": 3 + number % 3, "DatapointsToAlarm": 2,
            "Threshold": 90, "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "notBreaching",
        }
    )  # fmt: skip


def value(number: int, minute: int) -> float:
    """A value a minute: a ripple, with four hours above every threshold each day."""
    return 95.0 if minute % 1440 < 240 else float((minute * 7 + number * 13) % 80)


def _evaluated(*, quick: bool) -> Iterator[Row]:
    for count, days, mark in ((20, 7, 0.5), (200, 30, 8.0)):
        if quick and days > 7:
            continue
        store = Store()
        for number in range(count):
            for minute in range(days * 1440):
                store.add(Metric("N", f"m{number}"), Sample(minute * 60.0, value(number, minute)))
        alarms = {f"a{number}": alarm(number) for number in range(count)}
        began = time.process_time()
        lines = run(alarms, store, 0, days * DAY_S)
        took_s = time.process_time() - began
        assert all(line.changes for line in lines.values())
        yield Row(f"{count} alarms over {days} days", "evaluated", took_s, mark, unit="s")


def lines(size_bytes: int) -> Iterator[bytes]:
    """Lines as a function writes them: three metrics under two sets of dimensions, and what it logs beside them."""
    written = number = 0
    while written < size_bytes:
        moment_ms = START_MS + number * 250
        directive = {
            "Namespace": "Shop",
            "Dimensions": [["Operation"], ["Operation", "Target"]],
            "Metrics": [
                {"Name": "Duration", "Unit": "Milliseconds"},
                {"Name": "Bytes", "Unit": "Bytes"},
                {"Name": "Ok"},
            ],
        }
        line = {
            "_aws": {"Timestamp": moment_ms, "CloudWatchMetrics": [directive]},
            "Operation": f"op{number % 10}", "Target": f"t{number % 7}", "Duration": number % 900 / 7,
            "Bytes": number * 977 % 100_000, "Ok": 1, "request": f"{number:032x}", "message": "packaged " * 20,
        }  # fmt: skip
        data = json.dumps(line).encode() + b"\n"
        written += len(data)
        number += 1
        yield data


def _read(work: Path, *, quick: bool) -> Iterator[Row]:
    size_bytes = 64 * MB if quick else 1000 * MB
    emf = work / "lines.jsonl"
    with emf.open("wb") as file:
        file.writelines(lines(size_bytes))
    alarms = {"AlarmName": "slow", "Namespace": "Shop", "MetricName": "Duration", "Statistic": "Maximum", "Period": 60,
              "Dimensions": [{"Name": "Operation", "Value": "op1"}], "EvaluationPeriods": 1, "Threshold": 100,
              "ComparisonOperator": "GreaterThanThreshold"}  # fmt: skip
    (work / "alarms.json").write_text(json.dumps(alarms))
    command = [sys.executable, "-m", "dashboards.cloudwatch", "simulate", emf, "--alarms", work / "alarms.json"]
    taken = measure([*map(str, command)], work, _path())
    emf.unlink()
    name = f"{size_bytes // MB} MB of EMF"
    yield Row(name, "read", size_bytes / MB / taken.cpu_s, 40.0, at_least=True, unit="MB/s")
    yield Row(name, "peak memory", taken.peak_bytes / MIB, 300.0, unit="MiB")


def _path() -> dict[str, str]:
    return {"PYTHONPATH": str(Path(__file__).parents[2])}


def _drawn(work: Path) -> Iterator[Row]:
    properties = {"region": "r", "period": 60, "stat": "Average"}
    widgets = [
        {"type": "metric", "width": 6, "height": 6,
         "properties": {**properties, "title": f"w{n}", "metrics": [["N", f"m{n}"], ["N", f"k{n}"]]}}
        for n in range(WIDGETS)
    ]  # fmt: skip
    (work / "body.json").write_text(json.dumps({"widgets": widgets}))
    names = [{"Name": f"{letter}{n}"} for n in range(WIDGETS) for letter in "mk"]
    with (work / "telemetry.jsonl").open("w") as file:
        for minute in range(MINUTES):
            for first in range(0, len(names), 100):
                some = names[first : first + 100]
                directive = {"Namespace": "N", "Dimensions": [[]], "Metrics": some}
                values = {each["Name"]: value(first + n, 20 + minute) for n, each in enumerate(some)}
                envelope = {"Timestamp": START_MS + minute * 60_000, "CloudWatchMetrics": [directive]}
                file.write(json.dumps({"_aws": envelope, **values}) + "\n")
    command = [Path(sys.executable).with_name("dashboards"), "preview", "--body", work / "body.json"]
    command += ["--telemetry", work / "telemetry.jsonl", "--out", "page"]
    measure([*map(str, command)], work, _path())  # the script of the charts is made once, and kept
    for kind, mark in (("html", 1.5), ("png", 5.0)):
        taken = measure([*map(str, command), "--format", kind], work, _path())
        assert taken.out_bytes > MB, "nothing was drawn"
        yield Row(f"a page of {WIDGETS} widgets", kind, taken.cpu_s, mark, unit="s")


if __name__ == "__main__":
    sys.exit(main())
