"""A vocabulary as a registry in the format of OpenTelemetry's semantic conventions, for Weaver and other tools.

https://github.com/open-telemetry/weaver/blob/main/schemas/semconv.definition-syntax.v2.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from telemetry.engine import conventions
from telemetry.engine.operation import EVERY_ROW, UCUM, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from telemetry.engine.operation import Dimension, Metric, Operation
    from telemetry.engine.vocabulary import Vocabulary

Document = dict[str, Any]

FILE_FORMAT = "definition/2"
STABILITY = "development"
CALL = "aws.call"
"""Type of the spans of calls of AWS."""
_MODEL = "https://github.com/open-telemetry/semantic-conventions/archive/refs/tags/v{version}.zip[model]"


def registry(vocabulary: Vocabulary, used_by: Mapping[tuple[str, str], list[str]] | None = None) -> dict[str, Document]:
    """Return the documents of the registry by the name of their file.

    `used_by` names who uses a metric, by row and field of the metric; it is written beside the metric.
    """
    return {
        "manifest.yaml": _manifest(vocabulary),
        "attributes.yaml": {"file_format": FILE_FORMAT, "attributes": list(_attributes(vocabulary))},
        "metrics.yaml": {"file_format": FILE_FORMAT, "metrics": list(_metrics(vocabulary, used_by or {}))},
        "spans.yaml": {"file_format": FILE_FORMAT, "spans": [*_spans(vocabulary), _call(vocabulary)]},
        "events.yaml": {"file_format": FILE_FORMAT, "events": list(_events(vocabulary))},
    }


def write(documents: Mapping[str, Document], folder: Path) -> None:
    """Write the documents into a folder, which is made when it is not there. Raises OSError when it cannot be."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in documents.items():
        (folder / name).write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120), "utf-8")


def conflicts(vocabulary: Vocabulary) -> list[str]:
    """Return the attributes that rows give several types: one name has one meaning, whichever span it is on."""
    types: dict[str, dict[str, list[str]]] = {}
    for row in vocabulary.rows:
        own = [metric.field for metric in row.metrics] + [each.field for each in row.properties]
        keys = {vocabulary.attributes[field] for field in (*own, *(each.key for each in row.dimensions))}
        for key, kind, _ in _fields(vocabulary, row):
            if key in keys:
                types.setdefault(key, {}).setdefault(str(kind), []).append(row.name)
    return [
        f"{key} has {len(kinds)} types, in {', '.join(name for names in kinds.values() for name in names)}"
        for key, kinds in types.items()
        if len(kinds) > 1
    ]


def _manifest(vocabulary: Vocabulary) -> Document:
    version = conventions.SCHEMA_URL.rpartition("/")[2]
    return {
        "schema_url": f"https://{vocabulary.service}.invalid/schemas/{vocabulary.version}",
        "description": f"Spans, metrics and log events of {vocabulary.service}",
        "stability": STABILITY,
        "dependencies": [{"schema_url": conventions.SCHEMA_URL, "registry_path": _MODEL.format(version=version)}],
    }


def _attributes(vocabulary: Vocabulary) -> Iterator[Document]:
    """Yield what is not OpenTelemetry's: our attributes of spans, then the dimensions of metrics."""
    prefix = vocabulary.prefix
    found: dict[str, Document] = {}
    for row in vocabulary.rows:
        for key, kind, meaning in _fields(vocabulary, row):
            if key.startswith(prefix):
                found.setdefault(key, {"key": key, "type": kind, "brief": meaning, "stability": STABILITY})
    for key, of_type, brief in _OF_FAILURES:
        about = {"key": prefix + key, "type": of_type, "brief": brief, "stability": STABILITY}
        found.setdefault(prefix + key, about)
    yield from found.values()
    yield _dimension(vocabulary.operation_dimension, tuple(row.name for row in vocabulary.rows), "Name of the row")
    for dimension in _kept_dimensions(vocabulary).values():
        yield _dimension(dimension.name, dimension.values, dimension.meaning)


def _fields(vocabulary: Vocabulary, row: Operation) -> Iterator[tuple[str, str | Document, str]]:
    """Yield key, type and meaning of the attributes that the spans of a row may have."""
    names = vocabulary.attributes
    for metric in row.metrics:
        is_bool = conventions.FORMS.get(metric.attribute) is bool
        yield names[metric.field], "boolean" if is_bool else attribute_type(metric), metric.meaning
    for dimension in row.dimensions:
        yield names[dimension.key], "string" if dimension.attribute else _enum(dimension.values), dimension.meaning
    own = {each.key for each in row.dimensions}
    for each in (*row.properties, *(key for key in vocabulary.context_keys if key.field not in own)):
        yield names[each.field], "string[]" if each.attribute in conventions.FORMS else "string", each.meaning


def attribute_type(metric: Metric) -> str:
    """Return the type of the attribute by which a span says the value of a metric."""
    return "int" if metric.is_whole else "double"


def _enum(values: tuple[str, ...]) -> Document:
    return {"members": [{"id": value, "value": value, "stability": STABILITY} for value in values]}


_OF_FAILURES: tuple[tuple[str, str | Document, str], ...] = (
    ("outcome", _enum(("success", "failure", "incomplete")), "How the step ended"),
    ("fault", "string", "Whose failure it is"),
    ("next_step", "string", "What to try next"),
    ("figures", "template[any]", "Numbers that the exception carries, by name"),
)


def _dimension(name: str, values: tuple[str, ...], meaning: str) -> Document:
    return {"key": name, "type": _enum(values), "brief": meaning, "stability": STABILITY}


def _kept_dimensions(vocabulary: Vocabulary) -> dict[str, Dimension]:
    return {
        dimension.name: dimension
        for row in vocabulary.rows
        for dimension in row.dimensions
        if dimension.field in row.kept_dimensions
    }


def _metrics(vocabulary: Vocabulary, used_by: Mapping[tuple[str, str], list[str]]) -> Iterator[Document]:
    rows_of: dict[str, list[tuple[Operation, Metric]]] = {}
    for row in vocabulary.rows:
        for metric in row.all_metrics:
            rows_of.setdefault(metric.name, []).append((row, metric))
    for name, rows in rows_of.items():
        first = rows[0][1]
        names = dict.fromkeys(
            dimension.name for row, _ in rows for dimension in row.dimensions if dimension.field in row.kept_dimensions
        )
        yield {
            "name": name,
            "brief": first.meaning,
            "unit": UCUM[first.unit],
            "instrument": first.instrument,
            "stability": STABILITY,
            "attributes": [
                {"ref": vocabulary.operation_dimension, "requirement_level": "required"},
                *({"ref": each, "requirement_level": {"recommended": "For rows that have it"}} for each in names),
            ],
            "annotations": {
                "cloudwatch": {"namespace": vocabulary.namespace, "unit": str(first.unit)},
                "rows": {row.name: _use(row, metric, used_by) for row, metric in rows},
            },
        }


def _use(row: Operation, metric: Metric, used_by: Mapping[tuple[str, str], list[str]]) -> Document:
    kept = {dimension.field: dimension.name for dimension in row.dimensions}
    return {
        "field": metric.field,
        "statistic": metric.statistic,
        "dimension_sets": [[kept[field] for field in fields] for fields in row.dimension_sets],
        "used_by": sorted(used_by.get((row.name, metric.field), [])),
    }


def _spans(vocabulary: Vocabulary) -> Iterator[Document]:
    for row in vocabulary.rows:
        keys = dict.fromkeys(key for key, _, _ in _fields(vocabulary, row))
        refs: list[Document] = [{"ref": key, "requirement_level": "recommended"} for key in keys]
        ours = [vocabulary.prefix + key for key, _, _ in _OF_FAILURES if vocabulary.prefix + key not in keys]
        refs += [
            {"ref": key, "requirement_level": {"conditionally_required": "When the step failed"}}
            for key in (*ours, conventions.ERROR_TYPE)
        ]
        yield {
            "type": vocabulary.prefix + row.span.replace(" ", "_"),
            "kind": str(row.kind),
            "name": {"note": f"`{row.span}`"},
            "brief": row.meaning,
            "stability": STABILITY,
            "attributes": refs,
        }


def _call(vocabulary: Vocabulary) -> Document:
    return {
        "type": vocabulary.prefix + CALL,
        "kind": str(Kind.CLIENT),
        "name": {"note": "`{service}.{operation}`, as `S3.GetObject`"},
        "brief": "A call of an AWS service, its retries included",
        "stability": STABILITY,
        "attributes": [
            *({"ref": key, "requirement_level": "required"} for key in conventions.OF_EVERY_CALL),
            *({"ref": key, "requirement_level": "recommended"} for key in conventions.OF_SOME_CALLS),
            {
                "ref": conventions.ERROR_TYPE,
                "requirement_level": {"conditionally_required": "When the call failed"},
            },
        ],
    }


def _events(vocabulary: Vocabulary) -> Iterator[Document]:
    """Yield the log line of every row; its keys are the fields, each with the attribute that the span calls it by."""
    for row in vocabulary.rows:
        keys = {key: None for key, _, _ in _fields(vocabulary, row)}
        yield {
            "name": row.name,
            "brief": f"{row.meaning}: one log line",
            "stability": STABILITY,
            "attributes": [{"ref": key, "requirement_level": "recommended"} for key in keys],
            "annotations": {
                "log_keys": sorted({*(each.key for each in row.dimensions), *row.fields} - _replaced(row)),
                "metrics": [metric.name for metric in (*EVERY_ROW, *row.metrics)],
            },
        }


def _replaced(row: Operation) -> set[str]:
    return {each.field for each in row.dimensions if each.log_key}
