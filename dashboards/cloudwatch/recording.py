"""Reads what was recorded: EMF and log lines as they are, exports of CloudWatch Logs, series given by hand."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dashboards.cloudwatch import emf
from dashboards.cloudwatch.alarm import Metric
from dashboards.cloudwatch.alarm_files import load
from dashboards.cloudwatch.errors import DefinitionError
from dashboards.cloudwatch.series import Sample, Store, parse_metric, parse_notation

if TYPE_CHECKING:
    from pathlib import Path

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?")


@dataclass
class Recording:
    """Metrics, and the structured lines they came with (`@timestamp` in epoch seconds, `@message`, their members).

    Attributes:
        namespace: Gives the namespace that a recorded one stands for: stages may write into namespaces of their own.
    """

    store: Store = field(default_factory=Store)
    lines: list[dict[str, Any]] = field(default_factory=list)
    namespace: Callable[[str], str] = str


def read_recording(paths: Iterable[Path], namespace: Callable[[str], str] = str) -> Recording:
    """Return what files hold; raise DefinitionError for a file that holds nothing readable.

    Known are lines (EMF, JSON logs; also gzipped, also with the time that an export puts in front), the JSON of
    `aws logs filter-log-events` and of Logs Insights results, and YAML with `series`.
    """
    recording = Recording(namespace=namespace)
    for path in paths:
        before = (len(recording.lines), len(recording.store.samples))
        if path.suffix in {".yaml", ".yml"}:
            add_series(recording.store, load(path), str(path))
        else:
            add_lines(recording, messages(_text(path)))
        if (len(recording.lines), len(recording.store.samples)) == before:
            raise DefinitionError(f"{path} holds no EMF line, no JSON log line and no series")
    return recording


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data).decode("utf-8", "replace")
    except (OSError, EOFError) as error:
        raise DefinitionError(f"{path} cannot be read: {error}") from error


def messages(text: str) -> Iterator[str]:
    """Yield the log messages of a file, whatever it was exported with."""
    try:
        whole = json.loads(text)
    except ValueError:
        whole = None
    match whole:
        case {"events": list(events)}:
            yield from (f"{_iso(event.get('timestamp', 0) / 1000)} {event.get('message', '')}" for event in events)
        case {"results": list(rows)}:
            yield from (cell["value"] for row in rows for cell in row if cell.get("field") == "@message")
        case _:
            yield from text.splitlines()


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def add_lines(recording: Recording, lines: Iterable[str]) -> None:
    """Add the metrics and members of every JSON line; other text is passed over, as CloudWatch does."""
    for line in lines:
        document = emf.parse(line)
        if document is not None:
            _add_metrics(recording, document)
        elif "{" in line:
            try:
                document = json.loads(line[line.index("{") :])
            except ValueError:
                continue
        if isinstance(document, dict):
            message = line[line.index("{") :]
            recording.lines.append({**document, "@timestamp": _moment(document, line), "@message": message})


def _add_metrics(recording: Recording, document: Mapping[str, Any]) -> None:
    for point in _datapoints(document):
        metric = Metric(recording.namespace(point.namespace), point.metric, point.dimensions)
        recording.store.units.setdefault(metric, point.unit)
        for value in point.values:
            recording.store.add(metric, Sample(point.timestamp_ms / 1000, float(value)))


def _datapoints(document: Mapping[str, Any]) -> list[emf.Datapoint]:
    try:
        return [point for point in emf.datapoints(document) if isinstance(point.timestamp_ms, int | float)]
    except (AttributeError, KeyError, TypeError):
        return []  # somebody's line that breaks the format: CloudWatch takes no metric from it either


def _moment(document: Mapping[str, Any], line: str) -> float:
    envelope = document.get("_aws")
    if isinstance(envelope, dict) and isinstance(envelope.get("Timestamp"), int):
        return float(envelope["Timestamp"]) / 1000
    match = _TIME.search(str(document.get("timestamp", ""))) or _TIME.match(line)
    return moment_s(match[0]) if match else 0.0


def moment_s(text: str) -> float:
    """Return an ISO 8601 time as epoch seconds; without a zone it is UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise DefinitionError(f"{text!r} is no time; write 2026-01-31T12:00:00Z") from error
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def duration_s(text: str | float) -> int:
    """Return `1d2h3m4s` as seconds; a bare number is seconds already."""
    match = _DURATION.fullmatch(str(text).strip())
    if str(text).strip().isdigit():
        return int(text)
    if not match or not any(match.groups()):
        raise DefinitionError(f"{text!r} is no duration; write 90s, 5m, 2h or 1d12h")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def add_series(store: Store, data: object, where: str, start_s: float = 0) -> None:
    """Add the `series` of loaded YAML: a list of {metric, values}, one value per `interval` (1m)."""
    if not isinstance(data, Mapping) or not isinstance(data.get("series"), list):
        raise DefinitionError(f"{where}: `series` is to be a list of metric and values")
    step_s = duration_s(data.get("interval", "1m"))
    for entry in data["series"]:
        try:
            metric = parse_metric(entry["metric"], entry.get("dimensions"))
            values = str(entry["values"])
        except (KeyError, TypeError, AttributeError) as error:
            raise DefinitionError(f"{where}: a series needs `metric` and `values`, not {entry!r}") from error
        for sample in filter(None, parse_notation(values)):
            store.add(metric, Sample(start_s + sample.time_s * step_s, sample.value, sample.count))
