"""Reads what was recorded: EMF and log lines as they are, exports of CloudWatch and its logs, series given by hand."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from dashboards.cloudwatch import emf, exports
from dashboards.cloudwatch.documents import load
from dashboards.cloudwatch.errors import DefinitionError
from dashboards.cloudwatch.notation import add_series_to, parse_metric
from dashboards.cloudwatch.schedules import duration_s, moment_s
from dashboards.cloudwatch.series import Store

if TYPE_CHECKING:
    from pathlib import Path

    from dashboards.cloudwatch.alarm import Alarm

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?")
_LAMBDA_LINE = re.compile(r"(?P<type>START|END|REPORT) RequestId: (?P<id>[\w-]+)")
_LAMBDA_FIELD = re.compile(
    r"(Duration|Billed Duration|Memory Size|Max Memory Used|Init Duration): (\d+(?:\.\d+)?) (ms|MB)"
)
_SERIES_KEYS = {"metric", "values", "dimensions", "unit", "interval", "delay"}
_WHOLE = 65_536
"""Characters of a file's beginning that tell what it is."""


@dataclass
class Recording:
    """Metrics, and the structured lines they came with (`@timestamp` in epoch seconds, `@message`, their members).

    Attributes:
        namespace: Gives the namespace that a recorded one stands for: stages may write into namespaces of their own.
        keeps_lines: False when only metrics are wanted: the lines are by far the larger part.
        dropped: By reason, how many lines or members CloudWatch would not take a metric from.
    """

    store: Store = field(default_factory=Store)
    lines: list[dict[str, Any]] = field(default_factory=list)
    namespace: Callable[[str], str] = str
    keeps_lines: bool = True
    dropped: Counter[str] = field(default_factory=Counter)


def read_recording(
    paths: Iterable[Path],
    namespace: Callable[[str], str] = str,
    alarms: Mapping[str, Alarm] | None = None,
    *,
    keeps_lines: bool = True,
) -> Recording:
    """Return what files, or the files of folders, hold; memory grows with the datapoints, not with the lines.

    Known are lines (EMF, JSON logs; also gzipped, also with the time that an export puts in front), the JSON of
    `aws logs filter-log-events` and of Logs Insights results, that of `get-metric-data` and `get-metric-statistics`
    (`alarms` tells what their labels stand for), CSV, and YAML with `series`.

    Raises:
        DefinitionError: A file holds nothing that can be read.
    """
    recording = Recording(namespace=namespace, keeps_lines=keeps_lines)
    for path in _files(paths):
        before = _size(recording)
        _read(recording, path, alarms or {})
        if _size(recording) == before:
            dropped = "; ".join(f"{count} times {reason}" for reason, count in recording.dropped.items())
            raise DefinitionError(
                f"{path} holds no EMF line, no JSON log line and no series"
                + f" that CloudWatch takes: {dropped}" * bool(dropped)
            )
    return recording


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(each for each in path.rglob("*") if each.is_file())
        else:
            yield path


def _size(recording: Recording) -> tuple[int, int]:
    columns = (column for units in recording.store.columns.values() for column in units.values())
    return len(recording.lines), len(recording.store.columns) + sum(len(column) for column in columns)


def _read(recording: Recording, path: Path, alarms: Mapping[str, Alarm]) -> None:
    if path.suffix in {".yaml", ".yml"}:
        add_series(recording.store, load(path), str(path))
    elif path.suffix == ".csv":
        with _opened(path) as lines:
            exports.add_csv(recording.store, lines, str(path))
    else:
        with _opened(path) as lines:
            head = lines.read(_WHOLE)
            if exports.looks_whole(head):
                _add_whole(recording, head + lines.read(), path, alarms)
            else:
                add_lines(recording, _rejoined(head, lines))


@contextmanager
def _opened(path: Path) -> Iterator[io.TextIOWrapper]:
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with io.TextIOWrapper(gzip.GzipFile(fileobj=raw) if packed else raw, "utf-8", "replace") as text:
                yield text
    except (OSError, EOFError) as error:
        raise DefinitionError(f"{path} cannot be read: {error}") from error


def _rejoined(head: str, rest: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a text of which the beginning was read already."""
    lines = head.splitlines(keepends=True)
    cut = lines.pop() if lines and not lines[-1].endswith("\n") else ""
    yield from lines
    rest = iter(rest)
    yield cut + next(rest, "")
    yield from rest


def _add_whole(recording: Recording, text: str, path: Path, alarms: Mapping[str, Alarm]) -> None:
    """Add a file that is one document of JSON, as AWS's command line prints it; what is none is a file of lines."""
    try:
        whole = json.loads(text)
    except ValueError:
        add_lines(recording, text.splitlines())
        return
    match whole:
        case {"events": list(events)}:
            add_lines(
                recording, (f"{_iso(event.get('timestamp', 0) / 1000)} {event.get('message', '')}" for event in events)
            )
        case {"results": list(rows)}:
            add_lines(recording, (cell["value"] for row in rows for cell in row if cell.get("field") == "@message"))
        case {"MetricDataResults": _} | {"Datapoints": _}:
            exports.add_results(recording.store, whole, str(path), alarms)
        case _:
            add_lines(recording, text.splitlines())


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def add_lines(recording: Recording, lines: Iterable[str]) -> None:
    """Add the metrics and members of every JSON line, and the text of others that begin with a time."""
    reader = emf.EmfReader(recording.store, recording.namespace, recording.keeps_lines, recording.dropped)
    keeps, read = recording.keeps_lines, reader.read
    for line in lines:
        start = line.find("{")
        if not keeps and (start < 0 or '"_aws"' not in line):
            continue
        document = read(line, start) if start >= 0 else None
        if keeps and document is None:
            _add_text(recording, line)
        if keeps and document is not None:
            message = line[start:].rstrip("\r\n")
            recording.lines.append({**document, "@timestamp": _moment(document, line), "@message": message})
    reader.flush()


def _add_text(recording: Recording, line: str) -> None:
    """Add a line of text with the time in front that exports of CloudWatch put there; of Lambda's reports the fields.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_AnalyzeLogData-discoverable-fields.html
    """
    time = _TIME.match(line)
    time_s = _time_s(time)
    if not time or not time_s:
        return
    message = line[time.end() :].strip()
    found = _LAMBDA_LINE.match(message)
    fields: dict[str, Any] = {"@type": found["type"], "@requestId": found["id"]} if found else {}
    if found and found["type"] == "REPORT":
        for name, number, unit in _LAMBDA_FIELD.findall(message):
            field_name = "@" + name[0].lower() + name[1:].replace(" ", "")
            fields[field_name] = float(number) * (1_000_000 if unit == "MB" else 1)
    recording.lines.append({**fields, "@timestamp": time_s, "@message": message})


def _moment(document: Mapping[str, Any], line: str) -> float:
    envelope = document.get("_aws")
    if isinstance(envelope, dict) and isinstance(envelope.get("Timestamp"), int):
        return float(envelope["Timestamp"]) / 1000
    return _time_s(_TIME.search(str(document.get("timestamp", ""))) or _TIME.match(line))


def _time_s(match: re.Match[str] | None) -> float:
    """Return a time as epoch seconds; 0 for none, and for one that is on no calendar."""
    try:
        return moment_s(match[0]) if match else 0.0
    except DefinitionError:
        return 0.0


def add_series(store: Store, data: object, where: str, start_s: float = 0) -> None:
    """Add the `series` of loaded YAML: a list of {metric, values}, one value per `interval` (1m)."""
    if not isinstance(data, Mapping) or not isinstance(data.get("series"), list):
        raise DefinitionError(f"{where}: `series` is to be a list of metric and values")
    for entry in data["series"]:
        if not isinstance(entry, Mapping) or not {"metric", "values"} <= entry.keys():
            raise DefinitionError(f"{where}: a series needs `metric` and `values`, not {entry!r}")
        refuse_unknown(entry, _SERIES_KEYS, f"{where}: a series")
        dimensions = entry.get("dimensions")
        if dimensions is not None and not isinstance(dimensions, Mapping):
            raise DefinitionError(f"{where}: `dimensions` are to be names with values, not {dimensions!r}")
        metric = parse_metric(str(entry["metric"]), dimensions)
        store.declare(metric)
        step_s = duration_s(entry.get("interval", data.get("interval", "1m")))
        if "delay" in entry:
            store.delays_s[metric] = duration_s(entry["delay"])
        add_series_to(store.column(metric, str(entry.get("unit", ""))), str(entry["values"]), start_s, step_s)


def refuse_unknown(given: Mapping[Any, Any], known: Iterable[str], what: str) -> None:
    """Raise DefinitionError for a key that is not known, with the nearest that is: a typo must not pass in silence."""
    names = sorted(known)
    for key in given:
        if key not in names:
            near = get_close_matches(str(key), names, 1)
            told = f"; is it `{near[0]}`?" if near else f"; there are {', '.join(names)}"
            raise DefinitionError(f"{what} has no `{key}`{told}")


def told(dropped: Mapping[str, int]) -> Sequence[str]:
    """Return in words what CloudWatch would have dropped."""
    return [f"{count} times CloudWatch takes no metric: {reason}" for reason, count in sorted(dropped.items())]
