"""A check of recorded spans (OTLP in JSON) against the registry of a vocabulary."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from telemetry.engine import conventions
from telemetry.engine.registry import CALL, registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from telemetry.engine.registry import Document
    from telemetry.engine.vocabulary import Vocabulary

_VALUES = {"stringValue": "string", "intValue": "int", "doubleValue": "double", "boolValue": "boolean"}
_KINDS = ("", "internal", "server", "client", "producer", "consumer")
_MESSAGES = {"server": "consumer"}
"""Kinds that stand for the one that the registry names: who nobody waits for consumes."""
_ERROR = 2


class SpanConformance:
    """Holds spans against the registry. Spans of other scopes are passed over."""

    def __init__(self, vocabulary: Vocabulary, scope: str = "telemetry") -> None:
        documents = registry(vocabulary)
        self._scope = scope
        self._prefix = vocabulary.prefix
        self._types = {entry["key"]: entry["type"] for entry in documents["attributes.yaml"]["attributes"]}
        self._by_type = {entry["type"]: entry for entry in documents["spans.yaml"]["spans"]}
        self._type_of = {row.span: vocabulary.prefix + row.span.replace(" ", "_") for row in vocabulary.rows}

    def check_line(self, line: str) -> list[str]:
        """Return what is wrong with one line of spans."""
        try:
            return [f"{span.get('name')}: {fault}" for span in self.spans(line) for fault in self._check(span)]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return [f"is no line of OTLP: {type(error).__name__}: {error}"]

    def spans(self, line: str) -> Iterator[Document]:
        """Yield the spans of our scope in one line, each with the schema URLs around it under `_urls`."""
        for resource in json.loads(line)["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                if scope["scope"]["name"] == self._scope:
                    urls = {resource.get("schemaUrl"), scope.get("schemaUrl")}
                    yield from ({**span, "_urls": urls} for span in scope["spans"])

    def type_of(self, span: Document) -> str | None:
        """Return the type of a span in the registry."""
        name = str(span.get("name"))
        if name in self._type_of:
            return self._type_of[name]
        return self._prefix + CALL if re.fullmatch(r"[A-Za-z0-9 ]+\.[A-Za-z0-9]+", name) else None

    def _check(self, span: Document) -> Iterator[str]:
        kind = self.type_of(span)
        if kind is None:
            yield "is no span of the registry"
            return
        definition = self._by_type[kind]
        if span["_urls"] != {conventions.SCHEMA_URL}:
            yield f"names the conventions {sorted(map(str, span['_urls']))}, not {conventions.SCHEMA_URL}"
        yield from _check_envelope(span, definition)
        attributes = {pair["key"]: pair["value"] for pair in span["attributes"]}
        levels = {one["ref"]: one["requirement_level"] for one in definition["attributes"]}
        for key, value in attributes.items():
            if not (key in levels or self._is_templated(key)):
                yield f"{definition['type']} has no {key}"
            elif key in self._types and not _fits(value, self._types[key]):
                yield f"{key} is {json.dumps(value)}, not of type {_name(self._types[key])}"
        for key in (key for key, level in levels.items() if level == "required" and key not in attributes):
            yield f"lacks {key}"
        if span["status"]["code"] == _ERROR and conventions.ERROR_TYPE not in attributes:
            yield f"failed without {conventions.ERROR_TYPE}"

    def _is_templated(self, key: str) -> bool:
        return any(
            key.startswith(f"{name}.") and str(kind).startswith("template") for name, kind in self._types.items()
        )


def _check_envelope(span: Document, definition: Document) -> Iterator[str]:
    kind = _KINDS[span["kind"]]
    if kind not in {definition["kind"], _MESSAGES.get(definition["kind"])}:
        yield f"is of kind {kind}, not {definition['kind']}"
    for key, digits in (("traceId", 32), ("spanId", 16), ("parentSpanId", 16)):
        if not re.fullmatch(f"[0-9a-f]{{{digits}}}", span.get(key, "0" * digits)):
            yield f"{key} {span[key]!r} is no {digits} hexadecimal digits"
    if int(span["startTimeUnixNano"]) > int(span["endTimeUnixNano"]):
        yield "ends before it starts"


def _fits(value: Document, kind: Any) -> bool:  # noqa: ANN401  a name or an enumeration
    ((name, found),) = value.items()
    if isinstance(kind, dict):
        return name == "stringValue"  # enumerations of the conventions are open: an unknown value is said as it is
    if name == "arrayValue":
        return bool(kind.endswith("[]")) and all(_fits(one, kind.removesuffix("[]")) for one in found["values"])
    return bool(_VALUES[name] == kind)


def _name(kind: Any) -> str:  # noqa: ANN401  as above
    return "string" if isinstance(kind, dict) else str(kind)
