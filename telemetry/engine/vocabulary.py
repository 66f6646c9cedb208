"""What the engine has to know of a product: its rows, and the names under which their data leave the process."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from telemetry.engine.operation import Operation, Property

STAGE = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Vocabulary:
    """One product's words. Recorders belong to one vocabulary; several may record the same process.

    `service` is the default of `service.name`, `version` the product's. `namespace` is CloudWatch's; every metric has
    the dimension `operation_dimension` with its row's name. `prefix` begins every span attribute for which the semantic
    conventions have no name. `health` is the row of the health line, `invocation` that of an invocation in Lambda; the
    metrics and properties of both begin with those of `standard`. `context_keys` are what `context` may bind.
    """

    service: str
    version: str
    namespace: str
    prefix: str
    rows: tuple[Operation, ...]
    health: Operation
    invocation: Operation | None = None
    context_keys: tuple[Property, ...] = ()
    operation_dimension: str = "Operation"

    def in_stage(self, stage: str) -> Self:
        """Return the vocabulary whose metrics go to a namespace of the stage's own; itself when there is no stage."""
        return replace(self, namespace=f"{self.namespace}/{stage}") if stage else self

    @cached_property
    def known_context(self) -> frozenset[str]:
        """Return the keys that `context` takes."""
        return frozenset(key.field for key in self.context_keys)

    @cached_property
    def attributes(self) -> Attributes:
        """Return the span attribute of every field, by its key in log lines."""
        names = Attributes(self.prefix)
        for row in self.rows:
            names.update((found.field, found.attribute) for found in row.metrics if found.attribute)
            names.update((found.field, found.attribute) for found in row.properties if found.attribute)
            names.update((found.key, found.attribute) for found in row.dimensions if found.attribute)
        names.update((key.field, key.attribute) for key in self.context_keys if key.attribute)
        return names

    @cached_property
    def whole(self) -> frozenset[str]:
        """Return the fields whose values are whole numbers: attributes have one type each, whatever was added."""
        return frozenset(metric.field for row in self.rows for metric in row.metrics if metric.is_whole)

    @cached_property
    def attribute_values(self) -> dict[str, dict[str, str]]:
        """Return what the values of dimensions are called in the semantic conventions, by key of the dimension."""
        return {
            found.key: dict(found.attribute_values)
            for row in self.rows
            for found in row.dimensions
            if found.attribute_values
        }


class Attributes(dict[str, str]):
    """Span attributes by field: OpenTelemetry's name where a row gives one, else the product's prefix and the field."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def __missing__(self, field: str) -> str:
        name = self[field] = self._prefix + field
        return name
