"""The tree of spans of one run, drawn as a waterfall of plain text lines."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from telemetry.engine.observing import attached
from telemetry.engine.steps import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from telemetry.engine.operation import Operation
    from telemetry.engine.steps import Step
    from telemetry.engine.vocabulary import Vocabulary


@dataclass(frozen=True)
class Span:
    """One finished span. `start_ns` and `end_ns` share any one origin; `parent_id` is empty or unknown for a root."""

    name: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    outcome: str = "success"
    fields: Mapping[str, Any] = field(default_factory=dict)


class _Collector(Recorder):
    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._steps: list[Step] = []  # kept alive, so that no later step gets the id of an earlier one
        self._lock = threading.Lock()

    def end(self, step: Step) -> None:
        values = step.rendered
        span = Span(
            name=step.row.span,
            span_id=str(id(step)),
            parent_id=str(id(step.parent)) if step.parent is not None else "",
            start_ns=step.start_ns,
            end_ns=step.start_ns + step.duration_ns,
            outcome=step.outcome,
            fields={**values.dimension_fields, **values.properties, **values.metrics},
        )
        with self._lock:
            self.spans.append(span)
            self._steps.append(step)


@contextmanager
def collected_spans() -> Iterator[list[Span]]:
    """Give the list of spans that end inside the block; needs no library and may stand beside other recording."""
    collector = _Collector()
    with attached(collector):
        yield collector.spans


def read_spans(vocabulary: Vocabulary, lines: Iterable[str]) -> list[Span]:
    """Return the spans of `spans.jsonl`, their attributes under the names of the fields."""
    fields = {attribute: field for field, attribute in vocabulary.attributes.items()}
    found = list[Span]()
    for line in lines:
        for resource in json.loads(line)["resourceSpans"]:
            bodies = (span for scope in resource["scopeSpans"] for span in scope["spans"])
            found += [_span(body, vocabulary.prefix, fields) for body in bodies]
    return found


def _span(body: Mapping[str, Any], prefix: str, fields: Mapping[str, str]) -> Span:
    named = ((fields.get(pair["key"], pair["key"]), pair["value"]) for pair in body["attributes"])
    attributes = {name.removeprefix(prefix): _value(value) for name, value in named}
    return Span(
        name=body["name"],
        span_id=body["spanId"],
        parent_id=body.get("parentSpanId", ""),
        start_ns=int(body["startTimeUnixNano"]),
        end_ns=int(body["endTimeUnixNano"]),
        outcome=attributes.get("outcome", "success"),
        fields=attributes,
    )


def _value(value: Mapping[str, Any]) -> Any:  # noqa: ANN401  any scalar that OTLP knows
    return int(value["intValue"]) if "intValue" in value else next(iter(value.values()), None)


def waterfall(vocabulary: Vocabulary, spans: Sequence[Span], width: int = 100) -> str:
    """Return the spans as a tree with a bar for when each ran, its duration and its bytes, in order of start.

    `width` is that of the whole line in characters, at least 60.
    """
    if not spans:
        return "no spans were recorded"
    rows = list(_walk(children_of(spans), "", ""))
    first = min(span.start_ns for span in spans)
    total = max(max(span.end_ns for span in spans) - first, 1)
    labels = max(len(label) for label, _ in rows)
    operations = {row.span: row for row in vocabulary.rows}
    notes = [_note(span, operations.get(span.name)) for _, span in rows]
    bar = max(10, max(width, 60) - labels - max(map(len, notes)) - 4)
    return "\n".join(
        f"{label:<{labels}}  {_bar(span, first, total, bar)}  {note}"
        for (label, span), note in zip(rows, notes, strict=True)
    )


def children_of(spans: Sequence[Span]) -> dict[str, list[Span]]:
    """The spans by the id of their parent, in order of start; those without a known one by the empty text."""
    known = {span.span_id for span in spans}
    children: dict[str, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: (span.start_ns, -span.end_ns)):
        children[span.parent_id if span.parent_id in known else ""].append(span)
    return children


def moved_bytes(vocabulary: Vocabulary, span: Span) -> dict[str, float]:
    """Bytes that the span moved, by a word for where."""
    row = next((each for each in vocabulary.rows if each.span == span.name), None)
    return _moved(span, row)


def _moved(span: Span, row: Operation | None) -> dict[str, float]:
    return {
        name.removeprefix("bytes_").removesuffix("_bytes"): span.fields[name]
        for name in (row.moved_bytes if row is not None else ())
        if isinstance(span.fields.get(name), int | float)
    }


def _walk(children: Mapping[str, Sequence[Span]], parent: str, indent: str) -> Iterator[tuple[str, Span]]:
    below = children.get(parent, ())
    for number, span in enumerate(below, 1):
        last = number == len(below)
        root = not parent
        yield (span.name if root else f"{indent}{'└─ ' if last else '├─ '}{span.name}"), span
        yield from _walk(children, span.span_id, "" if root else indent + ("   " if last else "│  "))


def _bar(span: Span, first: int, total: int, width: int) -> str:
    start = min(width - 1, (span.start_ns - first) * width // total)
    length = max(1, min(width - start, -(-(span.end_ns - span.start_ns) * width // total)))
    return "·" * start + "█" * length + "·" * (width - start - length)


def _note(span: Span, row: Operation | None) -> str:
    moved = [f"{name} {in_units(size)}" for name, size in _moved(span, row).items()]
    failed = [] if span.outcome == "success" else [span.outcome.upper()]
    label = [str(span.fields[row.label])] if row is not None and row.label in span.fields else []
    return " ".join([f"{_duration(span.end_ns - span.start_ns):>9}", *label, *moved, *failed])


def _duration(nanoseconds: int) -> str:
    if nanoseconds < 1_000_000_000:  # noqa: PLR2004  one second
        return f"{nanoseconds / 1e6:.1f} ms"
    return f"{nanoseconds / 1e9:.2f} s"


def in_units(count: float) -> str:
    """Return bytes for people, in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:  # noqa: PLR2004  binary units
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
