"""How much of a vocabulary recorded lines and spans have shown: rows, metrics, values of dimensions, spans."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from telemetry.engine.span_conformance import SpanConformance
    from telemetry.engine.vocabulary import Vocabulary


@dataclass
class Coverage:
    """What was seen, by kind, each named as the reference names it."""

    vocabulary: Vocabulary
    spans: SpanConformance
    seen: dict[str, set[str]] = field(default_factory=dict)

    def add(self, line: str) -> None:
        """Take a line into account, EMF or spans; others show nothing of the catalog."""
        try:
            if line.startswith('{"resourceSpans"'):
                for span in self.spans.spans(line):
                    self._see("spans", str(span["name"]))
            else:
                self._add_metrics(json.loads(line))
        except (ValueError, KeyError, TypeError):
            return  # what is wrong with it is a finding of the check

    def _add_metrics(self, document: object) -> None:
        if not isinstance(document, dict) or "_aws" not in document:
            return
        name = document.get(self.vocabulary.operation_dimension)
        row = next((row for row in self.vocabulary.rows if row.name == name), None)
        if row is None:
            return
        self._see("rows", row.name)
        for metric in row.all_metrics:
            if metric.name in document:
                self._see("metrics", f"{row.name}.{metric.name}")
        for dimension in row.dimensions:
            if document.get(dimension.name) in dimension.values:
                self._see("values", f"{row.name}.{dimension.name}={document[dimension.name]}")

    def _see(self, kind: str, name: str) -> None:
        self.seen.setdefault(kind, set()).add(name)

    @property
    def declared(self) -> dict[str, set[str]]:
        """Everything that there is to see."""
        rows = self.vocabulary.rows
        return {
            "rows": {row.name for row in rows},
            "metrics": {f"{row.name}.{metric.name}" for row in rows for metric in row.all_metrics},
            "values": {
                f"{row.name}.{dimension.name}={value}"
                for row in rows
                for dimension in row.dimensions
                if dimension.field in row.kept_dimensions
                for value in dimension.values
            },
            "spans": {row.span for row in rows},
        }

    def summary(self) -> str:
        """Return one line: how much of each kind was seen."""
        parts = [
            f"{len(self.seen.get(kind, set()) & names):,} of {len(names):,} {kind}"
            for kind, names in self.declared.items()
        ]
        return f"seen of the catalog: {', '.join(parts)}"

    def unseen(self) -> list[str]:
        """Return what was not seen, sorted."""
        return sorted(
            f"{kind}: {name}" for kind, names in self.declared.items() for name in names - self.seen.get(kind, set())
        )
