"""The variables of a dashboard: their default values put in, as CloudWatch shows it first."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dashboards.cloudwatch.body import Json


def with_defaults(body: Json) -> Json:
    """Return a body with the default value of every variable put in, as CloudWatch shows it first."""
    copy: dict[str, Any] = json.loads(json.dumps(body))
    for variable in body.get("variables") or ():
        value = variable.get("defaultValue")
        if value is None or value == "__FIRST":
            continue
        if variable.get("type") == "pattern":
            copy["widgets"] = json.loads(json.dumps(copy["widgets"]).replace(variable["pattern"], str(value)))
        else:
            copy["widgets"] = _with_property(copy["widgets"], variable["property"], value)
    return copy


def _with_property(value: Any, name: str, given: object) -> Any:  # noqa: ANN401  JSON of any shape
    if isinstance(value, dict):
        return {key: given if key == name else _with_property(item, name, given) for key, item in value.items()}
    if isinstance(value, list):
        replaced = [_with_property(item, name, given) for item in value]
        pairs = range(2, len(replaced) - 1, 2) if replaced and isinstance(replaced[0], str) else ()
        for index in pairs:
            if replaced[index] == name:
                replaced[index + 1] = given
        return replaced
    return value
