"""The alarms of a CloudFormation template with all that can be known of them before a deployment.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

Json = Mapping[str, Any]
METRIC, COMPOSITE = "AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"
_NOTHING = object()
"""What `AWS::NoValue` stands for: the property is not there."""


def alarms_of(template: Json) -> Iterator[tuple[str, Json]]:
    """Yield type and properties of every alarm that parameters at their defaults deploy.

    References are names and defaults; what only a deployment knows stays legible: `${Topic}`, `{"Fn::ImportValue": X}`.
    """
    wanted = {
        logical: resource
        for logical, resource in template["Resources"].items()
        if resource.get("Type") in {METRIC, COMPOSITE}
    }
    known = _Known(template)
    present = {
        logical: resource
        for logical, resource in wanted.items()
        if "Condition" not in resource or known.holds({"Condition": resource["Condition"]})
    }
    known.names = {
        logical: str(known.value(resource["Properties"].get("AlarmName", logical)))
        for logical, resource in present.items()
    }
    for logical, resource in present.items():
        yield resource["Type"], {**known.value(resource["Properties"]), "AlarmName": known.names[logical]}


@dataclass
class _Known:
    """A template, and the names of its alarms by logical id."""

    template: Json
    names: dict[str, str] = field(default_factory=dict)

    def value(self, given: Any) -> Any:  # noqa: ANN401  JSON of any shape
        """Return a value with its intrinsic functions worked out, as far as they can be."""
        if isinstance(given, list):
            return [item for item in map(self.value, given) if item is not _NOTHING]
        if not isinstance(given, Mapping):
            return given
        if len(given) == 1:
            ((name, argument),) = given.items()
            work = _FUNCTIONS.get(name)
            if work is not None:
                return work(self, argument)
        pairs = ((key, self.value(item)) for key, item in given.items())
        return {key: item for key, item in pairs if item is not _NOTHING}

    def ref(self, name: str) -> Any:  # noqa: ANN401  as `value`
        if name == "AWS::NoValue":
            return _NOTHING
        default = self.template.get("Parameters", {}).get(name, {}).get("Default")
        return self.names.get(name, f"${{{name}}}" if default is None else default)

    def attribute(self, target: str | list[str]) -> str:
        parts = target.split(".") if isinstance(target, str) else target
        return self.names.get(parts[0], f"${{{'.'.join(map(str, parts))}}}")

    def substituted(self, target: str | list[Any]) -> str:
        text, own = (target, {}) if isinstance(target, str) else target
        for name in {part.split("}")[0] for part in text.split("${")[1:]}:
            found = self.value(own[name]) if name in own else self.attribute(name) if "." in name else self.ref(name)
            text = text.replace(f"${{{name}}}", str(found))
        return str(text)

    def looked_up(self, path: list[Any]) -> Any:  # noqa: ANN401  as `value`
        keys = [str(key) for key in self.value(path)]
        found = reduce(lambda at, key: at.get(key, {}), keys, self.template.get("Mappings", {}))
        return found or {"Fn::FindInMap": keys}

    def holds(self, condition: Json) -> bool:
        """Tell whether a condition is met with all parameters at their defaults."""
        ((name, argument),) = condition.items()
        match name:
            case "Condition":
                return self.holds(self.template["Conditions"][argument])
            case "Fn::Equals":
                left, right = (str(self.value(side)) for side in argument)
                return left == right
            case "Fn::Not":
                return not self.holds(argument[0])
            case "Fn::And":
                return all(map(self.holds, argument))
            case _:
                return any(map(self.holds, argument))

    def chosen(self, argument: list[Any]) -> Any:  # noqa: ANN401  as `value`
        condition, yes, no = argument
        return self.value(yes if self.holds({"Condition": condition}) else no)


_FUNCTIONS: dict[str, Any] = {
    "Ref": _Known.ref,
    "Fn::GetAtt": _Known.attribute,
    "Fn::Sub": _Known.substituted,
    "Fn::FindInMap": _Known.looked_up,
    "Fn::If": _Known.chosen,
    "Fn::Join": lambda known, argument: str(argument[0]).join(map(str, known.value(argument[1]))),
    "Fn::Split": lambda known, argument: str(known.value(argument[1])).split(argument[0]),
    "Fn::Select": lambda known, argument: known.value(argument[1])[int(argument[0])],
}
